"""Values as bytes, bit for bit: what an attack is given, and what comes back from it.

Of a tensor only its own numbers are written, never the rest of the storage behind it: auxiliary images may be
a view of the tensor that holds the private ones. Objects that stay where they are travel as numbers.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor

from bench.api.errors import PluginError
from bench.models.users.adopted import UserModel
from bench.models.users.exported import Exported


def to_bytes(value: object, kept: Container[int]) -> memoryview:
    """Pickles a value.

    Args:
        value: what travels.
        kept: ``id`` of the objects that do not.

    Raises:
        PluginError: it holds something that cannot travel.
    """
    stream = io.BytesIO()
    try:
        _Writer(stream, kept).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PluginError(
            f"what an attack is given has to travel into its process: {error}; define classes and functions "
            "of networks at the top of a module"
        ) from error
    return stream.getbuffer()


def from_bytes(data: bytes, stand_in: Callable[[int], Any], *, trusting: bool) -> Any:
    """The value again.

    Args:
        data: its bytes.
        stand_in: what stands for an object that has not travelled.
        trusting: whether the other end may name code that runs here; else only plain values and tensors pass.

    Raises:
        PluginError: something else came.
    """
    return _Reader(io.BytesIO(data), stand_in, trusting).load()


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, kept: Container[int]) -> None:
        super().__init__(stream, protocol=5)
        self._kept = kept

    def persistent_id(self, value: object) -> int | None:
        return id(value) if id(value) in self._kept else None

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Exported | UserModel) and (reduced := value.reduced()):
            return reduced
        return (_tensor, _parts(value)) if type(value) is Tensor else NotImplemented


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, stand_in: Callable[[int], Any], trusting: bool) -> None:
        super().__init__(stream)
        self._stand_in, self._trusting = stand_in, trusting

    def persistent_load(self, number: int) -> Any:
        return self._stand_in(number)

    def find_class(self, module: str, name: str) -> Any:
        if not self._trusting and (module, name) != (__name__, _tensor.__name__):
            raise PluginError(f"an attack's process sent {module}.{name}, where tensors and numbers may pass")
        return super().find_class(module, name)


def _parts(value: Tensor) -> tuple[bytearray, str, tuple[int, ...], tuple[int, ...], str, bool]:
    """Numbers, dtype, shape, strides, device, and whether gradients are recorded."""
    own = value.detach().cpu().clone()
    numbers = own.as_strided((own.numel(),), (1,)).view(torch.uint8) if own.numel() else own
    kind = str(value.dtype).removeprefix("torch.")
    content = bytearray(numbers.numpy())
    return content, kind, tuple(own.shape), own.stride(), str(value.device), value.requires_grad


def _tensor(
    data: bytearray, kind: str, shape: tuple[int, ...], strides: tuple[int, ...], device: str, tracked: bool
) -> Tensor:
    dtype = getattr(torch, kind)
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    # A copy lies where torch puts tensors: kernels may round by the alignment of what they are given.
    return flat.to(device, copy=True).as_strided(shape, strides).requires_grad_(tracked)
