"""A device that is not there: tensors that pretend to live elsewhere, and compute on the CPU.

The wrapper says that it is on the device ``meta``. An operation that mixes a wrapped tensor with an ordinary
one that has dimensions is what CUDA refuses, and is refused here too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from bench.check.findings import Broken

_ELSEWHERE = torch.device("meta")
_CROSSING = ("index", "_to_copy", "copy_")
"""Operations that may take tensors of two devices, on CUDA as well."""
FIX = "give device=... to every new tensor: torch.zeros(n, device=x.device), or x.new_zeros(n)"


class Far(Tensor):
    """A tensor that says it is elsewhere.

    Attributes:
        held: the values, on the CPU.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        """Wraps a tensor of the CPU."""
        wrapped = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=_ELSEWHERE,
        )
        wrapped.held = held
        return wrapped

    def tolist(self) -> Any:
        """The values as lists; PyTorch refuses this for wrappers."""
        return self.held.tolist()

    def new_tensor(self, data: Any, *arguments: Any, **kwargs: Any) -> Far:
        """Numbers as a tensor of the same device; PyTorch would make it on the CPU, past the dispatcher."""
        return Far(self.held.new_tensor(data, *arguments, **kwargs))

    def numpy(self, *, force: bool = False) -> Any:
        """As on an accelerator: numpy needs the values on the CPU first."""
        if not force:
            raise Broken("calls numpy() on a tensor of the device", "call .cpu() first, or stay in torch")
        return self.held.numpy(force=True)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch's stub leaves func out
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _dispatch(func, args, dict(kwargs or {}))


class Elsewhere(TorchDispatchMode):
    """While active, what is created on the pretended device is wrapped as well."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _dispatch(func, args, dict(kwargs or {}))


def _dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Runs one operation on the CPU, and wraps what would be elsewhere."""
    leaves, _ = tree_flatten((args, kwargs))
    far = [leaf for leaf in leaves if isinstance(leaf, Far)]
    near = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Far) and leaf.dim()]
    name, wanted = str(func), kwargs.get("device")
    to_far = wanted is not None and torch.device(wanted) == _ELSEWHERE
    if far and near and not any(part in name for part in _CROSSING):
        shape = tuple(near[0].shape)
        raise Broken(f"{name} mixes a tensor of the CPU {shape} with one of the observation's device", FIX)
    plain_args, plain_kwargs = tree_map(_plain, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    if not to_far and (not far or wanted is not None or "_local_scalar" in name):
        return result
    known = {id(leaf.held): leaf for leaf in far}
    return tree_map(lambda leaf: _wrapped(leaf, known), result)


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, Far):
        return leaf.held
    return torch.device("cpu") if isinstance(leaf, torch.device) and leaf == _ELSEWHERE else leaf


def _wrapped(leaf: Any, known: Mapping[int, Far]) -> Any:
    """A result wrapped; operations in place return the very tensor that they were given."""
    if not isinstance(leaf, Tensor) or isinstance(leaf, Far):
        return leaf
    same = known.get(id(leaf))
    return Far(leaf) if same is None else same


class OneGenerator(Elsewhere):
    """Refuses draws from the device's generator into tensors of the CPU."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if (kwargs or {}).get("generator") is not None and not isinstance(result, Far):
            raise Broken(f"{func} draws on the CPU from the generator of the gradients' device", FIX)
        return result


class _Generator(torch.Generator):
    """One of the CPU also where one of the pretended device is asked for."""

    def __new__(cls, device: torch.device | str = "cpu") -> Self:
        real = "cpu" if torch.device(device) == _ELSEWHERE else device
        return super().__new__(cls, real)  # type: ignore[call-arg] # torch's stub has no __new__


@contextmanager
def elsewhere() -> Iterator[None]:
    """While active, the pretended device can be computed on and drawn on."""
    kept = torch.Generator
    torch.Generator = _Generator  # type: ignore[misc, assignment]
    try:
        with Elsewhere():
            yield
    finally:
        torch.Generator = kept  # type: ignore[misc]


def far_network(network: nn.Module) -> nn.Module:
    """A copy whose weights and buffers are elsewhere."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                far = Far(weight.detach())
                module._parameters[name] = nn.Parameter(far, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else Far(buffer)
    return copied
