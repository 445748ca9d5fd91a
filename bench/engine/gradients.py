"""Gradients of many victims at once: the generic form that every layer type supports.

Per-victim parameter gradients come from ``vmap(grad(batch_loss))``; victims are independent, so one ordinary
``autograd.grad`` of the summed matching loss then gives every victim's gradient with respect to its own
dummy images. No layer needs a hand-written rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bench.api.gradients import BatchLoss, Gradients
from bench.engine.convolution import blocked, multiplied
from bench.engine.normalisation import evaluating, own_statistics

GradientMap = Callable[[Tensor, Tensor], Gradients]


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


def gradient_map(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    *,
    per_victim_weights: bool,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    statistics: Mapping[str, Tensor] | None = None,
    batch_loss: BatchLoss | None = None,
    names: Iterable[str] | None = None,
    alone: bool = False,
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
        names: of the weights to differentiate, in the order of the result; None: all.
        alone: only ever for one victim, so that nothing is batched: up to rounding the same in two thirds of
            the time on small networks, where batching costs as much as the arithmetic.

    Returns:
        ``(images [N, B, C, H, W], targets [N, B, K]) -> {name: [N, ...]}``, differentiable in both.
    """
    network = model if statistics is None else evaluating(model)
    fixed = dict(statistics or {})

    def of_scores(
        weights: Mapping[str, Tensor], still: Mapping[str, Tensor], images: Tensor, targets: Tensor
    ) -> Tensor:
        return loss(functional_call(network, {**still, **weights, **fixed}, (images,)), targets)

    if statistics is None and model.training:
        network = own_statistics(model)
    network = multiplied(blocked(network))
    still = {name: value.detach() for name, value in parameters.items()}
    weights = {name: still[name] for name in (parameters if names is None else names)}
    if alone:
        return _of_one(weights, still, batch_loss or of_scores, first=per_victim_weights)
    own = 0 if per_victim_weights else None
    batched = vmap(grad(batch_loss or of_scores), in_dims=(own, own, 0, 0))

    def gradients(images: Tensor, targets: Tensor) -> Gradients:
        result: Gradients = batched(weights, still, images, targets)
        return result

    return gradients


def _of_one(
    weights: Mapping[str, Tensor], still: Mapping[str, Tensor], loss: BatchLoss, *, first: bool
) -> GradientMap:
    """The map of one victim, N = 1, without vmap; ``first``: its weights have that dimension."""
    others = {name: value[0] for name, value in still.items()} if first else still
    leaves = {name: others[name].detach().requires_grad_() for name in weights}

    def gradients(images: Tensor, targets: Tensor) -> Gradients:
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            cost = loss(leaves, others, images[0], targets[0])
            found = torch.autograd.grad(
                cost, list(leaves.values()), create_graph=further, materialize_grads=True
            )
        return {name: value[None] for name, value in zip(leaves, found, strict=True)}

    return gradients
