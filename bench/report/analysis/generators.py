"""The generative priors that attacks searched: how good they are, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from bench.models.weights import GENERATORS
from bench.report.analysis.utility import spread
from bench.report.flatten import QUALITY
from bench.report.tallies import Spread
from bench.report.text import bounds, markdown, number, percent

FAR = 50.0
"""Times the Frechet distance of real images from which samples are far from real; it is a squared distance,
and a blur of test images by 3x3 pixels makes it some 350 times larger (mnist5k)."""
UNSURE = 0.5
"""Share of the confidence on real images below which the evaluator does not know what samples show."""
HEAD = ["data set", "generator", "seeds", "Frechet ↓", "of real images", "confident ↑ %", "of real images, %",
        "classes ↑", "diversity ↑", "flags"]  # fmt: skip
NOTE = (
    "Trained on the auxiliary split alone; means over the seeds, brackets are the range. Frechet distance of "
    "the evaluator's features, samples against auxiliary images, beside that of test images, which a perfect "
    "generator would reach; share that the evaluator is sure of (at least 90 %), beside that of test images; "
    "classes that the samples are spread over; mean distance of two samples, relative to that of two real "
    "images. A leak found with a poor prior is a lower bound: a better generator may leak more."
)

_ELSEWHERE = (
    "Not so {kind}: its decoder came from elsewhere ({source}) and has seen no image of the data set; only "
    "its critic was trained on the auxiliary split. Nobody whom it draws is in the data: the classes that "
    "the evaluator sees in its samples are resemblances."
)


@dataclass(frozen=True, kw_only=True)
class PriorRow:
    """One kind of generator on one data set.

    Attributes:
        dataset: label.
        kind: which generator.
        seeds: whose it is.
        values: mean and range over the generators, for each of :data:`bench.report.flatten.QUALITY`.
        weak: at least one of them is poor, see :func:`weak`.
    """

    dataset: str
    kind: str
    seeds: tuple[int, ...]
    values: Mapping[str, Spread]
    weak: bool

    @property
    def flags(self) -> tuple[str, ...]:
        """As in the other tables."""
        return ("weak-generator",) if self.weak else ()


def weak(cells: pd.DataFrame) -> pd.Series[bool]:
    """Cells whose generator draws images far from real ones, by distance or by what they show."""
    far = cells["generator_frechet"] > FAR * cells["generator_frechet_real"]
    unsure = cells["generator_confident"] < UNSURE * cells["generator_confident_real"]
    return far | unsure


def priors(cells: pd.DataFrame) -> tuple[PriorRow, ...]:
    """One row for each data set and kind; a generator that many cells searched counts once."""
    known = cells[cells["generator_kind"] != ""]
    names = [f"generator_{name}" for name in QUALITY]
    each = known.drop_duplicates(["dataset", "generator_kind", "seed", "generator_key", *names])
    return tuple(
        PriorRow(
            dataset=str(dataset),
            kind=str(kind),
            seeds=tuple(sorted({int(seed) for seed in mine["seed"]})),
            values={name: spread(mine[f"generator_{name}"]) for name in QUALITY},
            weak=bool(weak(mine).any()),
        )
        for (dataset, kind), mine in each.groupby(["dataset", "generator_kind"])
    )


def note(rows: Iterable[PriorRow]) -> str:
    """What is said beside the table; of a decoder that was trained elsewhere, where, and on what."""
    foreign = sorted({row.kind for row in rows} & GENERATORS.keys())
    return " ".join(
        [NOTE, *(_ELSEWHERE.format(kind=kind, source=GENERATORS[kind].source) for kind in foreign)]
    )


def digits(name: str, value: Spread) -> tuple[str, str]:
    """Mean and range of one value, apart."""
    if not value.seeds:
        return number(value.mean, 1), ""
    if name.startswith("confident"):
        return percent(value.mean, 0), bounds(100 * value.low, 100 * value.high, 0)
    places = 1 if name == "classes" else 2
    return number(value.mean, places), bounds(value.low, value.high, places)


def cells_of(row: PriorRow) -> list[str]:
    """A line of the Markdown table."""
    values = [" ".join(digits(name, row.values[name])).strip() for name in QUALITY]
    chips = " ".join(f"`{flag}`" for flag in row.flags)
    return [markdown(row.dataset), markdown(row.kind), ", ".join(map(str, row.seeds)), *values, chips]
