"""Whether two measurements of one cell have the same images; see also :mod:`bench.verify.contradictions`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.records.rows import COLUMNS, MEASURES, PLACE, Row

SAME = {
    "psnr": 0.01, "ssim": 1e-3, "lpips": 1e-3, "identified": 0.0, "label_correct": 0.0, "recognised": 0.0,
    "recognised5": 0.0, "feature_distance": 1e-3, "diversity": 1e-3,
}  # fmt: skip
"""How far the scores of one and the same reconstruction may be apart on two machines."""
ALIKE = {
    "psnr": 0.5, "ssim": 0.02, "lpips": 0.02, "identified": 0.05, "label_correct": 0.05, "recognised": 0.05,
    "recognised5": 0.05, "feature_distance": 0.1, "diversity": 0.1,
}  # fmt: skip
"""How far the mean of a cell may move when it is run again: an optimisation that rounds otherwise ends
elsewhere on single images. On a processor with other instructions a training ends in another network, too,
and cells of few images may leave these bounds (`docs/records.md`, "Badges")."""


@dataclass(frozen=True)
class Agreement:
    """What a second measurement says of the first.

    Attributes:
        agrees: it says the same, as far as that can be asked.
        identical: to the last digit that is written down.
        difference: per metric the largest difference of one image; NaN where only one of the two has a value.
        shift: per metric the difference of the means, second minus first; NaN where one has no value.
        reason: why they cannot be compared, or which fields of the record are not confirmed; else empty.
    """

    agrees: bool
    identical: bool = False
    difference: dict[str, float] | None = None
    shift: dict[str, float] | None = None
    reason: str = ""


def same_scores(first: Sequence[Row], second: Sequence[Row]) -> Agreement:
    """Compares two scorings of the same reconstructions, image by image."""
    found = _compare(first, second)
    worst = found.difference or {}
    close = all(worst[name] <= SAME[name] for name in worst)
    return Agreement(close and not found.reason, found.identical, worst, found.shift, found.reason)


def same_results(first: Sequence[Row], second: Sequence[Row]) -> Agreement:
    """Compares two runs of a cell by what the tables show of them: the mean of every metric."""
    found = _compare(first, second)
    shift = found.shift or {}
    close = all(abs(shift[name]) <= ALIKE[name] for name in shift)
    return Agreement(close and not found.reason, found.identical, found.difference, shift, found.reason)


def _compare(first: Sequence[Row], second: Sequence[Row]) -> Agreement:
    a, b = _by_image(first), _by_image(second)
    if a.keys() != b.keys():
        return Agreement(False, reason=f"{len(a)} images against {len(b)}")
    difference, shift = {}, {}
    for name in MEASURES:
        place = COLUMNS.index(name)
        pairs = [(_value(a[image][place]), _value(b[image][place])) for image in sorted(a)]
        if all(math.isnan(x) and math.isnan(y) for x, y in pairs):
            continue
        difference[name] = _largest([_distance(x, y) for x, y in pairs])
        shift[name] = _mean([y for _, y in pairs]) - _mean([x for x, _ in pairs])
    return Agreement(False, set(first) == set(second), difference, shift)


def _by_image(rows: Sequence[Row]) -> dict[Row, Row]:
    start = COLUMNS.index(PLACE[0])
    return {row[start : start + len(PLACE)]: row for row in rows}


def _value(text: str) -> float:
    return float(text) if text else math.nan


def _distance(x: float, y: float) -> float:
    return 0.0 if math.isnan(x) and math.isnan(y) else abs(x - y)


def _largest(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
