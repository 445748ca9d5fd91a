"""How near reconstructions come to their originals, and what a blind guess reaches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor

from bench.api.attack import Reconstruction
from bench.api.dataset import ImageSet
from bench.api.errors import UsageError
from bench.metrics.lpips_weights import MissingWeights
from bench.metrics.perceptual import Lpips
from bench.metrics.pool import by_digest
from bench.metrics.score import ImageScores, score_releases
from bench.own.attempt import Attempt
from bench.own.reading import read_images

if TYPE_CHECKING:
    import pandas as pd

FEW = 100
"""Images in the list, for each image of a batch, below which finding the right one says little."""


def lpips_of(images: Tensor) -> tuple[Lpips | None, str]:
    """The metric for images ``[M, C, H, W]``, or None and why there is none."""
    if images.shape[1] not in (1, 3):
        return None, f"LPIPS takes 1 or 3 channels, not {images.shape[1]}: images are compared by pixels"
    try:
        return Lpips("alex", images.device), ""
    except MissingWeights as error:
        return None, f"{error}: images are compared by pixels"


@dataclass(frozen=True)
class Scored:
    """One attempt, measured.

    Attributes:
        attempt: with its scores.
        frame: a row for each image.
        images: ``[N, B, C, H, W]``, in the originals' order.
        originals: ``[N, B, C, H, W]``, what each is set beside.
    """

    attempt: Attempt
    frame: pd.DataFrame
    images: Tensor
    originals: Tensor


class Scorer(Protocol):
    """Who knows the truth, and measures attempts by it."""

    @property
    def listed(self) -> int:
        """Images in the list among which a reconstruction must find its original; 0 for no list."""

    @property
    def limits(self) -> list[str]:
        """What limits the answer."""

    def score(self, attempt: Attempt, found: Reconstruction) -> Scored:
        """Measures one."""

    @property
    def chance(self) -> float | None:
        """At most so probable is it that a blind guess counts as found; None without a list."""

    def guesses(self, known: Tensor | None) -> list[Tensor]:
        """What can be guessed ``[N, B, C, H, W]`` without a release, of images that the attacker has."""


@dataclass(frozen=True)
class Truth:
    """The originals and the list among which a reconstruction must find its own.

    Attributes:
        images: ``[N, B, C, H, W]``.
        labels: int64 ``[N, B]``.
        distractors: ``[P, C, H, W]``, images of other people, or of none.
    """

    images: Tensor
    labels: Tensor
    distractors: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, batch_size: int, distractors: Tensor | None) -> Self:
        """From images ``[N * B, C, H, W]`` and labels ``[N * B]``.

        Raises:
            UsageError: no whole batches, or distractors of another shape.
        """
        count = len(images)
        if count % batch_size:
            raise UsageError(
                f"{count} images are no whole batches of batch_size={batch_size}: give a multiple of it"
            )
        others = images[:0] if distractors is None else read_images(distractors, "distractors").to(images)
        if others.shape[1:] != images.shape[1:]:
            raise UsageError(
                f"distractors are {tuple(others.shape[1:])}, images {tuple(images.shape[1:])}: resize them"
            )
        return cls(images.unflatten(0, (-1, batch_size)), labels.view(-1, batch_size), others)

    @cached_property
    def pool(self) -> Tensor:
        """The list ``[P, C, H, W]`` that a bound is given; its order tells nothing."""
        return by_digest(torch.cat([self.images.flatten(0, 1), self.distractors]))

    @property
    def private(self) -> tuple[ImageSet, ...]:
        """The originals, for what must not be trained on them."""
        return (ImageSet(self.images.flatten(0, 1), self.labels.flatten()),)

    @cached_property
    def lpips(self) -> tuple[Lpips | None, str]:
        """The metric, or None and why there is none."""
        return lpips_of(self.images.flatten(0, 1))

    @cached_property
    def listed(self) -> int:
        """Different images in the list."""
        return len(torch.unique(torch.cat([self.images.flatten(0, 1), self.distractors]), dim=0))

    def score(self, attempt: Attempt, found: Reconstruction) -> Scored:
        """The attempt with its scores."""
        scores = score_releases(
            self.images,
            found.images.clamp(0, 1),
            self.labels,
            found.labels,
            pool=self.distractors,
            pool_emb=self._embedded,
            lpips=self.lpips[0],
            evaluator=None,
            min_pool=0,
        )
        sure = (
            int(scores.identified.sum()) if self.listed > 1 else None
        )  # alone any image would be the nearest
        rows = scores.order.to(found.images.device)[:, :, None, None, None].expand_as(found.images)
        scored = replace(
            attempt,
            found=sure,
            psnr=scores.psnr.nanmedian().item(),
            ssim=scores.ssim.nanmedian().item(),
            lpips=scores.lpips.nanmedian().item(),
            labels=scores.label_correct.nanmean().item(),
        )
        frame = _frame(scored, scores)
        if sure is None:
            frame["found"] = None
        return Scored(scored, frame, found.images.gather(1, rows), self.images)

    @property
    def chance(self) -> float | None:
        """One in as many images as the list has, for each of the B tries that a batch has."""
        return min(1.0, self.images.shape[1] / self.listed)

    @property
    def limits(self) -> list[str]:
        """What limits the answer."""
        limits = [self.lpips[1]] if self.lpips[1] else []
        if self.listed == 1:
            limits.append("one image and no others: whether it is found takes distractors=")
        elif self.listed <= FEW * (batch := self.images.shape[1]):
            limits.append(
                f"the list has {self.listed} images: a blind guess counts as found in up to "
                f"{self.chance:.0%} of cases; give {FEW * batch} or more distractors="
            )
        return limits

    def guesses(self, known: Tensor | None) -> list[Tensor]:
        """Images ``[N, B, C, H, W]`` of guesses that see no release.

        Of images that the attacker has the mean, and as many drawn ones; without any, black, grey and white.
        """
        shape = self.images.shape
        if known is None:
            return [torch.full_like(self.images, value) for value in (0.0, 0.5, 1.0)]
        chance = torch.Generator().manual_seed(0)
        rows = torch.randint(len(known), (shape[0], shape[1]), generator=chance)
        return [known.mean(0).expand_as(self.images).clone(), known[rows.to(known.device)]]

    @cached_property
    def _embedded(self) -> Tensor | None:
        """The distractors as the metric sees them, once for all attempts."""
        lpips = self.lpips[0]
        return None if lpips is None or not len(self.distractors) else lpips.embed(self.distractors)


def _frame(attempt: Attempt, scores: ImageScores) -> pd.DataFrame:
    import pandas as pd

    releases, batch = scores.psnr.shape
    columns: dict[str, Any] = {
        "attack": attempt.attack,
        "adversary": attempt.adversary,
        "release": [n for n in range(releases) for _ in range(batch)],
        "image": list(range(batch)) * releases,
        "found": scores.identified.flatten().tolist(),
        "psnr": scores.psnr.flatten().tolist(),
        "ssim": scores.ssim.flatten().tolist(),
        "lpips": scores.lpips.flatten().tolist(),
        "label_found": scores.label_correct.flatten().tolist(),
    }
    return pd.DataFrame(columns)
