"""The costs of candidates by their gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.api import GradientObservation, Gradients, IncompatibleError
from bench.api.threat import BatchNorm
from bench.attacks.candidates.imitated import ErrorMetric, directions
from bench.engine import single_labels
from bench.engine.gradients import GradientMap, gradient_map, one_hot
from bench.engine.matching import Cosine, Matching, Transmitted, adaptive_loss, flat, in_nats
from bench.engine.transforms.imitated import Imitations
from bench.engine.transforms.local import simulated

_NUMBERS = 2**23
"""Entries of the candidates' gradients that are held at a time: 32 MiB in float32."""
_AT_ONCE = 128
_LEARNED = 60
"""Images of a class from which the errors of the copies are learned."""

Costs = Callable[[Gradients, Gradients], Tensor]
"""``(gradients of C candidates, N releases) -> [N, C]``."""


def gradient_costs(
    seen: GradientObservation, pool: Tensor, copies: Imitations | None
) -> tuple[Tensor, Tensor, Tensor]:
    """How unlike the gradient of each candidate the observed ones are.

    Where all victims share their weights, a candidate's gradient is computed once for all releases with one
    label. Where a label cannot be inferred, each candidate is tried with every class, and its best counts.

    Args:
        seen: releases of one image each.
        pool: ``[P, C, H, W]``.
        copies: of what clients do to their images; None: nothing.

    Returns:
        Costs ``[N, P]``, how many gradients were computed for each release, ``[N]``, and labels ``[N, 1]``.
    """
    inferred = _inferred(seen)
    unknown = inferred < 0
    tried = range(seen.num_classes) if unknown.any() else sorted(set(inferred.tolist()))
    table = seen.reference.new_full((seen.victims, len(pool)), torch.inf)
    best, spent = torch.zeros_like(table, dtype=torch.int64), torch.zeros_like(seen.ids)
    for label in tried:
        rows = (unknown | (inferred == label)).nonzero()[:, 0]
        if not len(rows):
            continue
        for group in rows[:, None] if seen.per_victim_weights else [rows]:
            released = _Released(seen.select(group), copies, label)
            found = released.costs(pool).to(table)
            nearer = found < table[group]
            best[group] = torch.where(nearer, label, best[group])
            table[group] = torch.where(nearer, found, table[group])
            spent[group] += released.spent
    chosen = table.nan_to_num(torch.inf).argmin(1, keepdim=True)
    return table, spent, torch.where(unknown[:, None], best.gather(1, chosen), inferred[:, None])


def _inferred(seen: GradientObservation) -> Tensor:
    """The labels ``[N]``, from the gradient of the last layer; -1 where that does not tell them."""
    try:
        return single_labels(seen)[:, 0]
    except IncompatibleError:
        return torch.full_like(seen.ids, -1)


class _Released:
    """Candidates as clients with one label, beside the releases that have it.

    Attributes:
        spent: gradients computed so far, for each release.
    """

    def __init__(self, seen: GradientObservation, copies: Imitations | None, label: int) -> None:
        self.seen, self.copies, self.label = seen, copies, label
        self.spent = 0
        self._map = _map(seen)
        numbers = sum(value[0].numel() for value in seen.gradients.values())
        self._at_once = max(1, min(_AT_ONCE, _NUMBERS // numbers))

    def costs(self, pool: Tensor) -> Tensor:
        """Costs ``[N, P]`` of all candidates."""
        if self.copies is not None:
            return self._by_copies(pool)
        costs = _costs_of(self.seen)
        found = [costs(self._gradients(part)[0], self.seen.gradients) for part in pool.split(self._at_once)]
        return torch.cat(found, dim=1)

    def _by_copies(self, pool: Tensor) -> Tensor:
        """The distance that the copies' own errors leave, from the mean of what the copies make."""
        owned = self.seen.auxiliary
        assert owned is not None
        own = owned.images[owned.labels == self.label]
        mine = (own if len(own) else owned.images)[:_LEARNED].to(pool.device)
        learned = [self._directions(part) for part in mine.split(self._at_once)]
        metric = ErrorMetric.of(torch.cat(learned, dim=1))
        observed = directions(self.seen.gradients)
        parts = pool.split(self._at_once)
        return torch.cat([metric(self._directions(part).mean(0), observed) for part in parts], dim=1)

    def _directions(self, images: Tensor) -> Tensor:
        """``[E, C, D]`` of images ``[C, ...]``."""
        return torch.stack([directions(gradients) for gradients in self._gradients(images)])

    def _gradients(self, images: Tensor) -> list[Gradients]:
        """The gradients ``[C, ...]`` of images ``[C, ...]`` by every copy, or by the images themselves."""
        images = images.to(self.seen.reference)
        labels = torch.full((len(images),), self.label, device=images.device)
        inputs = images[None] if self.copies is None else self.copies.each(images, labels).detach()
        targets = one_hot(labels[:, None], self.seen.num_classes, images.dtype)
        self.spent += len(inputs) * len(images)
        return [self._map(one.unsqueeze(1), targets) for one in inputs]


def _map(seen: GradientObservation) -> GradientMap:
    """The gradients of candidates, each a client of its own with the weights of the first victim."""
    own = seen.per_victim_weights
    known = seen.statistics if seen.threat.batch_norm is BatchNorm.EVAL else None
    return gradient_map(
        seen.model,
        {name: value[0] if own else value for name, value in seen.parameters.items()},
        per_victim_weights=False,
        statistics=known,
        batch_loss=seen.loss,
        names=seen.gradients,
        local=simulated(seen),
    )


def _costs_of(seen: GradientObservation) -> Costs:
    """The density of a known defense, or a distance of what is known to be transmitted and of how."""
    view = seen.defense
    if view is not None and (view.transmit is not None or in_nats(seen)):
        return partial(_one_by_one, adaptive_loss(seen, Cosine))
    return partial(_one_minus_cosine, None if view is None else view.transmitted)


def _one_by_one(matching: Matching, theirs: Gradients, observed: Gradients) -> Tensor:
    """Costs ``[N, C]``, release by release: a density need not be a dot product.

    What clients would send of a candidate may depend on the release, as well.
    """
    rows = []
    for victim in range(len(next(iter(observed.values())))):
        one = {name: value[victim].expand_as(theirs[name]) for name, value in observed.items()}
        rows.append(matching({name: theirs[name] for name in one}, one))
    return torch.stack(rows)


def _one_minus_cosine(transmitted: Transmitted | None, theirs: Gradients, observed: Gradients) -> Tensor:
    """``[N, C]`` in [0, 2], of all layers together as far as they were transmitted."""
    left, right = flat(observed), flat({name: theirs[name] for name in observed})
    if transmitted is None:
        own = right.norm(dim=1)[None]
    else:
        sent = flat(transmitted(observed)).to(left)
        left, own = left * sent, (sent @ right.square().T).sqrt()
    norms = own * left.norm(dim=1, keepdim=True)
    loss: Tensor = 1 - left @ right.T / norms.clamp_min(torch.finfo(norms.dtype).tiny)
    return loss
