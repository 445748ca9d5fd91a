"""Which paired differences are large enough to be seen, and not only certain.

An interval above zero says that a difference is there, not that it matters: LPIPS resolves 0.00001 where
every image is rebuilt. The scale is what there is to hide in a setting: from the undefended victim's worst
case to the floor, an attack that never sees the release.
"""

from __future__ import annotations

import math
from enum import StrEnum

from bench.report.statistics import Interval, certainly_positive

VISIBLE = 0.1
"""How much of the way from the undefended victim's worst case to the floor a difference must reach."""


class Grade(StrEnum):
    """How sure and how large the advantage of a defense is, in the words of the page."""

    CERTAIN = "certain"
    WORSE = "certainly leaks more"
    NEGLIGIBLE = "negligible"
    NO_SCALE = "certain, but without a floor nothing says how much it is"
    UNSURE = "not certain"

    @property
    def style(self) -> str:
        """Class of the page's style sheet; only ``sure`` is green."""
        return _STYLES[self]


_STYLES = {
    Grade.CERTAIN: "sure",
    Grade.WORSE: "worse",
    Grade.NEGLIGIBLE: "slight",
    Grade.NO_SCALE: "slight",
    Grade.UNSURE: "unsure",
}


def smallest_visible(undefended: float, floor: float) -> float:
    """The smallest difference that is not negligible, in the unit of the metric; NaN where an end is missing.

    Args:
        undefended: mean of the undefended victim's worst case.
        floor: mean of the strongest attack on it that never sees the release.
    """
    return VISIBLE * abs(floor - undefended)


def grade(advantage: Interval, visible: float) -> Grade:
    """Grades a paired difference; positive is better for the defender.

    Args:
        advantage: the difference.
        visible: see :func:`smallest_visible`; NaN where there is no scale, and then nothing is ``CERTAIN``.
    """
    worse = advantage.high < 0
    if not (worse or certainly_positive(advantage)):
        return Grade.UNSURE
    if abs(advantage.mean) < visible:  # False for NaN
        return Grade.NEGLIGIBLE
    if worse:
        return Grade.WORSE
    return Grade.NO_SCALE if math.isnan(visible) else Grade.CERTAIN
