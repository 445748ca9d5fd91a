"""What the network learns from: batches of the attacker's own images, and what clients would send of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bench.api import Clients, GradientObservation, Gradients, HookContext, ImageSet
from bench.api.threat import BatchNorm
from bench.engine.gradients import GradientMap, gradient_map, one_hot
from bench.engine.matching import flat

NUMBERS = 2**25
"""Entries of gradients that are held at a time: 128 MiB in float32."""
_FEWEST, _MOST = 8, 64
"""Batches whose gradients are computed at a time."""


@dataclass(frozen=True)
class Imitated:
    """Clients of the attacker's own, who hold auxiliary images and the public weights.

    Attributes:
        seen: the attack's observation, with weights that all victims share.
        owned: the auxiliary images, on the device of the releases.
        generator: of the defense's randomness.
        draws: how often each batch is released, if the defense draws at all.
    """

    seen: GradientObservation
    owned: ImageSet
    generator: torch.Generator
    draws: int

    def releases(self, index: Tensor, *, seed: int) -> Iterator[Tensor]:
        """What leaves the clients that hold images ``index [M, B]``, part by part: ``[draws, m, P]``."""
        images = self.owned.images.to(self.seen.reference)
        labels = self.owned.labels
        view = self.seen.defense
        known = None if view is None or view.transform is None else view.transform
        if known is not None:
            # What clients keep secret of their transform is in no hook: the attacker has learned a copy.
            copy = known.learn(self.owned, num_classes=self.seen.num_classes, seed=seed)
            images = copy.inputs(self.owned.images, labels).detach().to(images)
        draws = 0
        for rows in index.split(self.at_once):
            batch, named = images[rows], labels[rows]
            if view is not None and view.hooks is not None and known is None:
                batch, named = view.hooks.inputs(batch, named, self._context)
            with torch.no_grad():
                found = self._map(batch, one_hot(named, self.seen.num_classes, batch.dtype))
            sent = self._sent(found, batch, named)
            draws = draws or (1 if torch.equal(sent, self._sent(found, batch, named)) else self.draws)
            yield torch.stack([sent, *(self._sent(found, batch, named) for _ in range(draws - 1))])

    @property
    def at_once(self) -> int:
        """Batches of a part."""
        numbers = sum(value[0].numel() for value in self.seen.gradients.values())
        return max(_FEWEST, min(_MOST, NUMBERS // numbers))

    @cached_property
    def _context(self) -> HookContext:
        model = None if self.seen.loss is None else self.seen.model
        return HookContext(generator=self.generator, batch_size=self.seen.batch_size, model=model)

    @cached_property
    def _map(self) -> GradientMap:
        seen = self.seen
        return gradient_map(
            seen.model,
            seen.parameters,
            per_victim_weights=False,
            statistics=seen.statistics if seen.threat.batch_norm is BatchNorm.EVAL else None,
            batch_loss=seen.loss,
            names=seen.gradients,
            local=seen.threat.local,
        )

    def _sent(self, found: Gradients, batch: Tensor, labels: Tensor) -> Tensor:
        """One draw of what the defense makes of gradients: rows ``[m, P]``."""
        hooks = None if self.seen.defense is None else self.seen.defense.hooks
        if hooks is None:
            return flat(found)
        seen, plain = self.seen, replace(self._map, local=None)
        clients = Clients(
            model=seen.model,
            weights=seen.parameters,
            images=batch,
            labels=labels,
            local=seen.threat.local,
            gradients=lambda rows, named: plain(rows, one_hot(named, seen.num_classes, rows.dtype)),
        )
        with torch.no_grad():
            sent = hooks.gradients(found, replace(self._context, clients=clients, memory={}))
        return flat({name: sent[name] for name in found})
