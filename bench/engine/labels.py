"""Labels and output errors from the gradient of the last layer, without optimisation."""

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
WHOLE, WHOLE_AT_MOST = 0.01, 0.2
"""How far from whole numbers restored counts of labels may be: so much for each image, at most so much."""
SURE = 0.99
"""A probability beyond which images of a class leave too little in a gradient to be counted."""


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
    name = _last(observation, 3)
    if name is None:
        raise IncompatibleError("label inference needs a linear last layer")
    path = name.removesuffix(".weight")
    bias = observation.gradients.get(f"{path}.bias")
    if bias is not None and _of_signed_features(observation, path):
        return bias
    return observation.gradients[name].sum(dim=2)


def private_labels(observation: GradientObservation) -> Tensor:
    """The labels that an attack on gradients works with: those given, or else inferred from the last layer.

    Returns:
        int64 ``[N, B]``, :data:`UNKNOWN` where the release does not tell; those that were inferred for
        B > 1 are sorted within a victim.

    Raises:
        IncompatibleError: the threat model gives the labels, and they are missing; or it does not, and the
            network has no linear classifier.
    """
    if observation.threat.labels_known:
        if observation.labels is None:
            raise IncompatibleError("the threat model says that the labels are known, and none are given")
        return observation.labels
    return (single_labels if observation.batch_size == 1 else batch_labels)(observation)


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
    bias = _last(observation, 2)
    if bias is None or not _is_added_to_scores(observation, bias):
        return targets
    error = observation.gradients[bias]
    centred = error - error.mean(dim=1, keepdim=True)
    return torch.where(_intact(error)[:, None, None], -centred.unsqueeze(1), targets)


def _intact(error: Tensor) -> Tensor:
    """Whether the gradients ``[N, K]`` of a bias add up to zero as output errors do: bool ``[N]``."""
    largest = error.abs().amax(dim=1)
    return (error.sum(dim=1).abs() <= ROUNDING * largest) & (largest > 0)


def batch_labels(observation: GradientObservation) -> Tensor:
    """The multiset of labels of a batch, restored class by class if that fits, else counted by impacts.

    Measured on digits, K = 10, half of the batches of as many classes as possible, half of three. One network
    each at round 0: of 520 batches of 4 to 64, restored counts are believed for 421 and right for all 421,
    where counting by impacts is right for 257. Labels named, in %, by impacts and by both: B = 4, LeNet 93
    and 100, ConvNet 100 and 100, ResNet-8 99 and 100 (with GroupNorm 100 and 100); B = 8, 88 and 100, 100 and
    100, 87 and 88 (83 and 86); B = 16, 91 and 100, 85 and 100, 72 and 75 (73 and 83); B = 64, LeNet 86 and
    95, ConvNet 72 and 77. Of 60 batches of four distinct digits on as many random LeNets all labels are right
    for 63 and 77 %, with repeated digits 67 and 87 %. Trained networks tell less: LeNet and ConvNet with 94
    and 99 % accuracy name 59 to 75 % of four labels and 33 to 67 % of 16, and nearly always by impacts, since
    features of a class that few hard images dominate are not those of the others.

    Returns:
        As :func:`count_labels`.
    """
    counted = count_labels(observation)
    restored = _restored(observation)
    if restored is None:
        return counted
    counts, fits = restored
    labels = torch.arange(counts.shape[1], device=counts.device)
    for victim in fits.nonzero()[:, 0].tolist():
        counted[victim] = labels.repeat_interleave(counts[victim])
    return counted


