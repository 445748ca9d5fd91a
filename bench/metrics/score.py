"""All image metrics of a set of releases, aligned by ONE assignment per release."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.metrics.distances import squared_distances
from bench.metrics.identity import MIN_POOL, identified
from bench.metrics.matching import assign
from bench.metrics.perceptual import Lpips
from bench.metrics.pixel import finite_images, psnr
from bench.metrics.ssim import ssim

_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores per private image: every tensor is `[N, B]` on the CPU and follows the ORIGINALS' order."""

    psnr: Tensor
    """dB, higher is closer; NaN where the reconstruction is not finite."""
    ssim: Tensor
    """[-1, 1], higher is closer; NaN where the reconstruction is not finite."""
    lpips: Tensor
    """Lower is closer; NaN where the reconstruction is not finite or no LPIPS was given."""
    identified: Tensor
    """bool: the reconstruction's nearest image in the pool is its original."""
    label_correct: Tensor
    """1 or 0 for the recovered label; NaN where the attack gives no labels."""
    recognised: Tensor
    """1 or 0: the evaluator sees the true class; 0 where not finite, NaN where there is no evaluator."""
    order: Tensor
    """int64: index of the reconstruction matched to each original."""


def score_releases(
    originals: Tensor,
    reconstructions: Tensor,
    labels: Tensor,
    recovered_labels: Tensor | None,
    *,
    pool: Tensor,
    lpips: Lpips | None,
    evaluator: Callable[[Tensor], Tensor] | None,
    pool_emb: Tensor | None = None,
    min_pool: int = MIN_POOL,
) -> ImageScores:
    """Score reconstructions against originals, image by image.

    Per release one Hungarian assignment on LPIPS (on MSE without it) decides which reconstruction stands for
    which original, for every metric and for the recovered labels alike.

    Args:
        originals: `[N, B, C, H, W]`, clamped to [0, 1].
        reconstructions: `[N, B, C, H, W]`, clamped to [0, 1]; an image with a non-finite pixel scores NaN (or
            not identified, not recognised) and disturbs no other.
        labels: `[N, B]` integers, the true classes.
        recovered_labels: `[N, B]`, aligned with `reconstructions`, -1 for unknown ones, which are wrong; None
            if the attack recovers none.
        pool: `[P, C, H, W]` distractors from the private set. The originals of all releases join it here;
            images equal to one another enter once, so no original ties with its own copy.
        lpips: metric for matching and identification; without it both use pixels.
        evaluator: images `[M, C, H, W]` -> logits `[M, K]`, a network the victim never saw.
        pool_emb: `[P, E]`, what `lpips.embed(pool)` gives, for a pool that several calls share.
        min_pool: least number of distractors that are nobody's original.

    Returns:
        The scores in the order of the originals.

    Raises:
        ValueError: for shapes that do not fit, non-finite originals or pool, or too small a pool.
    """
    _check_shapes(originals, reconstructions, labels, recovered_labels, pool)
    shape = originals.shape[:2]
    source, sound = finite_images(originals.flatten(0, 1))
    rows, index = _gallery(source, sound, pool)
    guess = reconstructions.flatten(0, 1).to(source.device)
    embed = _pixel_embedding if lpips is None else lpips.embed
    if pool_emb is None:
        pool_emb = embed(pool.to(source.device))
    gallery_emb, guess_emb = torch.cat([embed(source), pool_emb])[rows.to(pool_emb.device)], embed(guess)
    source_emb = gallery_emb[index.to(gallery_emb.device)]

    order = _orders(source_emb.reshape(*shape, -1), guess_emb.reshape(*shape, -1))
    flat = _flat_order(order)
    guess, guess_emb = guess[flat.to(guess.device)], guess_emb[flat.to(guess_emb.device)]
    perceptual = (source_emb - guess_emb).square().sum(1)
    if lpips is None:
        perceptual = torch.full_like(perceptual, torch.nan)

    scores = {
        "psnr": psnr(source, guess),
        "ssim": ssim(source, guess),
        "lpips": perceptual,
        "identified": identified(guess_emb, gallery_emb, index, min_pool=min_pool),
        "label_correct": _label_correct(labels, recovered_labels, flat),
        "recognised": _recognised(guess, labels, evaluator),
    }
    return ImageScores(**{name: x.cpu().reshape(shape) for name, x in scores.items()}, order=order)


def _check_shapes(
    originals: Tensor, reconstructions: Tensor, labels: Tensor, recovered: Tensor | None, pool: Tensor
) -> None:
    if originals.ndim != 5 or originals.numel() == 0:
        raise ValueError(f"originals must be a non-empty [N, B, C, H, W], got {tuple(originals.shape)}")
    expected = {
        "reconstructions": (reconstructions.shape, originals.shape),
        "labels": (labels.shape, originals.shape[:2]),
        "pool images": (pool.shape[1:], originals.shape[2:]),
    }
    if recovered is not None:
        expected["recovered_labels"] = (recovered.shape, originals.shape[:2])
    for name, (got, wanted) in expected.items():
        if got != wanted:
            raise ValueError(f"{name} must be {tuple(wanted)} like the originals, got {tuple(got)}")


def _gallery(source: Tensor, sound: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Which of originals and distractors are distinct, `[G]`, and each original's position among those."""
    distractors, sound_pool = finite_images(pool.to(source.device))
    if not bool(sound.all()) or not bool(sound_pool.all()):
        raise ValueError("originals and pool must be finite: a non-finite private image is a data error")
    together = torch.cat([source, distractors.to(source.dtype)])
    distinct, position = torch.unique(together, dim=0, return_inverse=True)
    rows = torch.arange(len(together), device=together.device)
    first = rows.new_full((len(distinct),), len(together)).scatter_reduce(0, position, rows, "amin")
    return first, position[: source.shape[0]]


def _pixel_embedding(images: Tensor) -> Tensor:
    """Embedding whose squared distance is the MSE; NaN rows for non-finite images, as `Lpips.embed`."""
    clean, finite = finite_images(images)
    rows = clean.flatten(1)
    rows = rows / math.sqrt(rows.shape[1])
    return rows.masked_fill(~finite[:, None], torch.nan)


def _orders(originals: Tensor, reconstructions: Tensor) -> Tensor:
    """Assignment `[N, B]` from embeddings `[N, B, E]`."""
    pairs = zip(originals, reconstructions, strict=True)
    return torch.tensor([assign(squared_distances(x, y)) for x, y in pairs], dtype=torch.int64)


def _flat_order(order: Tensor) -> Tensor:
    """Assignments `[N, B]` inside releases as indices `[N*B]` into all reconstructions."""
    releases, batch = order.shape
    return (order + torch.arange(releases)[:, None] * batch).flatten()


def _label_correct(labels: Tensor, recovered: Tensor | None, flat: Tensor) -> Tensor:
    if recovered is None:
        return torch.full((labels.numel(),), torch.nan)
    return (recovered.cpu().flatten()[flat] == labels.cpu().flatten()).float()


def _recognised(images: Tensor, labels: Tensor, evaluator: Callable[[Tensor], Tensor] | None) -> Tensor:
    if evaluator is None:
        return torch.full((labels.numel(),), torch.nan)
    clean, finite = finite_images(images)
    with torch.no_grad():
        predicted = torch.cat([evaluator(part).argmax(1).cpu() for part in torch.split(clean, _CHUNK)])
    return ((predicted == labels.cpu().flatten()) & finite.cpu()).float()
