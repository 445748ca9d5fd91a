"""The labels of batches from the gradient of the last layer, without optimisation."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.errors import IncompatibleError
from bench.api.observation import GradientObservation
from bench.engine.labels import classifier_rows, intact, last_gradient, single_labels

WHOLE, WHOLE_AT_MOST = 0.01, 0.2
"""How far from whole numbers restored counts of labels may be: so much for each image, at most so much."""
SURE = 0.99
"""A probability beyond which images of a class leave too little in a gradient to be counted."""


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
    name = last_gradient(observation, 3) or ""
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
    return counts, intact(errors) & fits & (own <= SURE)


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