def _restored(observation: GradientObservation) -> tuple[Tensor, Tensor] | None:
    """Labels by class that explain the gradient of the last layer (iLRG; Ma et al., ICLR 2023).

    Its bias has the gradient ``r_k = mean_b(p_bk - y_bk)``, its weights have the rows ``R_k``. Images of
    class k have features of about ``e_k = R_k / r_k``, to which the public layer gives the probabilities
    ``P_k = softmax(W e_k + c)``. So the counts solve ``sum_j n_j P_jk - n_k = B r_k`` and ``sum_k n_k = B``.

    Returns:
        Counts ``[N, K]`` that add up to B, and whether they can be believed ``[N]``: the bias' entries add up
        to zero, so that nothing was changed, the solution nearly consists of whole numbers, and the network
        is sure of no class that is counted. None if the release is no gradient of a linear layer with a bias
        under cross-entropy.
    """
    name = _last(observation, 3) or ""
    bias = f"{name.removesuffix('weight')}bias"
    if bias not in observation.gradients or observation.loss is not None or observation.threat.local:
        return None
    rows, errors = observation.gradients[name].double(), observation.gradients[bias].double()
    size, classes = observation.batch_size, observation.num_classes
    features = (rows / errors.unsqueeze(2)).nan_to_num(0.0, 0.0, 0.0).clamp_min(0)
    weight, shift = observation.parameters[name].double(), observation.parameters[bias].double()
    likely = (features @ weight.mT + shift.unsqueeze(-2)).softmax(-1).nan_to_num(1 / classes)
    whole = torch.cat([likely.mT - torch.eye(classes).to(likely), torch.ones_like(likely[:, :1])], dim=1)
    known = torch.cat([size * errors, torch.full_like(errors[:, :1], size)], dim=1).nan_to_num(0.0, 0.0, 0.0)
    solved = (torch.linalg.pinv(whole) @ known.unsqueeze(2)).squeeze(2)
    counts = _rounded(solved, size)
    own = torch.where(counts > 0, likely.diagonal(dim1=1, dim2=2), 0.0).amax(dim=1)
    fits = (solved - counts).abs().amax(dim=1) <= min(WHOLE * size, WHOLE_AT_MOST)
    return counts, _intact(errors) & fits & (own <= SURE)


def _rounded(numbers: Tensor, total: int) -> Tensor:
    """Whole numbers ``[N, K]`` of this total, in proportion to the positive ones (largest remainders)."""
    shares = numbers.clamp_min(0)
    shares = shares * total / shares.sum(dim=1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
    counts = shares.floor()
    missing = (total - counts.sum(dim=1, keepdim=True)).round()
    place = (shares - counts).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (counts + (place < missing)).long()


def count_labels(observation: GradientObservation) -> Tensor:
    """The multiset of labels of a batch (LLG; Wainakh et al., PETS 2022, Algorithm 1), for B >= 1.

    Every class with a negative row sum occurs at least once. Each occurrence moves its row by an impact
    that is estimated from the negative rows; after the sure ones are taken, the most negative row is
    credited until B labels are found. Where more classes tie than labels are missing, or where they tie and
    no row is negative, the labels that are still missing are unknown.

    Returns:
        int64 ``[N, B]``, sorted within a victim; :data:`UNKNOWN` ones come first.
    """
    rows = classifier_rows(observation).clone()
    count, classes = observation.batch_size, observation.num_classes
    impact = rows.clamp_max(0).sum(dim=1, keepdim=True) / count * (1 + 1 / classes)
    found = torch.zeros_like(rows, dtype=torch.long)
    missing = torch.full_like(impact, count, dtype=torch.long)
    unknown = torch.zeros_like(missing)
    sure = rows < 0
    while (here := (missing > 0) & sure.any(dim=1, keepdim=True)).any():
        taken, missing, unknown = _credited(rows, sure & here, missing, unknown)
        found, sure = found + taken, sure & ~taken.bool()
    rows = rows - found * impact
    while (here := missing > 0).any():
        taken, missing, unknown = _credited(rows, here.expand_as(rows), missing, unknown, moved=impact < 0)
        found, rows = found + taken, rows - taken * impact
    labels = torch.arange(-1, classes, device=rows.device).expand(len(rows), -1)
    times = torch.cat([unknown, found], dim=1)
    return torch.stack([row.repeat_interleave(often) for row, often in zip(labels, times, strict=True)])


def _credited(
    rows: Tensor, among: Tensor, missing: Tensor, unknown: Tensor, *, moved: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """One label for each class of the smallest sum, or unknown ones for all that are missing.

    Args:
        rows: ``[N, K]``.
        among: bool ``[N, K]``, the classes to choose from; victims without one wait.
        missing: int64 ``[N, 1]``, labels.
        unknown: int64 ``[N, 1]``, labels that nothing tells.
        moved: bool ``[N, 1]``, whether a credit moves a row, so that ties can be followed; None: everywhere.

    Returns:
        Labels by class ``[N, K]``, and what is missing and unknown then.
    """
    open_ = among.any(dim=1, keepdim=True)
    least = torch.where(among, rows, torch.inf).amin(dim=1, keepdim=True)
    tied = among & (rows == least)
    number = tied.sum(dim=1, keepdim=True)
    told = (number == 1) | ((number > 1) & (number <= missing) & (True if moved is None else moved))
    taken = (tied & told).long()
    lost = torch.where(open_ & ~told, missing, 0)
    return taken, missing - taken.sum(dim=1, keepdim=True) - lost, unknown + lost
