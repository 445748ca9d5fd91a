"""Output errors and the label of a single image from the gradient of the last layer, without optimisation."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api.errors import IncompatibleError
from bench.api.observation import GradientObservation
from bench.engine.gradients import one_hot
from bench.engine.normalisation import evaluating

READ = "read"
UNKNOWN = -1
"""A label that the release does not tell."""
ROUNDING = 1e-4
"""How far from zero the sum of an output error may be, relative to its largest entry."""


def last_gradient(observation: GradientObservation, dimensions: int) -> str | None:
    """Name of the last released gradient ``[N, K, ...]`` of so many dimensions."""
    names = [
        name
        for name, value in observation.gradients.items()
        if value.dim() == dimensions and value.shape[1] == observation.num_classes
    ]
    return names[-1] if names else None


def _is_added_to_scores(observation: GradientObservation, bias: str) -> bool:
    """Whether the entries of a bias are added to the scores as they are, so that its gradient is theirs."""
    own = observation.per_victim_weights
    weights = {name: value[0] if own else value for name, value in observation.parameters.items()}
    step = torch.linspace(-1, 1, observation.num_classes).to(observation.reference)
    images = step.new_zeros(1, *observation.image_shape)
    network = evaluating(observation.model)
    with torch.no_grad():
        before = functional_call(network, weights, (images,))
        after = functional_call(network, {**weights, bias: weights[bias] + step}, (images,))
    return bool(((after - before - step).abs() < 1e-3).all())


def _of_signed_features(observation: GradientObservation, path: str) -> bool:
    """Whether the features that the layer at ``path`` takes are below zero for some images of noise."""
    layer, own = dict(observation.model.named_modules()).get(path), observation.per_victim_weights
    if not isinstance(layer, nn.Linear):
        return False
    weights = {name: value[0] if own else value for name, value in observation.parameters.items()}
    # Any images do, as long as they are the same each time; that takes no source of randomness.
    count = 8 * prod(observation.image_shape)
    probe = (1e4 * torch.arange(1, count + 1).double().sin()).remainder(1).to(observation.reference)
    network, seen = evaluating(observation.model), list[Tensor]()
    hook = network.get_submodule(path).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            functional_call(network, weights, (probe.view(8, *observation.image_shape),))
    finally:
        hook.remove()
    return any(bool((value < 0).any()) for value in seen)


def classifier_rows(observation: GradientObservation) -> Tensor:
    """Row sums of the last linear layer's weight gradient, ``[N, K]``.

    With cross-entropy the row of class k is ``mean_b (p_bk - y_bk) * feature_b``; with non-negative features
    its sum has the sign of the error of class k. Where features may be negative, the gradient of the bias
    takes the place of the sums: its feature is one.

    Raises:
        IncompatibleError: the network has no linear classifier.
    """
    name = last_gradient(observation, 3)
    if name is None:
        raise IncompatibleError("label inference needs a linear last layer")
    path = name.removesuffix(".weight")
    bias = observation.gradients.get(f"{path}.bias")
    if bias is not None and _of_signed_features(observation, path):
        return bias
    return observation.gradients[name].sum(dim=2)


def assumed(observation: GradientObservation, labels: Tensor, *, turn: int = 0) -> Tensor:
    """Labels to search with, where some are unknown: the likeliest classes that the victim's labels lack.

    A search needs a class, and any is a guess: classes are ranked by :func:`classifier_rows`, those that tie
    by their number. It is an assumption of the search alone; what an attack reports stays unknown.

    Args:
        observation: the releases.
        labels: int64 ``[N, B]``, with :data:`UNKNOWN` entries.
        turn: how often other classes were assumed before: further attempts go down the ranking.

    Returns:
        int64 ``[N, B]`` in [0, K); what was known is as it was.
    """
    known = labels.clone()
    missing = known < 0
    if not missing.any():
        return known
    ranked = classifier_rows(observation).nan_to_num().argsort(dim=1, stable=True)
    for victim in missing.any(dim=1).nonzero()[:, 0].tolist():
        row, gaps = known[victim], missing[victim]
        free = [label for label in ranked[victim].tolist() if label not in row[~gaps].tolist()]
        classes = free or ranked[victim].tolist()
        count = int(gaps.sum())
        row[gaps] = row.new_tensor([classes[(turn + step) % len(classes)] for step in range(count)])
    return known


def single_labels(observation: GradientObservation) -> Tensor:
    """The label of a batch of one (iDLG; Zhao et al. 2020, Eq. 4): the class whose row sum is smallest.

    Exact for B = 1, hard labels and non-negative features, since only the true class has a negative error.
    Where several classes have exactly the smallest sum, nothing tells which of them it is: mostly all are
    zero, as an error that float32 rounds to nothing, or what pruning has left of it.

    Returns:
        int64 ``[N, 1]``; :data:`UNKNOWN` where classes tie, or a sum is not a number.
    """
    rows = classifier_rows(observation)
    least, labels = rows.min(dim=1, keepdim=True)
    alone = (rows == least).sum(dim=1, keepdim=True) == 1
    return torch.where(alone, labels, UNKNOWN)


def pixel_targets(observation: GradientObservation, labels: Tensor, *, errors: str = READ) -> Tensor:
    """What a search for pixels is told about the outputs: output errors where they can be read, or labels.

    For B = 1 the gradient of the last layer's bias is the output error p - y itself. Told so, dummies need
    not find it again through their own scores, which takes four times as long where the network is sure of
    the label: a small p - y changes by orders of magnitude along the way. The attacker sees whether the
    release is intact there, as the errors of all classes add up to zero: not under noise, and not where any
    of them was pruned. Local steps have an error each.

    Args:
        observation: the releases.
        labels: int64 ``[N, B]``, for the victims whose error cannot be read; none unknown.
        errors: ``read`` where they can be; ``dummy`` for labels everywhere, as published.

    Returns:
        ``[N, B, K]`` for :class:`~bench.engine.parametrise.Pixels`: negative output errors, which add up to
        zero, or one-hot labels, which add up to one.
    """
    targets = one_hot(labels, observation.num_classes, observation.reference.dtype)
    single = observation.batch_size == 1 and observation.threat.local is None
    if errors != READ or not single or observation.loss is not None:
        return targets
    bias = last_gradient(observation, 2)
    if bias is None or not _is_added_to_scores(observation, bias):
        return targets
    error = observation.gradients[bias]
    centred = error - error.mean(dim=1, keepdim=True)
    return torch.where(intact(error)[:, None, None], -centred.unsqueeze(1), targets)


def intact(error: Tensor) -> Tensor:
    """Whether the gradients ``[N, K]`` of a bias add up to zero as output errors do: bool ``[N]``."""
    largest = error.abs().amax(dim=1)
    return (error.sum(dim=1).abs() <= ROUNDING * largest) & (largest > 0)
