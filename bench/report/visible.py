"""Which certain differences in a metric are too small to matter.

An interval above zero says that a difference is there, not that it matters: LPIPS resolves 0.00001 where
every image is rebuilt. The scale is what there is to hide in a setting: from the undefended victim's worst
case to the best of as many blind guesses as it meets attacks.
"""

from __future__ import annotations

from bench.report.statistics import Interval

VISIBLE = 0.1
"""How much of the way from the undefended victim's worst case to the floor a difference must reach."""
NEGLIGIBLE = "negligible"
"""What a smaller one is called."""


def smallest_visible(undefended: float, floor: float) -> float:
    """The smallest difference that is not negligible, in the unit of the metric; NaN where an end is missing.

    Args:
        undefended: mean of the undefended victim's worst case.
        floor: mean of the best of as many attacks on it that never see the release.
    """
    return VISIBLE * abs(floor - undefended)


def negligible(difference: Interval, visible: float) -> bool:
    """Whether a paired difference is certain, in either direction, and too small to matter.

    Args:
        difference: with its interval.
        visible: see :func:`smallest_visible`; NaN where there is no scale, and then nothing is negligible.
    """
    certain = difference.low > 0 or difference.high < 0  # False for NaN
    return certain and abs(difference.mean) < visible
