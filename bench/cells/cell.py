"""One cell, from its specification to its outcome. Every executor calls this and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from bench.api.dataset import Data
from bench.cache.keys import generator_of
from bench.cache.store import Stored
from bench.cells import stages
from bench.cells.context import Context
from bench.matrix.cells import Cell
from bench.records.outcome import Keys, Outcome, named
from bench.records.provenance import machine, provenance
from bench.records.record import Record, Status, means_from
from bench.records.record_fields import AttackCost, Means, Memory, Prior, ReleaseHealth, Seconds, Utility
from bench.records.rows import digest, image_rows
from bench.records.sheet import sheet

if TYPE_CHECKING:
    from torch import Tensor

PartT = TypeVar("PartT", Utility, AttackCost, ReleaseHealth, Prior)


class Results:
    """The results of a cell's stages, each from the cache if it is there, else computed from those before it.

    Args:
        cell: what is measured.
        keys: under which the results lie.
        context: where to compute.
    """

    def __init__(self, cell: Cell, keys: Keys, context: Context) -> None:
        self._cell, self._keys, self._context = cell, keys, context
        self._data = context.data(cell)  # before any clock runs: the first stage does not pay for loading it
        self._inputs = (cell, self._data, context.device)

    @cached_property
    def victim(self) -> Stored:
        """See :func:`~bench.cells.stages.victim`; the same of all that follow."""
        return self._kept("victim", lambda: stages.victim(*self._inputs))

    @cached_property
    def evaluator(self) -> Stored:
        """The evaluator."""
        return self._kept("evaluator", lambda: stages.evaluator(*self._inputs))

    @cached_property
    def generator(self) -> Stored | None:
        """The generator; None if the attack searches none."""
        kind = generator_of(self._cell)
        if not kind:
            return None
        return self._kept("generator", lambda: stages.generator(*self._inputs, kind, self.evaluator))

    @cached_property
    def release(self) -> Stored:
        """The release."""
        return self._kept("release", lambda: stages.release(*self._inputs, self.victim))

    @cached_property
    def reconstruction(self) -> Stored:
        """The reconstruction."""
        before = self.victim, self.release, self.generator
        return self._kept(
            "reconstruction", lambda: stages.reconstruction(*self._inputs, *before, self._context.attacks)
        )

    @cached_property
    def scores(self) -> Stored:
        """The scores."""
        if not self._context.store.has("scores", self._keys.scores):
            self._context.lpips()  # loaded before the clock runs
        before = self.release, self.reconstruction, self.evaluator
        return self._kept("scores", lambda: stages.scores(self._cell, self._data, self._context, *before))

    def _kept(self, stage: str, compute: Callable[[], Stored]) -> Stored:
        return self._context.stage(stage, getattr(self._keys, stage), compute)


def run_cell(cell: Cell, keys: Keys, context: Context) -> Outcome:
    """Walks through the stages and writes down what came out.

    Raises:
        Exception: whatever the plug-ins raise; the worker makes a failure record of it.
    """
    results = Results(cell, keys, context)
    victim, release, reconstruction = results.victim, results.release, results.reconstruction
    evaluator, generator, scores = results.evaluator, results.generator, results.scores
    found = {
        "victim": victim,
        "evaluator": evaluator,
        "release": release,
        "reconstruction": reconstruction,
        "scores": scores,
    }
    if generator is not None:
        found["generator"] = generator
    rows = tuple(image_rows(cell, scores.tensors))
    record = Record(
        **named(cell, keys),
        status=Status.DONE,
        utility=_pick(Utility, victim),
        attack=_pick(AttackCost, reconstruction),
        generator=_pick(Prior, generator) if generator is not None else None,
        release=_pick(ReleaseHealth, release),
        means=_means(scores),
        perturbed=_pairs(scores, "perturbed"),
        bound=_pairs(scores, "bound"),
        pool=scores.meta.get("pool"),
        evaluator_accuracy=scores.meta["evaluator_accuracy"],
        lpips_status=scores.meta["lpips_status"],
        lpips_side=_lpips_side(scores, context.data(cell)),
        seconds=Seconds(**{name: stage.meta["seconds"] for name, stage in found.items()}),
        peak_memory_mb=reconstruction.meta["peak_memory_mb"],
        memory_mb=Memory(**{name: stage.meta["peak_memory_mb"] for name, stage in found.items()}),
        rows_sha256=digest(rows),
        reconstruction_sha256=context.store.checksum("reconstruction", keys.reconstruction),
        provenance=provenance(machine(context.device)),
    )
    picture = sheet(
        _shown(release, scores, context.data(cell)), reconstruction.tensors["images"], scores.tensors["order"]
    )
    return Outcome(record, rows, picture)


def _pick(part: type[PartT], stored: Stored) -> PartT:
    return part(**{name: stored.meta[name] for name in part.model_fields})


def _lpips_side(scores: Stored, data: Data) -> int:
    """The size at which LPIPS saw images that are too small for it; 0 where it saw them as they are."""
    from bench.metrics.perceptual import enlarged_side

    _, height, width = data.dataset.image_shape
    return 0 if scores.meta["lpips_status"] else enlarged_side(height, width)


def _pairs(scores: Stored, name: str) -> Means | None:
    return Means(**scores.meta[name]) if name in scores.meta else None


def _means(scores: Stored) -> Means:
    found = {name: scores.tensors[name] for name in Means.model_fields if name in scores.tensors}
    return means_from({name: values.nanmean().item() for name, values in found.items()})


def _shown(release: Stored, scores: Stored, data: Data) -> Tensor:
    """What a contact sheet sets above the reconstructions: their originals, or the nearest private images."""
    if "nearest" not in scores.tensors:
        return release.tensors["images"]
    private = data.splits.private_train.images
    return private[scores.tensors["nearest"].to(private.device)]
