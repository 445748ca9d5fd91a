"""The scores of attacks on single private batches: every image against its own original."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.cache.store import Stored
from bench.cells.context import Context
from bench.matrix.cells import Cell
from bench.metrics.pool import others, pool_of
from bench.records.record import finite

if TYPE_CHECKING:
    from torch import Tensor

    from bench.metrics.perceptual import Lpips
    from bench.records.record import Record

EARLIER = 200
"""Distractors beside the originals, before records named the size of their pool."""
METRICS = ("psnr", "ssim", "lpips", "identified", "label_correct", "recognised")


def image_scores(cell: Cell, context: Context, *, released: Stored, rebuilt: Stored, judge: Stored) -> Stored:
    """Measures every image.

    Args:
        cell: names the data and the seed of the pool.
        context: where to compute.
        released: the stored release, with the originals.
        rebuilt: the stored reconstruction.
        judge: the stored evaluator.

    Returns:
        The metrics ``[N, B]`` in the originals' order, and ``order`` itself.
    """
    from bench.metrics.score import score_releases
    from bench.victims.evaluator import load_evaluator

    data = context.data(cell)
    lpips, lpips_status = context.lpips()
    classify = load_evaluator(
        judge.tensors,
        num_classes=data.dataset.num_classes,
        image_shape=data.dataset.image_shape,
        device=context.device,
    )
    originals, images = released.tensors, rebuilt.tensors
    pool, embedded = _pool(cell, context, originals["indices"], lpips)
    result = score_releases(
        originals["images"],
        images["images"],
        originals["labels"],
        images.get("labels"),
        pool=pool,
        pool_emb=embedded,
        lpips=lpips,
        evaluator=classify,
    )
    tensors = {name: getattr(result, name).double() for name in METRICS}
    facts = {
        "pool": len(pool) + originals["indices"].numel(),
        "lpips_status": lpips_status,
        "evaluator_accuracy": judge.meta["accuracy"],
    }
    if "perturbed" in originals:
        facts |= _perturbed(originals, images["images"], result.order, lpips, classify)
    return Stored({**tensors, "order": result.order}, facts)


def _perturbed(
    released: dict[str, Tensor],
    rebuilt: Tensor,
    order: Tensor,
    lpips: Lpips | None,
    classify: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Means against the images that the clients computed on, and of those against the originals."""
    from bench.metrics.pairs import pair_means

    shown = released["perturbed"].flatten(0, 1)
    rows = order.to(rebuilt.device)[:, :, None, None, None].expand_as(rebuilt)
    aligned = rebuilt.gather(1, rows).flatten(0, 1)
    bound = pair_means(shown, released["images"].flatten(0, 1), lpips=lpips)
    right = classify(shown).argmax(1).cpu() == released["labels"].flatten().cpu()
    bound["recognised"] = right.double().mean().item()
    found = pair_means(aligned, shown, lpips=lpips)
    return {
        "perturbed": {name: finite(value) for name, value in found.items()},
        "bound": {name: finite(value) for name, value in bound.items()},
    }


def pool_size(record: Record) -> int:
    """Among how many private images a recorded cell was scored."""
    cell = record.asked
    return record.pool or EARLIER + cell.releases * cell.batch_size


def _pool(
    cell: Cell, context: Context, released: Tensor, lpips: Lpips | None
) -> tuple[Tensor, Tensor | None]:
    """Distractors ``[P, C, H, W]`` and their embeddings: the same for all attacks and defenses of one seed.

    All private images, or as many as the pool holds, less those released, which are in the pool anyway. The
    network sees them once for all cells of a data set and seed.
    """
    images = context.data(cell).splits.private_train.images
    rows = pool_of(images, seed=cell.seed, size=context.pool)
    drawn = images[rows.to(images.device)]
    name = f"pool of {len(rows)} of {cell.dataset.label}, seed {cell.seed}"
    embedded = None if lpips is None else context.remembered(name, lambda: lpips.embed(drawn))
    apart = others(rows, released).to(images.device)
    return drawn[apart], None if embedded is None else embedded[apart]
