"""Labels and output errors from the gradient of the last layer, without optimisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from bench.api.errors import IncompatibleError
from bench.api.observation import GradientObservation
from bench.engine.gradients import one_hot
from bench.engine.normalisation import evaluating

READ = "read"
ROUNDING = 1e-4
"""How far from zero the sum of an output error may be, relative to its largest entry."""


def _last(observation: GradientObservation, dimensions: int) -> str | None:
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


def classifier_rows(observation: GradientObservation) -> Tensor:
    """Row sums of the last linear layer's weight gradient, ``[N, K]``.

    With cross-entropy the row of class k is ``mean_b (p_bk - y_bk) * feature_b``; with non-negative features
    its sum has the sign of the error of class k.

    Raises:
        IncompatibleError: the network has no linear classifier.
    """
    name = _last(observation, 3)
    if name is None:
        raise IncompatibleError("label inference needs a linear last layer")
    return observation.gradients[name].sum(dim=2)


def single_labels(observation: GradientObservation) -> Tensor:
    """The label of a batch of one (iDLG; Zhao et al. 2020, Eq. 4): the class whose row sum is smallest.

    Exact for B = 1, hard labels and non-negative features, since only the true class has a negative error.

    Returns:
        int64 ``[N, 1]``.
    """
    return classifier_rows(observation).argmin(dim=1, keepdim=True)


def known_targets(observation: GradientObservation, labels: Tensor, *, errors: str = READ) -> Tensor:
    """What a search for pixels is told about the outputs: output errors where they can be read, or labels.

    For B = 1 the gradient of the last layer's bias is the output error p - y itself. Told so, dummies need
    not find it again through their own scores, which takes four times as long where the network is sure of
    the label: a small p - y changes by orders of magnitude along the way. The attacker sees whether the
    release is intact there, as the errors of all classes add up to zero: not under noise, and not where any
    of them was pruned.

    Args:
        observation: the releases.
        labels: int64 ``[N, B]``, for the victims whose error cannot be read.
        errors: ``read`` where they can be; ``dummy`` for labels everywhere, as published.

    Returns:
        ``[N, B, K]`` for :class:`~bench.engine.parametrise.Pixels`: negative output errors, which add up to
        zero, or one-hot labels, which add up to one.
    """
    targets = one_hot(labels, observation.num_classes, observation.reference.dtype)
    if errors != READ or observation.batch_size != 1 or observation.loss is not None:
        return targets
    bias = _last(observation, 2)
    if bias is None or not _is_added_to_scores(observation, bias):
        return targets
    error = observation.gradients[bias]
    largest = error.abs().amax(dim=1)
    intact = (error.sum(dim=1).abs() <= ROUNDING * largest) & (largest > 0)
    centred = error - error.mean(dim=1, keepdim=True)
    return torch.where(intact[:, None, None], -centred.unsqueeze(1), targets)


def count_labels(observation: GradientObservation) -> Tensor:
    """The multiset of labels of a batch (LLG; Wainakh et al., PETS 2022, Algorithm 1), for B >= 1.

    Every class with a negative row sum occurs at least once. Each occurrence moves its row by an impact
    that is estimated from the negative rows; after the sure ones are taken, the most negative row is
    credited until B labels are found.

    Returns:
        int64 ``[N, B]``, sorted within a victim.
    """
    rows = classifier_rows(observation).clone()
    count, classes = observation.batch_size, observation.num_classes
    impact = rows.clamp_max(0).sum(dim=1) / count * (1 + 1 / classes)
    found = torch.zeros_like(rows, dtype=torch.long)
    sure_first = rows.argsort(dim=1)
    for turn in range(min(count, classes)):
        candidate = sure_first[:, turn : turn + 1]
        sure = rows.gather(1, candidate) < 0
        found.scatter_add_(1, candidate, sure.long())
    rows = rows - found * impact.unsqueeze(1)
    while (missing := found.sum(dim=1) < count).any():
        candidate = rows.argmin(dim=1, keepdim=True)
        step = missing.unsqueeze(1)
        found.scatter_add_(1, candidate, step.long())
        rows = rows.scatter_add(1, candidate, -(impact.unsqueeze(1) * step))
    labels = torch.arange(classes, device=rows.device).expand_as(found)
    return torch.stack([row.repeat_interleave(times) for row, times in zip(labels, found, strict=True)])
