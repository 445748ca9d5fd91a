"""Matching losses: how far a dummy batch's gradients are from the observed ones, per victim.

A matching loss is a callable ``(candidate, observed) -> [N]``; lower is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.api.gradients import Gradients, rows_of_each
from bench.api.observation import GradientObservation
from bench.engine.priors import Weighted, total_variation

Matching = Callable[[Gradients, Gradients], Tensor]
Transmitted = Callable[[Gradients], Gradients]
Loss = Callable[[Transmitted | None], Matching]
"""A matching loss that looks at transmitted entries alone."""


LONG = 2**18
"""Numbers of a victim beyond which its gradient does not stay in a processor's cache between two passes."""
_BLOCK = 2**16


def flat(gradients: Gradients) -> Tensor:
    """All layers of each victim in one row: ``[N, P]``."""
    return torch.cat([rows_of_each(value) for value in gradients.values()], dim=1)


def rows_of(gradients: Gradients) -> list[Tensor]:
    """The gradient of each victim as rows ``[N, P]``: one of all layers, or of a large network one of each.

    Joining the layers makes few operations of many; of a large network it costs as much as all that follows.
    """
    rows = [rows_of_each(value) for value in gradients.values()]
    return rows if sum(row.shape[1] for row in rows) > LONG else [flat(gradients)]


def products(left: Tensor, right: Tensor) -> Tensor:
    """Scalar products ``[N]`` of rows ``[N, P]``."""
    if left.shape[1] <= LONG or left.device.type != "cpu":
        found: Tensor = torch.linalg.vecdot(left, right)
        return found
    # Of long rows vecdot writes all products down before it adds them; sums of blocks keep the digits.
    return torch.stack([_long_product(*pair) for pair in zip(left, right, strict=True)])


def _long_product(left: Tensor, right: Tensor) -> Tensor:
    parts = zip(left.split(_BLOCK), right.split(_BLOCK), strict=True)
    return torch.stack([torch.dot(*part) for part in parts]).sum()


def energy(gradients: Gradients) -> Tensor:
    """Squared norm of all layers of each victim together: ``[N]``."""
    rows = (rows_of_each(value) for value in gradients.values())
    return torch.stack([products(row, row) for row in rows]).sum(0)


class _SquaredGap(torch.autograd.Function):
    """Squared distance of each victim's rows, and its gradient in one pass, where autograd makes three."""

    @staticmethod
    def forward(ctx: Any, candidate: Tensor, observed: Tensor, mask: Tensor | None) -> Tensor:
        """The distance ``[N]`` of one layer ``[N, ...]``, where the mask of zeros and ones is one."""
        gap = candidate - observed
        if mask is not None:
            gap = gap * mask
        ctx.save_for_backward(gap)
        row = rows_of_each(gap)
        return products(row, row)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        """Of ``candidate``."""
        (gap,) = ctx.saved_tensors
        return gap * (2 * grad_output).view(-1, *[1] * (gap.dim() - 1)), None, None


@dataclass(frozen=True)
class Euclidean:
    """Squared Euclidean distance over all layers, relative to the observed energy.

    DLG's objective (Zhu et al. 2019, Eq. 4) divided by ``||g*||^2``, which moves no minimum and makes one
    stopping rule serve networks and checkpoints whose gradients differ by orders of magnitude.

    Attributes:
        transmitted: restricts the sum to the entries that carry information.
    """

    transmitted: Transmitted | None = None
    _last: list[tuple[Gradients, Gradients, Tensor]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]``; 1 for a candidate of zeros."""
        mask, norm = self._of(observed)
        # Layer by layer: joining them first costs as much as all that is done with them.
        gaps = [_SquaredGap.apply(candidate[name], value, mask.get(name)) for name, value in observed.items()]
        return torch.stack(gaps).sum(0) / norm

    def _of(self, observed: Gradients) -> tuple[Gradients, Tensor]:
        """Mask and energy of the release; a search asks for the same ones in each of its evaluations."""
        if not self._last or self._last[0][0] is not observed:
            mask = {} if self.transmitted is None else self.transmitted(observed)
            norm = energy(
                {name: value * mask[name] for name, value in observed.items()} if mask else observed
            )
            self._last[:] = [(observed, mask, norm.clamp_min(torch.finfo(norm.dtype).tiny))]
        return self._last[0][1:]


@dataclass(frozen=True)
class _Observed:
    """A release as the cosine needs it.

    Attributes:
        gradients: the release itself.
        right: rows ``[N, P]``, see :func:`rows_of`, zero where nothing was transmitted.
        norm: ``[N]``, of all rows of a victim together.
        mask: rows that are one where something was transmitted; empty: everywhere.
    """

    gradients: Gradients
    right: list[Tensor]
    norm: Tensor
    mask: list[Tensor]

    @classmethod
    def of(cls, observed: Gradients, transmitted: Transmitted | None) -> Self:
        """Takes it apart and measures it."""
        right, mask = rows_of(observed), list[Tensor]()
        if transmitted is not None:
            sent = transmitted(observed)
            mask = [row.to(right[0]) for row in rows_of({name: sent[name] for name in observed})]
            right = [row * kept for row, kept in zip(right, mask, strict=True)]
        energy = sum((products(row, row) for row in right[1:]), products(right[0], right[0]))
        return cls(observed, right, energy.sqrt(), mask)


class _OneMinusCosine(torch.autograd.Function):
    """One minus the cosine, and its gradient in two passes over each row, where autograd makes six."""

    @staticmethod
    def forward(ctx: Any, norm: Tensor, *rows: Tensor) -> Tensor:
        """The loss ``[N]`` of rows ``[N, P]`` beside as many others, whose common norms ``[N]`` are known."""
        pairs = list(zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True))
        energy = torch.stack([products(left, left) for left, _ in pairs]).sum(0)
        product = torch.stack([products(left, right) for left, right in pairs]).sum(0)
        norms = energy.sqrt() * norm
        least = torch.finfo(norm.dtype).tiny ** 0.5
        ctx.save_for_backward(energy, product, norms.clamp_min(least), norms > least, *rows)
        return 1 - product / norms.clamp_min(least)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Of the first half of the rows; where the norms are bounded from below they count as constants."""
        energy, product, norms, sound, *rows = ctx.saved_tensors
        along = torch.where(sound, grad_output * product / (norms * energy), 0.0)[:, None]
        across = (-grad_output / norms)[:, None]
        pairs = zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True)
        found = [(along * left).addcmul_(across, right) for left, right in pairs]
        return None, *found, *[None] * len(found)


