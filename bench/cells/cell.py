"""One cell, from its specification to its outcome. Every executor calls this and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bench.api.dataset import Data
from bench.cache.store import Stored
from bench.cells import stages
from bench.cells.context import Context
from bench.matrix.cells import Cell
from bench.records.cell_schema import Question
from bench.records.outcome import Keys, Outcome, seeds, stage_keys
from bench.records.provenance import machine, provenance
from bench.records.record import SCHEMA, Record, Status, means_from
from bench.records.record_fields import AttackCost, Means, Memory, Prior, ReleaseHealth, Seconds, Utility
from bench.records.rows import image_rows
from bench.records.sheet import sheet

if TYPE_CHECKING:
    from torch import Tensor

PartT = TypeVar("PartT", Utility, AttackCost, ReleaseHealth, Prior)


def run_cell(cell: Cell, keys: Keys, context: Context) -> Outcome:
    """Walks through the stages, each from the cache where it is there.

    Raises:
        Exception: whatever the plug-ins raise; the worker makes a failure record of it.
    """
    context.data(cell)  # before any clock runs: the first stage does not pay for loading it
    victim = stages.victim(cell, keys, context)
    release = stages.release(cell, keys, context)
    reconstruction = stages.reconstruction(cell, keys, context)
    judge = stages.evaluator(cell, keys, context)
    prior = stages.generator(cell, keys, context)
    if not context.store.has("scores", keys.scores):
        context.lpips()
    scores = stages.scores(cell, keys, context)
    found = {
        "victim": victim,
        "evaluator": judge,
        "release": release,
        "reconstruction": reconstruction,
        "scores": scores,
    }
    if prior is not None:
        found["generator"] = prior
    record = Record(
        schema=SCHEMA,
        id=cell.id,
        key=keys.scores,
        stages=stage_keys(keys),
        cell=Question.model_validate(cell.to_json()),
        seeds=seeds(cell),
        status=Status.DONE,
        utility=_pick(Utility, victim),
        attack=_pick(AttackCost, reconstruction),
        generator=_pick(Prior, prior) if prior is not None else None,
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
        reconstruction_sha256=context.store.checksum("reconstruction", keys.reconstruction),
        provenance=provenance(machine(context.device)),
    )
    picture = sheet(
        _shown(release, scores, context.data(cell)), reconstruction.tensors["images"], scores.tensors["order"]
    )
    return Outcome(record, tuple(image_rows(cell, scores.tensors)), picture)


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
