"""One attack of a call, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    NOT_APPLICABLE = "n/a"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attack, and what came of it.

    Attributes:
        attack: its name, with parameters that differ from its own.
        adversary: ``naive`` or ``adaptive``; empty for a blind guess.
        outcome: how it ended; but for ``done`` no number below is known.
        reason: why it does not apply, how it failed, or how the time has cut it short.
        bound: it only chooses from a list that holds the private images, and rebuilds nothing.
        found: private images found; None where they are not known.
        psnr: median over the images in dB; NaN where they are not known, as for those that follow.
        ssim: median, 1 for copies.
        lpips: median, 0 for copies.
        labels: share of the labels that it recovered; NaN where it recovers none.
        explained: share of the energy of what was released that its images explain, at most 1; NaN where
            nothing was released of single images.
        evaluations: mean over the releases.
        seconds: that it took.
    """

    attack: str
    adversary: str
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    bound: bool = False
    found: int | None = None
    psnr: float = float("nan")
    ssim: float = float("nan")
    lpips: float = float("nan")
    labels: float = float("nan")
    explained: float = float("nan")
    evaluations: float = float("nan")
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The attack, and whether it knows the defense."""
        return f"{self.attack}/{self.adversary}" if self.adversary == "adaptive" else self.attack


def strongest(attempts: tuple[Attempt, ...]) -> Attempt | None:
    """The attack that found most images, then the one nearest to them; a bound is none."""
    done = [item for item in attempts if item.outcome is Outcome.DONE and not item.bound]
    return max(done, key=_strength, default=None)


def _strength(item: Attempt) -> tuple[float, ...]:
    """Larger is stronger, whatever is known."""
    if item.found is None and math.isnan(item.psnr):
        return (_or_least(item.explained),)
    nearness = item.psnr if math.isnan(item.lpips) else -item.lpips
    return (item.found or 0, _or_least(nearness))


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value
