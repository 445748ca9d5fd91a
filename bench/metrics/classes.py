"""Scores of class-wise reconstructions: no private image is theirs, so each is set beside the nearest one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bench.metrics.distances import squared_distances
from bench.metrics.perceptual import Lpips
from bench.metrics.pixel import finite_images, psnr
from bench.metrics.ssim import ssim

TOP = 5


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores per reconstruction: every tensor is ``[N, B]`` on the CPU, N classes of B images."""

    psnr: Tensor
    """dB, against the nearest private image of the class; NaN where the reconstruction is not finite."""
    ssim: Tensor
    """Against the same image."""
    lpips: Tensor
    """Against the same image; NaN where no LPIPS was given."""
    recognised: Tensor
    """1 or 0: the evaluator sees the attacked class."""
    recognised5: Tensor
    """1 or 0: that class is among the evaluator's first five."""
    feature_distance: Tensor
    """Euclidean distance of the evaluator's features to the nearest private image of the class."""
    diversity: Tensor
    """Mean Euclidean distance of the evaluator's features to the other finite images of the class; NaN where
    there is none."""
    nearest: Tensor
    """int64, index of the nearest private image."""
    identified: Tensor | None = None
    """1 or 0: to the second evaluator the mean of the attacked class is the nearest; None without one."""


@dataclass(frozen=True, eq=False)
class PrivateImages:
    """The victim's training images, as both measures see them: the same for all attacks on it.

    Attributes:
        images: ``[P, C, H, W]``.
        labels: int64 ``[P]``.
        embedded: ``[P, E]``, whose squared distances are LPIPS, or those of pixels without it.
        features: ``[P, F]``, the evaluator's.
        means: ``[K, G]``, the second evaluator's of each class; None without one.
    """

    images: Tensor
    labels: Tensor
    embedded: Tensor
    features: Tensor
    means: Tensor | None = None

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        *,
        lpips: Lpips | None,
        features: Callable[[Tensor], Tensor],
        second: Callable[[Tensor], Tensor] | None = None,
    ) -> Self:
        """Embeds the images; classes are numbered without gaps."""
        means = None
        if second is not None:
            seen = second(images)
            means = torch.stack([seen[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
        return cls(images, labels, _embed(images, lpips), features(images), means)


def score_classes(
    reconstructions: Tensor,
    targets: Tensor,
    private: PrivateImages,
    *,
    lpips: Lpips | None,
    evaluator: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    second: Callable[[Tensor], Tensor] | None = None,
) -> ClassScores:
    """Scores reconstructions of classes.

    The nearest private image is the nearest by LPIPS (by pixels without it), and the same one for PSNR, SSIM
    and LPIPS. No reconstruction is left out: there is no pre-selection by the evaluator or anyone else.

    Args:
        reconstructions: ``[N, B, C, H, W]``, clamped to [0, 1]; an image with a non-finite pixel scores NaN,
            or is not recognised.
        targets: int64 ``[N]``, the classes.
        private: embedded by the same ``lpips`` and ``features``.
        lpips: the metric.
        evaluator: images ``[M, C, H, W]`` -> scores ``[M, K]``, a network of another family.
        features: images -> its features ``[M, E]``.
        second: the second evaluator, images -> ``[M, G]``; ``private`` has its means.

    Raises:
        ValueError: a class without private images.
    """
    shape = reconstructions.shape[:2]
    guess, finite = finite_images(reconstructions.flatten(0, 1))
    wanted = targets.repeat_interleave(shape[1]).to(guess.device)
    nearest, distance = _nearest(_embed(guess, lpips), private.embedded, wanted, private.labels)
    seen = features(guess)
    _, feature_distance = _nearest(seen, private.features, wanted, private.labels)
    match = private.images[nearest.to(private.images.device)].to(guess.device)
    ranks = evaluator(guess).argsort(dim=1, descending=True)
    found = {
        "psnr": psnr(match, guess),
        "ssim": ssim(match, guess),
        "lpips": distance if lpips is not None else torch.full_like(distance, torch.nan),
        "feature_distance": feature_distance.sqrt(),
        "diversity": _diversity(seen.unflatten(0, shape), finite.to(seen.device).unflatten(0, shape)),
    }
    found = {
        name: value.double().masked_fill(~finite.to(value.device), torch.nan) for name, value in found.items()
    }
    for name, count in (("recognised", 1), ("recognised5", TOP)):
        found[name] = ((ranks[:, :count] == wanted[:, None]).any(1) & finite.to(ranks.device)).double()
    if second is not None and private.means is not None:
        named = torch.cdist(second(guess), private.means).argmin(1)
        found["identified"] = ((named == wanted) & finite.to(named.device)).double()
    return ClassScores(
        **{name: value.cpu().reshape(shape) for name, value in found.items()}, nearest=nearest.reshape(shape)
    )


def _embed(images: Tensor, lpips: Lpips | None) -> Tensor:
    return images.flatten(1) if lpips is None else lpips.embed(images)


def _nearest(left: Tensor, right: Tensor, wanted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row on the left, the nearest row on the right with its class: index and squared distance."""
    index = torch.zeros(len(left), dtype=torch.int64)
    distance = torch.zeros(len(left), dtype=torch.float64)
    for target in wanted.unique().tolist():
        mine = (wanted == target).nonzero()[:, 0].cpu()
        pool = (labels == target).nonzero()[:, 0].cpu()
        if not len(pool):
            raise ValueError(f"class {target} has no private image")
        gaps = squared_distances(left[mine.to(left.device)], right[pool.to(right.device)]).cpu()
        distance[mine], place = gaps.min(1)
        index[mine] = pool[place]
    return index, distance


def _diversity(features: Tensor, finite: Tensor) -> Tensor:
    """Mean distance ``[N * B]`` of each row of ``[N, B, E]`` to the other finite ones of its class."""
    gaps = torch.cdist(features.double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    others = finite[:, None] & ~torch.eye(features.shape[1], dtype=torch.bool, device=features.device)
    return ((gaps * others).sum(2) / others.sum(2)).flatten()