@dataclass(frozen=True)
class Cosine:
    """One minus the cosine of all layers together (Geiping et al. 2020, Eq. 4).

    Attributes:
        transmitted: restricts both vectors to the entries that carry information.
    """

    transmitted: Transmitted | None = None
    _last: list[_Observed] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]`` in [0, 2]."""
        seen = self._of(observed)
        left = rows_of({name: candidate[name] for name in observed})
        if seen.mask:
            left = [row * kept for row, kept in zip(left, seen.mask, strict=True)]
        loss: Tensor = _OneMinusCosine.apply(seen.norm, *left, *seen.right)
        return loss

    def _of(self, observed: Gradients) -> _Observed:
        """The release in rows; a search asks for the same one in each of its evaluations."""
        if not self._last or self._last[0].gradients is not observed:
            self._last[:] = [_Observed.of(observed, self.transmitted)]
        return self._last[0]


@dataclass(frozen=True)
class TensorCosine:
    """One minus the mean, over the weight tensors, of each tensor's own cosine.

    In a cosine of all layers the few tensors of large gradients decide alone, biases often. Here every tensor
    counts the same, but for those of which nothing was observed.

    Attributes:
        transmitted: restricts both vectors to the entries that carry information.
    """

    transmitted: Transmitted | None = None
    _last: list[tuple[Gradients, Gradients, Gradients, Tensor]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __call__(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """The loss, ``[N]`` in [0, 2]; 1 where nothing at all was observed."""
        unit, mask, shares = self._of(observed)
        losses = []
        for name, right in unit.items():
            left = rows_of_each(candidate[name])
            left = left * mask[name] if mask else left
            losses.append(_OneMinusCosine.apply(torch.ones_like(right[:, 0]), left, right))
        return (torch.stack(losses, dim=1) * shares).sum(1)

    def _of(self, observed: Gradients) -> tuple[Gradients, Gradients, Tensor]:
        """Unit rows ``[N, P]`` and mask of each tensor, and each one's share ``[N, T]`` of the mean."""
        if not self._last or self._last[0][0] is not observed:
            rows = {name: rows_of_each(value) for name, value in observed.items()}
            mask: dict[str, Tensor] = {}
            if self.transmitted is not None:
                mask = {name: rows_of_each(value) for name, value in self.transmitted(observed).items()}
                rows = {name: row * mask[name] for name, row in rows.items()}
            norms = torch.stack([row.norm(dim=1) for row in rows.values()], dim=1)
            seen = (norms > 0).to(norms)
            # Where nothing was observed every cosine is zero, so that any shares will do.
            counted = torch.where(seen.any(1, keepdim=True), seen, 1.0)
            shares = counted / counted.sum(1, keepdim=True)
            least = torch.finfo(norms.dtype).tiny
            unit = {
                name: row / norm.clamp_min(least)[:, None]
                for (name, row), norm in zip(rows.items(), norms.T, strict=True)
            }
            self._last[:] = [(observed, unit, mask, shares)]
        return self._last[0][1:]


MATCHINGS: dict[str, Loss] = {
    "cosine": Cosine,
    "tensors": TensorCosine,
    "euclidean": Euclidean,
}
"""Matching losses by the names that attacks' parameters have for them."""


def in_nats(observation: GradientObservation) -> bool:
    """Whether an adaptive attacker knows a density, so that its cost is a negative log-likelihood."""
    view = observation.defense
    return view is not None and view.negative_log_likelihood is not None


def adaptive_loss(observation: GradientObservation, default: Loss) -> Matching:
    """The matching loss of an attacker who uses all that it knows about the defense.

    Balunovic et al. (ICLR 2022): the optimal objective is the likelihood of the observation under the known
    defense. Without a density, the attack's own loss is kept and looks only at transmitted entries. What is
    known of how clients change a gradient before they send it is done to the candidate first, which may say
    something of the other entries as well.

    Args:
        observation: a naive attacker's has no view of the defense.
        default: the attack's own loss.
    """
    view = observation.defense
    if view is None:
        return default(None)
    transmitted = None if view.compares_all else view.transmitted
    loss, transmit = view.negative_log_likelihood or default(transmitted), view.transmit
    if transmit is None:
        return loss
    return lambda candidate, observed: loss(transmit(candidate, observed), observed)


def smoothness(observation: GradientObservation, *, tv: float, tv_nats: float) -> Weighted:
    """Total variation where a known defense keeps something of the gradient back, for which a prior makes up.

    Args:
        observation: says whether it does.
        tv: weight beside a distance of transmitted entries.
        tv_nats: weight beside a likelihood.
    """
    view = observation.defense
    if in_nats(observation):
        return ((tv_nats, total_variation),)
    return ((tv, total_variation),) if view is not None and view.transmitted is not None else ()
