"""What the tables measure on each channel, and what they call it.

Where no private image belongs to a reconstruction, as on the channel ``model``, each is set beside the
nearest private image of the attacked class, and every table says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value", float, "np.ndarray")
Rank = Literal["lpips", "ssim", "recognised"]
"""Metrics that may decide which reconstruction is best; 1 is their largest value."""
LOWER_LEAKS = frozenset({"lpips", "feature_distance"})
"""Distances: of these a smaller value leaks more, of all other metrics a larger one."""
SHARES = frozenset({"identified", "label_correct", "recognised", "recognised5", "success"})
"""Metrics that are 0 or 1 for an image, so that their means are shares."""
TIES: Mapping[Rank, tuple[str, ...]] = {"lpips": (), "ssim": (), "recognised": ("feature_distance",)}
"""What decides where the ranking metric cannot tell reconstructions apart: the smaller value is chosen."""
CLASS_METRICS = ["recognised5", "feature_distance", "diversity"]
"""Measured on the channel ``model`` alone."""
METRICS = ["psnr", "ssim", "lpips", "identified", "label_correct", "recognised", *CLASS_METRICS]
ORIGINAL = "original"
NEAREST_PRIVATE = "nearest private image of the attacked class"
"""What ``psnr``, ``ssim`` and ``lpips`` are against on the channel ``model``."""
MEANING = (
    "An image is recovered when the nearest image to its reconstruction, of all private images in the pool, "
    "is its original; a row counts what its strongest single attack recovers."
)
NEAREST = ("psnr", "ssim", "lpips")
"""Metrics that compare with one private image."""
HEADS: Mapping[str, str] = {
    "psnr": "PSNR ↑ dB",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "identified": "recovered ↑ %",
    "label_correct": "labels ↑ %",
    "recognised": "recognised ↑ %",
    "success": "success ↑ %",
}
_NAMES = {"recognised": "evaluator accuracy @1", "recognised5": "evaluator accuracy @5"}
"""Metrics whose name is not their code in capitals."""


def direction(metric: str) -> int:
    """1 where a larger value leaks more, -1 where a smaller one does."""
    return -1 if metric in LOWER_LEAKS else 1


def leakage(rank: Rank, value: Value) -> Value:
    """A value of a ranking metric as what leaks: 1 - LPIPS, SSIM, or evaluator accuracy."""
    return 1 - value if rank in LOWER_LEAKS else value


def protection(rank: Rank, value: Value) -> Value:
    """A value of a ranking metric as what is protected: LPIPS, 1 - SSIM, or 1 - evaluator accuracy."""
    return value if rank in LOWER_LEAKS else 1 - value


def whole_range(rank: Rank) -> tuple[float, ...]:
    """The ends that a chart of this metric always shows: a share of 100 % must not look like a middle."""
    return (0.0, 1.0) if rank == "recognised" else ()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One channel's metrics and words.

    Attributes:
        metrics: of an attack, in the order of the tables.
        optional: of these, metrics that not every data set has, with a sentence on each.
        worst: of the worst case of a defense, the ranking metric first.
        ranks: the ranking metric; where no image has it, the next one.
        goal: the share of images that an attack rebuilt as well as it is asked to.
        normalised: metrics by which leakage is normalised; the second one is a check of the first.
        heads: column heads of these metrics, with the direction in which more leaks.
        nearest: what stands before the name of a metric that is taken against the nearest private image.
        counted: what the two numbers of a count are.
        per: what a budget is for.
        lpips_side: pixels to which images were enlarged for LPIPS; 0 if they were not.
        floor: the word for an attack that learns nothing from the release.
        blind: what such an attack observes.
        above: the images that a picture sets above the reconstructions.
        unit: what one release is.
        reference: what images are compared with.
        recovery: the metric that says whether an image was recovered.
        net: what is recovered is a share net of what controls reach by chance, and no count of images.
        measured: what the numbers of a cross of attacks and defenses are.
        meaning: what is counted as recovered, in a sentence.
        caption: what a reader of one table alone must know of it.
        scale: what normalised leakage is, and of what the other metrics are.
        arrows: what arrows say beside those of all channels.
        notes: how scores are measured, where it differs from what is said of all channels.
        flags: what a flag means here, where that differs; empty for flags that are never raised.
    """

    metrics: tuple[str, ...]
    worst: tuple[str, ...]
    ranks: tuple[Rank, ...]
    goal: str
    normalised: tuple[Rank, ...]
    heads: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    nearest: str = ""
    counted: str = "releases/images"
    per: str = "release"
    lpips_side: int = 0
    floor: str = "floor"
    blind: str = "nothing: it never sees the release"
    above: str = "private images"
    unit: str = "release"
    reference: str = ORIGINAL
    recovery: str = "identified"
    net: bool = False
    measured: str = "Images recovered"
    meaning: str = MEANING
    caption: str = MEANING
    scale: str = (
        "LPIPS, SSIM and PSNR are of the best reconstruction of each image by any attack. Normalised "
        "leakage: 0 is the best of as many blind guesses as the row has attacks, 1 the undefended victim."
    )
    arrows: str = ""
    notes: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_class(self) -> bool:
        """Classes are rebuilt, not images."""
        return bool(self.nearest)

    def name(self, metric: str) -> str:
        """A metric without its direction: ``LPIPS``, ``nearest-private LPIPS``."""
        plain = _NAMES.get(metric, metric.upper())
        size = self._size if metric == "lpips" else ""
        return (self.nearest if metric in NEAREST else "") + plain + size

    @property
    def _size(self) -> str:
        return f" at {self.lpips_side} px" if self.lpips_side else ""

    def enlarged(self, lpips_side: int) -> Terms:
        """The same where images were enlarged for LPIPS: ``LPIPS at 32 px``."""
        words = replace(self, lpips_side=lpips_side)
        named = self.heads["lpips"].replace("LPIPS", f"LPIPS{words._size}")
        return replace(words, heads={**self.heads, "lpips": named})

    def without(self, unmeasured: Collection[str]) -> Terms:
        """The same for a data set that has not all of the optional metrics, with notes on the rest."""
        dropped = set(self.optional) & set(unmeasured)
        notes = [text for name, text in self.optional.items() if name not in dropped]
        metrics = tuple(name for name in self.metrics if name not in dropped)
        return replace(self, metrics=metrics, notes=(*self.notes, *notes))

    def printed(self, metric: str) -> str:
        """The same for a number as the tables print it: rates are in per cent."""
        return self.name(metric) + (" in %" if self.heads[metric].endswith("%") else "")

    def leaked(self, rank: Rank, minus: str = "-") -> str:
        """The name of :func:`leakage`."""
        return (f"1 {minus} " if rank in LOWER_LEAKS else "") + self.name(rank)

    def guarded(self, rank: Rank, minus: str = "-") -> str:
        """The name of :func:`protection`."""
        return ("" if rank in LOWER_LEAKS else f"1 {minus} ") + self.name(rank)


OF_IMAGES = Terms(
    metrics=("lpips", "ssim", "psnr", "identified", "label_correct", "recognised", "success"),
    worst=("lpips", "ssim", "psnr"),
    ranks=("lpips", "ssim"),
    goal="success",
    normalised=("lpips", "ssim"),
    heads=HEADS,
)
