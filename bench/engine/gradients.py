"""Gradients of many victims at once: the generic form that every layer type supports.

Per-victim parameter gradients come from ``vmap(grad(batch_loss))``; victims are independent, so one ordinary
``autograd.grad`` of the summed matching loss then gives every victim's gradient with respect to its own
dummy images. No layer needs a hand-written rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map

from bench.api.gradients import BatchLoss, CrossEntropy, Gradients, LossOfBatch
from bench.api.threat import LocalTraining
from bench.engine.convolution import blocked, multiplied
from bench.engine.normalisation import batch_norms, evaluating, noting, own_statistics
from bench.engine.transforms.local import unrolled

Note = Callable[[], AbstractContextManager[dict[str, Tensor]]]
_Differentiated = Callable[..., tuple[Gradients, Gradients]]


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean soft-label cross-entropy over a batch, whose gradient keeps its digits for confident scores.

    The textbook form has the gradient p - y, the difference of two numbers near one where the network is
    confident: in float32 nothing is left of a gradient of 1e-7. Relative to the largest score z_t the loss is
    ``m log(1 + sum_{k != t} exp(z_k - z_t)) - sum_{k != t} y_k (z_k - z_t)``, which only adds small numbers.
    The gradient is m p - y with m the sum of y. Of probabilities m is 1; a row of sum 0 is the negative of an
    output error that is known already, and is the gradient's negative whatever the scores.

    Args:
        scores: ``[B, K]``.
        targets: ``[B, K]`` probabilities, hard labels as one-hot rows; or negative output errors.

    Returns:
        A scalar.
    """
    top = scores.argmax(dim=-1, keepdim=True)
    others = torch.ones_like(scores).scatter(-1, top, 0.0)
    below = (scores - scores.gather(-1, top)) * others
    spread = torch.log1p((below.exp() * others).sum(dim=-1))
    return (targets.sum(dim=-1) * spread - (targets * below).sum(dim=-1)).mean()


