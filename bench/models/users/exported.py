"""Files of ``torch.export`` as ordinary modules, whose weights can be replaced call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError


class Exported(nn.Module):
    """The graph of an exported network; it keeps the mode in which it was exported."""

    def __init__(self, graph: nn.Module, path: Path) -> None:
        super().__init__()
        self.graph = graph
        self._path = path

    def reduced(self) -> tuple[Any, ...]:
        """How pickle may write it, which knows no graphs: the file is read again."""
        tracked = any(value.requires_grad for value in self.parameters())
        return _read_again, (self._path, dict(self.state_dict()), tracked)

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
        return Exported(torch.export.load(str(path)).module(), path)
    except Exception as error:  # the archive's reader raises whatever the bytes lead to
        raise UsageError(
            f"model {str(path)!r}: the file is no exported network ({type(error).__name__}); "
            "torch.export.save(torch.export.export(network.eval(), (images,), "
            "dynamic_shapes=({0: torch.export.Dim('B')},)), path) writes one, of images [2, C, H, W]. A "
            "state dict needs its architecture: lenet[weights=FILE] or module:function[weights=FILE]"
        ) from error


def _read_again(path: Path, state: dict[str, Tensor], tracked: bool) -> Exported:
    network = load_exported(path).to(next(iter(state.values())).device)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(tracked)
