"""Files of ``torch.export`` as ordinary modules, whose weights can be replaced call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError


class Exported(nn.Module):
    """The graph of an exported network; it keeps the mode in which it was exported."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[M, K]`` of images ``[M, C, H, W]``."""
        scores: Tensor = self.graph(images)
        return scores

    def train(self, mode: bool = True) -> Self:
        """Changes nothing: the graph has no other mode."""
        return self


def load_exported(path: Path) -> Exported:
    """Loads a file that ``torch.export.save`` has written.

    Raises:
        UsageError: it is none.
    """
    try:
        return Exported(torch.export.load(str(path)).module())
    except Exception as error:  # the archive's reader raises whatever the bytes lead to
        raise UsageError(
            f"model {str(path)!r}: the file is no exported network ({type(error).__name__}); "
            "torch.export.save(torch.export.export(network.eval(), (images,), "
            "dynamic_shapes=({0: torch.export.Dim('B')},)), path) writes one, of images [2, C, H, W]. A "
            "state dict needs its architecture: lenet[weights=FILE] or module:function[weights=FILE]"
        ) from error
