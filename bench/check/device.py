"""Device purity without an accelerator: tensors that pretend to live elsewhere.

All that derives from the observation is wrapped; the wrapper says that it is on the device ``meta`` and
computes on the CPU. An operation that mixes a wrapped tensor with an ordinary one that has dimensions is what
CUDA refuses, and is refused here too. Where there is a CUDA device, the plug-in runs on it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from bench.api import Adversary, Defense, GradientObservation, HookContext, Reconstruction
from bench.api.cards import AttackCard
from bench.check import material
from bench.check.card import build
from bench.check.findings import Broken
from bench.check.place import Subject
from bench.check.trial import card_of, run, sizes, views

_ELSEWHERE = torch.device("meta")
_CROSSING = ("index", "_to_copy", "copy_")
"""Operations that may take tensors of two devices, on CUDA as well."""
_FIX = "give device=... to every new tensor: torch.zeros(n, device=x.device), or x.new_zeros(n)"


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
        raise Broken(f"{name} mixes a tensor of the CPU {shape} with one of the observation's device", _FIX)
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


def attack_stays(subject: Subject) -> str:
    """It computes where the observation is, on a pretended accelerator and on CUDA if there is one."""
    card, tried = card_of(subject), ["a pretended accelerator"]
    for size in sizes(card):
        for adversary, defense in views(card):
            seen = _observation(card, adversary, defense, size)
            with Elsewhere():
                found = run(subject, _far(seen))
            _check_where(found, seen)
            if torch.cuda.is_available():
                _check_cuda(run(subject, _on_cuda(seen)))
    if torch.cuda.is_available():
        tried.append("CUDA")
    return f"stays on the observation's device ({' and '.join(tried)})"


def _observation(card: AttackCard, adversary: Adversary, defense: Defense, size: int) -> GradientObservation:
    released = material.release(defense, batch_size=size)
    return material.observation(card, released, adversary=adversary, defense=defense)


def _far(seen: GradientObservation) -> GradientObservation:
    auxiliary = seen.auxiliary
    if auxiliary is not None:
        auxiliary = replace(auxiliary, images=Far(auxiliary.images), labels=Far(auxiliary.labels))
    return replace(
        seen,
        parameters={name: Far(value) for name, value in seen.parameters.items()},
        gradients={name: Far(value) for name, value in seen.gradients.items()},
        ids=Far(seen.ids),
        labels=None if seen.labels is None else Far(seen.labels),
        auxiliary=auxiliary,
    )


def _check_where(found: Reconstruction, seen: GradientObservation) -> None:
    for name in ("images", "cost", "evaluations", "labels"):
        value = getattr(found, name)
        if isinstance(value, Tensor) and not isinstance(value, Far):
            raise Broken(f"returns {name} on the CPU, the observation is elsewhere", _FIX)


def _on_cuda(seen: GradientObservation) -> GradientObservation:
    auxiliary = seen.auxiliary
    if auxiliary is not None:
        auxiliary = replace(auxiliary, images=auxiliary.images.cuda(), labels=auxiliary.labels.cuda())
    return replace(
        seen,
        model=seen.model.cuda(),
        parameters={name: value.cuda() for name, value in seen.parameters.items()},
        gradients={name: value.cuda() for name, value in seen.gradients.items()},
        ids=seen.ids.cuda(),
        labels=None if seen.labels is None else seen.labels.cuda(),
        auxiliary=auxiliary,
    )


def _check_cuda(found: Reconstruction) -> None:
    for name in ("images", "cost", "evaluations", "labels"):
        value = getattr(found, name)
        if value is not None and value.device.type != "cuda":
            raise Broken(f"returns {name} on {value.device}, the observation is on CUDA", _FIX)


def defense_stays(subject: Subject) -> str:
    """Its hooks compute where the gradients are, on a pretended accelerator and on CUDA if there is one."""
    hooks = cast("Defense", build(subject))
    released = material.release(Defense(), batch_size=1)
    generator = torch.Generator().manual_seed(0)
    with _OneGenerator(generator):
        context = HookContext(generator=generator, batch_size=1)
        shown, _ = hooks.inputs(Far(released.images), Far(released.labels), context)
        sent = hooks.gradients({name: Far(value) for name, value in released.sent.items()}, context)
    _check_all([shown, *sent.values()])
    if not torch.cuda.is_available():
        return "stays on the gradients' device (a pretended accelerator)"
    context = HookContext(generator=torch.Generator("cuda").manual_seed(0), batch_size=1)
    moved = hooks.gradients({name: value.cuda() for name, value in released.sent.items()}, context)
    if any(value.device.type != "cuda" for value in moved.values()):
        raise Broken("gradients: returns tensors of the CPU for gradients on CUDA", _FIX)
    return "stays on the gradients' device (a pretended accelerator and CUDA)"


class _OneGenerator(Elsewhere):
    """Refuses draws from the device's generator into tensors of the CPU."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if (kwargs or {}).get("generator") is not None and not isinstance(result, Far):
            raise Broken(f"{func} draws on the CPU from the generator of the gradients' device", _FIX)
        return result


def _check_all(values: Iterable[Any]) -> None:
    if not all(isinstance(value, Far) for value in values):
        raise Broken("returns tensors of the CPU for gradients elsewhere", _FIX)
