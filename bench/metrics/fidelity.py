"""How good a generator is: how near its images are to real ones, and how varied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CONFIDENT = 0.9
"""Probability from which an image counts as one that the evaluator is sure of."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A generator's samples against the auxiliary images.

    Attributes:
        frechet: Frechet distance of the evaluator's features, samples against auxiliary images.
        frechet_real: the same of other real images, what a perfect generator would reach.
        confident: share of samples that the evaluator is sure of.
        confident_real: share of other real images that it is sure of.
        classes: how many classes the samples are spread over: exp of the entropy of the mean prediction.
        diversity: mean pixel distance of two samples, relative to that of two auxiliary images.
    """

    frechet: float
    frechet_real: float
    confident: float
    confident_real: float
    classes: float
    diversity: float


def frechet_distance(left: Tensor, right: Tensor) -> float:
    """Squared Frechet distance of the normal distributions with the moments of two sets of features.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` (Heusel et al. 2017). The trace of the root is the sum of
    the roots of the eigenvalues of ``S1 S2``, which are those of a product of symmetric matrices.

    Args:
        left: ``[M, E]``, M > 1.
        right: ``[P, E]``, P > 1.
    """
    a, b = left.double(), right.double()
    first, second = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    total = gap + first.trace() + second.trace() - 2 * shared
    return max(0.0, float(total.item()))


def spread(images: Tensor) -> float:
    """Mean Euclidean distance of two different images of ``[M, C, H, W]``."""
    return torch.pdist(images.flatten(1)).mean().item()


def effective_classes(scores: Tensor) -> float:
    """Exp of the entropy of the mean prediction of class scores ``[M, K]``: 1 to K."""
    mean = scores.double().softmax(1).mean(0)
    return math.exp(-(mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum().item())


def confident(scores: Tensor) -> float:
    """Share of class scores ``[M, K]`` whose largest probability is at least :data:`CONFIDENT`."""
    return (scores.softmax(1).amax(1) >= CONFIDENT).double().mean().item()
