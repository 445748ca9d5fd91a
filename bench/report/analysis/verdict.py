"""The decision rule: one word for what a defense does, in units of harm.

The primary number of a row is the share of private images that its strongest single attack recovered, on the
channel ``model`` the share of classes that the evaluator recognises, net of the control. The tables, the
page, the findings, the audit and data frames all ask this module; every threshold stands here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from bench.report.statistics import NOTHING, Interval

HIDES = 0.1
"""The upper limit of the recovered share up to which a defense hides the images."""
DROP = 0.1
"""The drop of the recovered share that is a reduction, and below which there is no protection."""
ABOVE_FLOOR = 0.3
"""How far above blind guessing the undefended share must certainly lie: else nothing can be learned."""
LEAST_SEEDS = 5
LEAST_RELEASES = 72
"""Releases behind a row, over all seeds: of 72 with none recovered the limit is below 5 %."""
LEAST_CLASSES = 50
"""The same on the channel ``model``, where a release is a class of one seed."""
LEAST_KINDS = 6
"""Classes of a data set on the channel ``model``: with fewer, guessing is right too often."""


class Word(StrEnum):
    """What a defense does at one strength in one setting; the best first."""

    HIDES = "hides"
    REDUCES = "reduces"
    UNDECIDED = "undecided"
    FAILS = "does not protect"
    NOT_TESTED = "not tested"

    @property
    def style(self) -> str:
        """Class of a style sheet; only ``hides`` is green."""
        return self.value.replace(" ", "-")

    @property
    def order(self) -> int:
        """0 for the best."""
        return [*Word].index(self)


MEANING = {
    Word.HIDES: f"the upper limit of the recovered share is at most {100 * HIDES:g} %",
    Word.REDUCES: "the recovered share is lower than without a defense, on the same images, by certainly "
    f"more than {100 * DROP:g} points",
    Word.UNDECIDED: "the intervals are too wide for any of the other words",
    Word.FAILS: f"the recovered share is lower by certainly less than {100 * DROP:g} points",
    Word.NOT_TESTED: "what was measured says nothing of the defense, for the reasons given, and counts for "
    "nothing",
}
INTERVAL = (
    "Intervals of shares and of drops hold at each end the farther of an exact binomial limit over the "
    "releases and a t limit over the seeds."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one defense row, and the word for it.

    Attributes:
        word: None for the undefended victim.
        recovered: share of private images (classes) that the strongest single attack recovered; on channel
            ``model`` net of the control.
        union: the same for all attacks together: an image counts that any of them recovered.
        drop: by how much it is lower than the undefended row's, on the same images.
        naive: the share of the strongest attack that ignores the defense.
        identifiable: share of private images that a list of candidates gives away; not rebuilt.
        attacks: how many attacks of the suite stand behind the row.
        reasons: why it was not tested.
        remarks: what could not be checked.
    """

    word: Word | None
    recovered: Interval = NOTHING
    union: Interval = NOTHING
    drop: Interval = NOTHING
    naive: Interval = NOTHING
    identifiable: Interval = NOTHING
    attacks: int = 0
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The word with its reasons."""
        if self.word is None:
            return "–"
        return self.word.value + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


NO_VERDICT = Verdict(word=None)


def decide(recovered: Interval, drop: Interval, reasons: tuple[str, ...]) -> Word:
    """The word for a defended row.

    Args:
        recovered: its share, with the interval of :func:`bench.report.statistics.share_interval`.
        drop: against the undefended row, see :func:`bench.report.statistics.drop_interval`.
        reasons: why it counts for nothing, see :mod:`bench.report.analysis.tested`.
    """
    if reasons:
        return Word.NOT_TESTED
    if recovered.high <= HIDES:  # False for NaN, as all that follow
        return Word.HIDES
    if drop.low > DROP:
        return Word.REDUCES
    return Word.FAILS if drop.high < DROP else Word.UNDECIDED


def above_floor(lead: Interval) -> bool:
    """Whether the undefended victim certainly leaks enough for a defense to be tested.

    Args:
        lead: by how much the undefended share lies above that of blind guesses, on the same images.
    """
    return lead.low > ABOVE_FLOOR


def net(value: Interval, control: float) -> Interval:
    """A share of recognised classes net of what a control reaches by chance, ``(s - c) / (1 - c)``.

    Args:
        value: the share s, with its interval.
        control: c, the share of the strongest control.
    """
    if math.isnan(value.mean) or math.isnan(control) or control >= 1:
        return NOTHING
    mean, low, high = ((end - control) / (1 - control) for end in (value.mean, value.low, value.high))
    return Interval(
        max(mean, 0.0), max(low, 0.0), max(high, 0.0), value.n_images, value.n_clusters, value.n_missing
    )
