"""The distance of gradients that copies of a transform can be trusted with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bench.api import Gradients

RIDGE = 1e-3
"""Of the mean energy of a copy's error, what it is thought to err by in every other direction."""


def directions(gradients: Gradients) -> Tensor:
    """The gradients of weight matrices and filters, each at unit length: ``[..., M, D]``.

    Biases, in which all images are alike, are left out, and so is how sure the network is of an image.
    """
    parts = [value.flatten(1) for value in gradients.values() if value.dim() > 2]
    parts = parts or [value.flatten(1) for value in gradients.values()]
    tiny = torch.finfo(parts[0].dtype).tiny
    return torch.cat([part / part.norm(dim=1, keepdim=True).clamp_min(tiny) for part in parts], dim=1)


@dataclass(frozen=True)
class ErrorMetric:
    """Mahalanobis distance under the errors that copies make, as Fisher's discriminant weighs them.

    The copies of a transform differ from one another as a client's own one differs from them. So what they
    disagree on, for images that the attacker owns, says in which directions a gradient tells nothing.

    Attributes:
        errors: ``[K, D]``, of single copies against the mean of all.
        solved: ``[K, K]``, what of an inner product these directions take away.
        scale: of the distance.
    """

    errors: Tensor
    solved: Tensor
    scale: Tensor

    @classmethod
    def of(cls, copies: Tensor) -> Self:
        """Learns the errors from what E copies make of A images, directions ``[E, A, D]``."""
        errors = (copies - copies.mean(0)).flatten(0, 1)
        count = max(1, len(errors))
        energy = errors.double().square().sum(1)
        ridge = RIDGE * (energy.mean() if len(errors) else energy.sum()).clamp_min(1e-12)
        gram = (errors @ errors.T).double() / count
        inverse = torch.linalg.inv(gram + ridge * torch.eye(len(errors), device=gram.device).to(gram))
        return cls(errors, inverse / count, ridge)

    def __call__(self, theirs: Tensor, observed: Tensor) -> Tensor:
        """Squared distances ``[N, C]`` of candidates ``[C, D]`` from releases ``[N, D]``."""
        left, right = (observed @ self.errors.T).double(), (theirs @ self.errors.T).double()
        inner = (observed @ theirs.T).double() - left @ self.solved @ right.T
        own = theirs.double().square().sum(1) - ((right @ self.solved) * right).sum(1)
        given = observed.double().square().sum(1) - ((left @ self.solved) * left).sum(1)
        return (own - 2 * inner + given[:, None]) / self.scale
