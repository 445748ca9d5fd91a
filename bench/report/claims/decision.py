"""Whether measured numbers are what a claim asks for, and how many releases it would take to know.

The whole interval decides. A claim of at least 95 % cannot be reproduced with fewer than 72 releases, however
well they agree, since the exact lower limit of n of n is 0.025 ** (1 / n); a single interval that lies wholly
outside contradicts it with any number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from bench.report.claims.measured import Found
from bench.report.statistics import Interval, binomial
from bench.report.statistics.bootstrap import CONFIDENCE

Verdict = Literal["reproduced", "not reproduced", "undecided", "not comparable"]
Bounds = tuple[float, float]
_MOST = 100_000
"""Releases, or seeds, beyond which nobody will measure."""


def within(low: float, high: float, bounds: Bounds) -> bool:
    """Whether an interval lies wholly within the bounds; without an interval it does not."""
    return bounds[0] <= low and high <= bounds[1]


def outside(low: float, high: float, bounds: Bounds) -> bool:
    """Whether it lies wholly outside, which any size may show."""
    return high < bounds[0] or low > bounds[1]


def decide(found: Sequence[Found], bounds: Bounds, *, protection: bool) -> Verdict:
    """The word for a claim.

    Args:
        found: all numbers that measure it, at least one.
        bounds: that each of them has to keep, see :attr:`bench.report.claims.file.Check.bounds`.
        protection: a defense is said to protect: where the attack keeps the bounds without the defense, too,
            nothing is learned of it.
    """
    ends = [(item.value.low, item.value.high) for item in found]
    if any(outside(*end, bounds) for end in ends):
        return "not reproduced"
    if not all(within(*end, bounds) for end in ends) or (protection and idle(found, bounds)):
        return "undecided"
    return "reproduced"


def idle(found: Sequence[Found], bounds: Bounds) -> bool:
    """Whether some attack does not certainly break the bounds where there is no defense."""
    return any(not outside(item.undefended.low, item.undefended.high, bounds) for item in found)


def reason(found: Sequence[Found], bounds: Bounds, verdict: Verdict, *, protection: bool) -> str:
    """What the word rests on, in a few words; empty for what is reproduced.

    Args:
        found: see :func:`decide`.
        bounds: see :func:`decide`.
        verdict: what was decided.
        protection: see :func:`decide`.
    """
    if verdict == "not reproduced":
        above = sum(item.value.low > bounds[1] for item in found)
        below = sum(item.value.high < bounds[0] for item in found)
        sides = ((above, "above"), (below, "below"))
        return " and ".join(_side(count, side, len(found)) for count, side in sides if count)
    if verdict != "undecided":
        return ""
    if any(math.isnan(item.value.mean) for item in found):
        return "a number is missing"
    if any(math.isnan(item.value.low) for item in found):
        return "fewer than two releases have no interval"
    unsure = [item for item in found if not within(item.value.low, item.value.high, bounds)]
    agrees = all(within(item.value.mean, item.value.mean, bounds) for item in found)
    if protection and agrees and idle(found, bounds):
        return "without the defense the attack does not certainly break the bounds either"
    return _needed(unsure, bounds)


def _side(count: int, side: str, of: int) -> str:
    return f"measured {side} what is claimed" + (f" by {count} of {of} numbers" if of > 1 else "")


def _needed(found: Sequence[Found], bounds: Bounds) -> str:
    """How large a sample would decide, were the numbers to stay: one that is outside is enough to refute."""
    beyond = [item for item in found if not within(item.value.mean, item.value.mean, bounds)]
    sizes = [size(item.value, item.seeds, bounds) for item in beyond or found]
    known = [pair for pair in sizes if pair is not None]
    if not known or (not beyond and len(known) < len(sizes)):
        return f"more than {_MOST:,} releases would be needed, were the number to stay"
    releases, seeds = min(known) if beyond else (max(pair[i] for pair in known) for i in (0, 1))
    of = f" of {seeds} seeds" if seeds else ""
    effect = "refute" if beyond else "reproduce"
    return f"{releases:,} releases{of} would {effect} it, were the number to stay"


def size(value: Interval, seeds: Sequence[float], bounds: Bounds) -> tuple[int, int] | None:
    """Releases and seeds with which a number would decide a claim, if it and its spread stayed as they are.

    Args:
        value: what was measured.
        seeds: a share in each seed; empty for a mean, whose interval shrinks with the root of the releases.
        bounds: of the claim.

    Returns:
        Releases of all seeds together, and seeds, 0 if more releases are enough; None where no size that
        anybody will measure decides.
    """
    if math.isnan(value.mean) or math.isnan(value.low):
        return None
    if not seeds:
        releases = _releases_of_mean(value, bounds)
        return None if releases is None else (releases, 0)
    releases = releases_needed(value.mean, bounds)
    networks = _seeds_needed(seeds, value.mean, bounds) if len(seeds) > 1 else 1
    if releases is None or networks is None:
        return None
    if networks <= len(seeds):
        return releases, 0
    return max(releases, networks * math.ceil(value.n_clusters / len(seeds))), networks


def releases_needed(share: float, bounds: Bounds) -> int | None:
    """The fewest releases with which the exact interval of a share lies on one side of the bounds.

    Of 100 % for a claim of at least 95 %, and of 0 % for one of at most 5 %, it is 72.

    Args:
        share: that all of these releases together show.
        bounds: of the claim.
    """
    return _smallest(lambda count: _decides(*binomial(share, count), share, bounds))


def _seeds_needed(seeds: Sequence[float], share: float, bounds: Bounds) -> int | None:
    """The fewest seeds with which the t interval does so, if they go on to differ as much."""
    spread = float(np.std(seeds, ddof=1))
    if spread == 0:
        return len(seeds)

    def decides(count: int) -> bool:
        reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(count)
        return _decides(max(share - reach, 0.0), min(share + reach, 1.0), share, bounds)

    return _smallest(decides, first=2)


def _releases_of_mean(value: Interval, bounds: Bounds) -> int | None:
    """The same of a mean: the ends of its interval come nearer with the root of the number of releases."""

    def decides(count: int) -> bool:
        shrink = math.sqrt(value.n_clusters / count)
        low, high = (value.mean + shrink * (end - value.mean) for end in (value.low, value.high))
        return _decides(low, high, value.mean, bounds)

    return _smallest(decides)


def _decides(low: float, high: float, mean: float, bounds: Bounds) -> bool:
    return within(low, high, bounds) if within(mean, mean, bounds) else outside(low, high, bounds)


def _smallest(decides: Callable[[int], bool], first: int = 1) -> int | None:
    """The smallest number that decides; more of them always decide as well."""
    low, high = first - 1, first
    while not decides(high):
        low, high = high, 2 * high
        if low > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
