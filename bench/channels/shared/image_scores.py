"""The scores of attacks on single private batches: every image against its own original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from bench.channels.shared.contract import Scoring
from bench.metrics.pairs import pair_means
from bench.metrics.perceptual import Lpips
from bench.metrics.pool import others, pool_of
from bench.metrics.score import score_releases
from bench.rounding import finite
from bench.victims.evaluator import load_evaluator

METRICS = ("psnr", "ssim", "lpips", "identified", "label_correct", "recognised")


def image_scores(scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Measures every image.

    Returns:
        The metrics ``[N, B]`` in the originals' order, and ``order`` itself; the size of the pool.
    """
    classify = load_evaluator(scoring.evaluator, **scoring.shape)
    originals, images = scoring.released, scoring.rebuilt
    pool, embedded = _pool(scoring)
    result = score_releases(
        originals["images"],
        images["images"],
        originals["labels"],
        images.get("labels"),
        pool=pool,
        pool_emb=embedded,
        lpips=scoring.lpips,
        evaluator=classify,
    )
    tensors = {name: getattr(result, name).double() for name in METRICS}
    facts: dict[str, Any] = {"pool": len(pool) + originals["indices"].numel()}
    if "perturbed" in originals:
        facts |= _perturbed(originals, images["images"], result.order, scoring.lpips, classify)
    return {**tensors, "order": result.order}, facts


def _perturbed(
    released: Mapping[str, Tensor],
    rebuilt: Tensor,
    order: Tensor,
    lpips: Lpips | None,
    classify: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Means against the images that the clients computed on, and of those against the originals."""
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


def _pool(scoring: Scoring) -> tuple[Tensor, Tensor | None]:
    """Distractors ``[P, C, H, W]`` and their embeddings: the same for all attacks and defenses of one seed.

    All private images, or as many as the pool holds, less those released, which are in the pool anyway. The
    network sees them once for all cells of a data set and seed.
    """
    images, lpips = scoring.data.splits.private_train.images, scoring.lpips
    rows = pool_of(images, seed=scoring.seed, size=scoring.pool)
    drawn = images[rows.to(images.device)]
    name = f"pool of {len(rows)} of {scoring.label}, seed {scoring.seed}"
    embedded = None if lpips is None else scoring.remembered(name, lambda: lpips.embed(drawn))
    apart = others(rows, scoring.released["indices"]).to(images.device)
    return drawn[apart], None if embedded is None else embedded[apart]
