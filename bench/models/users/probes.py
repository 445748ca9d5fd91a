"""Small trials of a user's network on two images: what it needs, and what cannot be attacked."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.api.errors import NetworkError
from bench.api.gradients import rows_of_each
from bench.engine.gradients import gradient_map
from bench.models.base import VictimModel, trainable

Written = tuple[tuple[str, str, bool], ...]
"""Layer, attribute that it writes while it computes, and whether it was there before."""
TOLERANCE = 1e-3
"""Relative difference of gradients that rounding explains, where a network computes in float32 alone."""
ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a network needs.

    Attributes:
        attends: it computes attention by PyTorch's own function, whose kernels can be chosen.
        written: attributes that its layers write while they compute, as hooks of ``weight_norm`` do.
        overwrites: it changes its images in place.
        one_by_one: ``vmap`` cannot batch it.
        rebuilt: pickle cannot write it, as it cannot parametrized layers and classes inside functions.
    """

    attends: bool = False
    written: Written = ()
    overwrites: bool = False
    one_by_one: bool = False
    rebuilt: bool = False


class _Structure(pickle.Pickler):
    """Writes all but tensors."""

    def persistent_id(self, value: object) -> str | None:
        return "tensor" if isinstance(value, Tensor) else None


def pickles(network: nn.Module) -> bool:
    """Whether pickle can write a network."""
    try:
        _Structure(io.BytesIO()).dump(network)
    except Exception:  # layers say it by errors of many kinds
        return False
    return True


def computed(value: object) -> bool:
    """Whether a value is a tensor that autograd has made of others."""
    return isinstance(value, Tensor) and not value.is_leaf


