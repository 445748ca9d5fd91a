"""TorchScript files as ordinary modules, whose weights can be replaced call by call."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError


class Scripted(nn.Module):
    """A TorchScript program with its tensors as inputs.

    A script module hides its weights from ``torch.func``; its graph does not once they are arguments.
    """

    def __init__(self, script: Any) -> None:
        """Takes over the parameters and buffers of a loaded script, in evaluation mode."""
        super().__init__()
        # Constants such as "training" are folded into the graph, parameters stay what they are.
        folded = torch.jit._recursive.wrap_cpp_module(torch._C._freeze_module(script._c, [], True, True))
        torch._C._jit_pass_inline(folded.graph)
        lowered: Any = torch._C._jit_pass_lower_graph(folded.graph, folded._c)
        graph, tensors = lowered
        self._program = torch._C._create_function_from_graph("forward", graph)
        names = {id(value): name for name, value in folded.named_parameters()}
        self._order: list[str] = []
        for number, value in enumerate(tensors):
            own = names.get(id(value))
            name = f"constant{number}" if own is None else own.replace(".", "_")
            self._order.append(name)
            if own is None:
                self.register_buffer(name, value.detach().clone())
            else:
                self.register_parameter(name, nn.Parameter(value.detach().clone()))

    def forward(self, images: Tensor) -> Tensor:
        """What the script computes."""
        tensors = [getattr(self, name) for name in self._order]
        # The optimising executor differentiates by itself, which hides the weights from torch.func again.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined] # not in its __all__
            scores: Tensor = self._program(images, *tensors)
        return scores


def load_script(path: Path) -> Scripted:
    """Loads a TorchScript file.

    Raises:
        UsageError: it is none.
    """
    if not _is_script(path):
        raise UsageError(
            f"model {str(path)!r}: the file is no TorchScript; torch.jit.script(network).save(path) writes "
            f"one. A state dict needs its architecture: lenet[weights=FILE] or module:function[weights=FILE]"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.load(str(path), map_location="cpu").eval()
            return Scripted(script)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(f"model {str(path)!r}: the TorchScript file cannot be used: {first}") from error


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