def logit_gradient_loss(scores: Tensor, errors: Tensor) -> Tensor:
    """Of :func:`cross_entropy`, what depends on the scores where every row of the targets adds up to zero.

    Its gradient is the same, for a fiftieth of the time of an evaluation less with 64 victims, a tenth with
    one.

    Args:
        scores: ``[B, K]``.
        errors: ``[B, K]``, negative output errors.

    Returns:
        A scalar.
    """
    return -(errors * scores).sum(dim=-1).mean()


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Labels ``[...]`` int64 as probabilities ``[..., K]``; below zero, for an unknown one, all alike."""
    known = torch.nn.functional.one_hot(labels.clamp_min(0), num_classes).to(dtype)
    return torch.where(labels[..., None] < 0, 1 / num_classes, known)


@dataclass(frozen=True, kw_only=True)
class GradientMap:
    """The map from private batches to the gradients that their clients compute.

    Attributes:
        loss: of one client's batch, and of what it drew.
        weights: to differentiate.
        still: all weights, as constants.
        own: whether both have a leading dimension N.
        alone: only ever for one victim.
        one_by_one: victims are computed one after the other.
        local: steps that the clients take before they send; None: they send a gradient.
        noted: a context in which the statistics of what enters BatchNorm layers are written down; None: the
            loss runs networks of its own.
        draws: whether the loss depends on what a client drew.
    """

    loss: Callable[..., Tensor]
    weights: Mapping[str, Tensor]
    still: Mapping[str, Tensor]
    own: bool
    alone: bool
    one_by_one: bool
    local: LocalTraining | None
    noted: Note | None
    draws: bool = False

    def __call__(self, images: Tensor, targets: Tensor, *drawn: Tensor) -> Gradients:
        """Gradients ``[N, ...]`` of batches ``[N, B, C, H, W]``, targets ``[N, B, K]`` and draws."""
        return self._gradients(images, targets, *drawn)[0]

    def with_statistics(self, images: Tensor, targets: Tensor, *drawn: Tensor) -> tuple[Gradients, Gradients]:
        """Beside them the statistics ``[N, channels]`` that :func:`batch_statistics` gives, by buffer name.

        They come from the same forward pass, in which an evaluating network normalises by public ones.

        Raises:
            ValueError: the loss takes the place of that of the model's scores.
        """
        return self._gradients_and_statistics(images, targets, *drawn)

    @cached_property
    def _gradients(self) -> _Differentiated:
        return self._differentiated(lambda *batch: (self.loss(*batch), {}))

    @cached_property
    def _gradients_and_statistics(self) -> _Differentiated:
        noted = self.noted
        if noted is None:
            raise ValueError("the statistics of batches are not known where a loss runs networks of its own")

        def loss_and_statistics(*batch: Any) -> tuple[Tensor, Gradients]:
            with noted() as found:
                return self.loss(*batch), found

        return self._differentiated(loss_and_statistics)

    def _differentiated(self, loss: Callable[..., tuple[Tensor, Gradients]]) -> _Differentiated:
        if self.alone and self.local is None:
            return self._of_one(loss)
        own = 0 if self.own else None
        rule = grad(loss, has_aux=True) if self.local is None else unrolled(loss, self.local)
        each = (0, 0, 0) if self.draws else (0, 0)
        batched = (_in_turn if self.one_by_one else vmap)(rule, in_dims=(own, own, *each))
        return lambda *batch: batched(self.weights, self.still, *batch)

    def _of_one(self, loss: Callable[..., tuple[Tensor, Gradients]]) -> _Differentiated:
        """Of a single victim, by ordinary differentiation."""
        still = {name: value[0] for name, value in self.still.items()} if self.own else self.still
        leaves = {name: still[name].detach().requires_grad_() for name in self.weights}

        def gradients(*batch: Tensor) -> tuple[Gradients, Gradients]:
            further = torch.is_grad_enabled()
            with torch.enable_grad():
                cost, noted = loss(leaves, still, *(value[0] for value in batch))
                found = torch.autograd.grad(
                    cost, list(leaves.values()), create_graph=further, materialize_grads=True
                )
            named = {name: value[None] for name, value in zip(leaves, found, strict=True)}
            return named, {name: (v if further else v.detach())[None] for name, v in noted.items()}

        return gradients


def _in_turn(rule: Callable[..., Any], in_dims: tuple[int | None, ...]) -> Callable[..., Any]:
    """What ``vmap`` does, victim by victim, for networks with operations that it cannot batch."""

    def of_all(*arguments: Any) -> Any:
        pairs = list(zip(arguments, in_dims, strict=True))
        each = [
            rule(*(value if axis is None else tree_map(itemgetter(number), value) for value, axis in pairs))
            for number in range(len(arguments[-1]))
        ]
        return tree_map(lambda *values: torch.stack(values), *each)

    return of_all


def one_by_one(model: nn.Module) -> bool:
    """Whether a network, or what a defense has made of it, says that ``vmap`` cannot batch it."""
    return any(getattr(part, "one_by_one", False) for part in model.modules())


class _Minimised(nn.Module):
    """A client's loss as a module whose network's weights can be exchanged."""

    def __init__(self, network: nn.Module, of_batch: LossOfBatch, cross_entropy: CrossEntropy) -> None:
        super().__init__()
        self.network, self.of_batch, self.cross_entropy = network, of_batch, cross_entropy

    def forward(self, images: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        return self.of_batch(self.network, images, targets, drawn, self.cross_entropy)


def gradient_map(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    *,
    per_victim_weights: bool,
    loss: CrossEntropy = cross_entropy,
    statistics: Mapping[str, Tensor] | None = None,
    batch_loss: BatchLoss | None = None,
    client_loss: LossOfBatch | None = None,
    names: Iterable[str] | None = None,
    alone: bool = False,
    local: LocalTraining | None = None,
) -> GradientMap:
    """The map from private batches to the gradients that their clients compute.

    Args:
        model: the architecture.
        parameters: its weights, shared by all victims or with a leading dimension N.
        per_victim_weights: which of the two.
        loss: ``(scores [B, K], targets [B, K]) -> scalar``.
        statistics: public running statistics ``[C]`` by buffer name, by which BatchNorm layers normalise;
            None: by those of the victim's own batch, or what an evaluating network brings.
        batch_loss: takes the place of ``loss`` of the model's scores.
        client_loss: does so, too, and takes what each client drew, which the map is then given.
        names: of the weights to differentiate, in the order of the result; None: all.
        alone: only ever for one victim, so that nothing is batched: up to rounding the same in two thirds of
            the time on small networks, where batching costs as much as the arithmetic.
        local: the map to what clients send after these steps (:mod:`~bench.engine.transforms.local`).

    Returns:
        ``(images [N, B, C, H, W], targets [N, B, K]) -> {name: [N, ...]}``, differentiable in both.
    """
    fixed = dict(statistics or {})
    network = multiplied(blocked(own_statistics(model if statistics is None else evaluating(model))))

    def of_scores(
        weights: Mapping[str, Tensor], still: Mapping[str, Tensor], images: Tensor, targets: Tensor
    ) -> Tensor:
        return loss(functional_call(network, {**still, **weights, **fixed}, (images,)), targets)

    def of_draws(weights: Mapping[str, Tensor], still: Mapping[str, Tensor], *batch: Tensor) -> Tensor:
        assert client_loss is not None
        named = {f"network.{name}": value for name, value in {**still, **weights, **fixed}.items()}
        result: Tensor = functional_call(_Minimised(network, client_loss, loss), named, batch)
        return result

    still = {name: value.detach() for name, value in parameters.items()}
    return GradientMap(
        loss=batch_loss or (of_draws if client_loss else of_scores),
        weights={name: still[name] for name in (parameters if names is None else names)},
        still=still,
        own=per_victim_weights,
        alone=alone,
        one_by_one=one_by_one(model),
        local=local,
        noted=None if batch_loss else partial(noting, network, tuple(batch_norms(model))),
        draws=client_loss is not None and batch_loss is None,
    )
