"""TorchScript files as ordinary modules, whose weights can be replaced call by call.

A script module hides its weights from ``torch.func``. Its graph does not: it is a list of operations, which
are run here one by one, with the weights that the call brings.
"""

from __future__ import annotations

import operator
import warnings
import zipfile
from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError

_PRIMITIVES: dict[str, Callable[..., Any]] = {
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: items,
    "prim::NumToTensor": torch.tensor,
    "prim::dtype": lambda value: value.dtype,
    "prim::device": lambda value: value.device,
    "prim::unchecked_cast": lambda value: value,
    "prim::min": min,
    "prim::max": max,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::ScalarImplicit": lambda value: value.item(),
    "aten::len": len,
    "aten::size": lambda value, *dim: value.size(*dim) if dim else list(value.shape),
    "aten::dim": lambda value: value.dim(),
    "aten::__getitem__": operator.getitem,
    "aten::__not__": operator.not_,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::format": lambda text, *values: text.format(*values),
}
_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::floordiv": operator.floordiv,
}
"""What these mean where no argument is a tensor."""


class Scripted(nn.Module):
    """A TorchScript program as a module with the same parameters and buffers, in evaluation mode."""

    def __init__(self, script: Any) -> None:
        """Takes over the tensors of a loaded script; dots in their names become underscores."""
        super().__init__()
        self.__dict__["_script"] = script  # no submodule: its tensors would count twice
        self._graph = script.inlined_graph
        for name, value in script.named_parameters():
            self.register_parameter(_flat(name), nn.Parameter(value.detach().clone()))
        for name, value in script.named_buffers():
            self.register_buffer(_flat(name), value.detach().clone())

    def forward(self, images: Tensor) -> Any:
        """What the script computes."""
        this, *inputs = self._graph.inputs()
        if len(inputs) != 1:
            raise TypeError(f"the script takes {len(inputs)} arguments, expected one: images")
        known: dict[str, Any] = {this.debugName(): (), inputs[0].debugName(): images}
        results = self._block(self._graph, known)
        return results[0] if len(results) == 1 else tuple(results)

    def _block(self, block: Any, known: dict[str, Any]) -> list[Any]:
        """Runs a block's operations; ``known`` maps names of values to values."""
        for node in block.nodes():
            arguments = [known[value.debugName()] for value in node.inputs()]
            names = [value.debugName() for value in node.outputs()]
            results = self._node(node, arguments, known)
            known.update(zip(names, results, strict=True))
        return [known[value.debugName()] for value in block.outputs()]

    def _node(self, node: Any, arguments: list[Any], known: dict[str, Any]) -> list[Any]:
        kind = node.kind()
        if kind == "prim::Constant":
            return [next(iter(node.outputs())).toIValue()]
        if kind == "prim::GetAttr":
            return [self._attribute((*arguments[0], node.s("name")))]
        if kind == "prim::If":
            taken, other = node.blocks()
            return self._block(taken if arguments[0] else other, known)
        if kind == "prim::RaiseException":
            raise ValueError(str(arguments[0]))
        if kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            return list(arguments[0])
        return [_call(kind, node, arguments)]

    def _attribute(self, path: tuple[str, ...]) -> Any:
        """A tensor that the call may have replaced, a constant of the script, or the way to a submodule."""
        own = _flat(".".join(path))
        if own in self._parameters or own in self._buffers:
            return getattr(self, own)
        value = reduce(getattr, path, self.__dict__["_script"])
        return path if isinstance(value, torch.jit.ScriptModule) else value


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _call(kind: str, node: Any, arguments: list[Any]) -> Any:
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind](*arguments)
    if kind in _NUMBERS and not any(isinstance(item, Tensor) for item in arguments):
        return _NUMBERS[kind](*arguments[:2])
    if not kind.startswith("aten::"):
        raise NotImplementedError(f"the script uses {kind}; give module:function instead")
    function, by_name = _operation(node.schema())
    count = len(arguments) - len(by_name)
    return function(*arguments[:count], **dict(zip(by_name, arguments[count:], strict=True)))


@cache
def _operation(schema: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """PyTorch's function behind an operation, and which of its last arguments go by name."""
    parsed: Any = torch._C.parse_schema(schema)
    packet = getattr(torch.ops.aten, parsed.name.removeprefix("aten::"))
    function = getattr(packet, parsed.overload_name or "default")
    return function, tuple(item.name for item in parsed.arguments if item.kwarg_only)


def load_script(path: Path) -> Scripted:
    """Loads a TorchScript file.

    Raises:
        UsageError: it is none.
    """
    if not _is_script(path):
        raise UsageError(
            f"model {str(path)!r}: the file is no TorchScript; torch.jit.script(network).save(path) writes "
            "one. A state dict needs its architecture: lenet[weights=FILE] or module:function[weights=FILE]"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Scripted(torch.jit.load(str(path), map_location="cpu").eval())
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(f"model {str(path)!r}: the TorchScript file cannot be used: {first}") from error


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
