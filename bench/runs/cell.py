"""One cell, from its specification to its outcome. Every executor calls this and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bench.matrix.cells import Cell
from bench.runs import stages
from bench.runs.context import Context
from bench.runs.identity import Keys
from bench.runs.outcome import Outcome
from bench.runs.provenance import provenance
from bench.runs.record import (
    AttackCost,
    Means,
    Record,
    ReleaseHealth,
    Seconds,
    Status,
    Utility,
    means_from,
)
from bench.runs.rows import image_rows
from bench.runs.sheet import sheet
from bench.runs.store import Stored

if TYPE_CHECKING:
    import torch

PartT = TypeVar("PartT", Utility, AttackCost, ReleaseHealth)


def run_cell(cell: Cell, keys: Keys, context: Context) -> Outcome:
    """Walks through the stages, each from the cache where it is there.

    Raises:
        Exception: whatever the plug-ins raise; the worker makes a failure record of it.
    """
    context.data(cell)  # before any clock runs: the first stage does not pay for loading it
    victim = stages.victim(cell, keys, context)
    release = stages.release(cell, keys, context)
    reconstruction = stages.reconstruction(cell, keys, context)
    stages.evaluator(cell, keys, context)
    if not context.store.has("scores", keys.scores):
        context.lpips()
    scores = stages.scores(cell, keys, context)
    record = Record(
        schema=1,
        id=cell.id,
        key=keys.scores,
        cell=cell.to_json(),
        status=Status.DONE,
        utility=_pick(Utility, victim),
        attack=_pick(AttackCost, reconstruction),
        release=_pick(ReleaseHealth, release),
        means=_means(scores),
        evaluator_accuracy=scores.meta["evaluator_accuracy"],
        lpips_status=scores.meta["lpips_status"],
        seconds=Seconds(
            victim=victim.meta["seconds"],
            release=release.meta["seconds"],
            reconstruction=reconstruction.meta["seconds"],
            scores=scores.meta["seconds"],
        ),
        peak_memory_mb=reconstruction.meta["peak_memory_mb"],
        provenance=provenance(device_name(context.device)),
    )
    picture = sheet(release.tensors["images"], reconstruction.tensors["images"], scores.tensors["order"])
    return Outcome(record, tuple(image_rows(cell, scores.tensors)), picture)


def device_name(device: torch.device) -> str:
    """The device in words: ``cpu``, or the GPU's model."""
    if device.type != "cuda":
        return device.type
    import torch

    return torch.cuda.get_device_name(device)


def _pick(part: type[PartT], stored: Stored) -> PartT:
    return part(**{name: stored.meta[name] for name in part.model_fields})


def _means(scores: Stored) -> Means:
    return means_from({name: scores.tensors[name].nanmean().item() for name in stages.METRICS})