class _Attention(TorchFunctionMode):
    """Notes whether attention is computed."""

    found = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.found |= "attention" in str(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def first_look(model: nn.Module, images: Tensor, name: str) -> tuple[bool, Written]:
    """Runs the network for the first time.

    Args:
        model: the network.
        images: ``[B, C, H, W]``.
        name: of the network, for the message.

    Returns:
        ``attends`` and ``written`` of :class:`Findings`.

    Raises:
        NetworkError: the network fails on such images.
    """
    before = {layer: dict(vars(layer)) for layer in model.modules()}
    try:
        with _Attention() as seen:
            model(images.clone())
    except Exception as error:
        raise NetworkError(
            f"{name}: fails on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    found = []
    for name, layer in model.named_modules():
        old = before[layer]
        for key, value in list(vars(layer).items()):
            was = old.get(key)
            if value is not was and (isinstance(value, Tensor) or isinstance(was, Tensor)):
                found.append((name, key, key in old))
                restore(layer, key, (was,) if key in old else ())
    return seen.found, tuple(found)


def restore(layer: nn.Module, key: str, before: tuple[object, ...]) -> None:
    """Writes what stood in an attribute; ``()``: nothing did."""
    if before:
        vars(layer)[key] = before[0]
    else:
        vars(layer).pop(key, None)


def constant(value: object) -> object:
    """A tensor without its history, or another value as it is."""
    return value.detach() if isinstance(value, Tensor) else value


def overwrites(model: nn.Module, images: Tensor, name: str) -> bool:
    """Whether the network changes its images in place, so that it has to be given copies.

    Raises:
        NetworkError: it changes its buffers, so that no two victims could share it.
    """
    buffers = {place: value.clone() for place, value in model.named_buffers() if value.is_floating_point()}
    shown = images.clone()
    with torch.no_grad():
        model(shown)
    changed = [place for place, value in model.named_buffers() if not _same(buffers.get(place), value)]
    if changed:
        raise NetworkError(
            f"{name}: computing changes the buffer {changed[0].removeprefix('network.')}: call "
            ".eval() on the layer that keeps it, so that scores depend on nothing that was shown before"
        )
    return not torch.equal(shown, images)


def _same(before: Tensor | None, after: Tensor) -> bool:
    return before is None or torch.equal(before, after)


def check_scores(model: nn.Module, images: Tensor, num_classes: int, name: str) -> None:
    """Refuses what is no score for each class, or differs from call to call.

    Raises:
        NetworkError: with what it returns instead.
    """
    found = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            found.append(model(images))
    scores, wanted = found[0], (len(images), num_classes)
    if not isinstance(scores, Tensor):
        raise NetworkError(
            f"{name}: returns {_described(scores)}, not one tensor: let forward return the class scores alone"
        )
    if tuple(scores.shape) != wanted:
        raise NetworkError(
            f"{name}: scores of {len(images)} images have shape {tuple(scores.shape)}, expected {wanted} for "
            f"{num_classes} classes"
        )
    if not scores.isfinite().all():
        raise NetworkError(f"{name}: the scores of plain images are not finite")
    if not torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6):
        raise NetworkError(
            f"{name}: its scores differ from call to call, as something in it is drawn at random or "
            "remembered: call .eval(), or switch that off"
        )


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def batches(model: VictimModel, images: Tensor, num_classes: int, name: str) -> bool:
    """Whether gradients of many victims at once, and their derivatives, are those of one by one.

    Args:
        model: the network, with its flag ``one_by_one`` unset.
        images: ``[2, B, C, H, W]``.
        num_classes: K.
        name: of the network, for the message.

    Raises:
        NetworkError: even one victim's cannot be computed.
    """
    if _batches(model, images, num_classes, name):
        return True
    model, dtype = exact(model, images[0], name)  # or was it the rounding?
    return dtype == torch.float64 and _batches(model, images.to(dtype), num_classes, name)


def _batches(model: VictimModel, images: Tensor, num_classes: int, name: str) -> bool:
    targets = images.new_full((*images.shape[:2], num_classes), 1 / num_classes)
    alone = derivatives(model, images[:1], targets[:1], alone=True, name=name)
    try:
        together = derivatives(model, images, targets, alone=False, name=name)
    except NetworkError:
        return False
    return all(near(both[:1], one) for both, one in zip(together, alone, strict=True))


def exact(model: ModelT, images: Tensor, name: str) -> tuple[ModelT, torch.dtype]:
    """A copy that computes in float64, so that nothing but the arithmetic decides; or in float32, if it must.

    BatchNorm over a few values magnifies the rounding of float32 to several per cent.

    Args:
        model: the network.
        images: ``[B, C, H, W]``.
        name: of the network, for the message.

    Raises:
        NetworkError: the network cannot be copied.
    """
    try:
        changed = copy.deepcopy(model).double()
    except Exception as error:
        raise NetworkError(f"{name} cannot be copied: {type(error).__name__}: {error}") from error
    try:
        with torch.no_grad():
            scores = changed(images.to(next(changed.parameters())))
    except Exception:  # it makes tensors of float32 itself, and says so by errors of many kinds
        return model, torch.float32
    return (changed, torch.float64) if scores.dtype == torch.float64 else (model, torch.float32)


def near(left: Tensor, right: Tensor, beside: Tensor | None = None) -> bool:
    """Whether two tensors are equal up to the rounding of a gradient in float32.

    Args:
        left: of any shape.
        right: of the same.
        beside: norm of all that was computed with them; a bias in front of BatchNorm has only its rounding.
    """
    scale = right.norm() if beside is None else right.norm() + TOLERANCE * beside
    return bool((left - right).norm() <= TOLERANCE * scale + torch.finfo(right.dtype).tiny)


def derivatives(
    model: VictimModel, images: Tensor, targets: Tensor, *, alone: bool, name: str
) -> tuple[Tensor, Tensor]:
    """Gradients of all victims in rows ``[N, P]``, and that of their energy in the images ``[N, ...]``.

    Raises:
        NetworkError: they cannot be computed, or are not finite.
    """
    weights = {key: value.detach() for key, value in model.named_parameters()}
    gradients = gradient_map(model, weights, per_victim_weights=False, names=trainable(model), alone=alone)
    shown = images.clone().requires_grad_()
    try:
        rows = torch.cat([rows_of_each(value) for value in gradients(shown, targets).values()], dim=1)
        (further,) = torch.autograd.grad(rows.square().sum(), shown)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise NetworkError(
            f"{name}: its gradients cannot be computed, or not differentiated in the images as an attack has "
            f"to ({type(error).__name__}: {first}); freeze weights by requires_grad_(False), not by no_grad "
            "or detach in forward, and use operations that have second derivatives"
        ) from error
    if not (rows.isfinite().all() and further.isfinite().all()):
        raise NetworkError(f"{name}: its gradients on plain images are not finite")
    return rows.detach(), further
