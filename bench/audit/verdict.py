"""What the leaderboard says about one defense, in one word per setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bench.report.entries import LIMITS, Group, Row
from bench.report.frames import INCOMPATIBLE
from bench.report.statistics import Interval, certainly_positive
from bench.report.summary import advantage

NEAR_FLOOR = 0.1
"""Normalised leakage below which a release tells an attacker hardly more than no release at all."""


class Word(StrEnum):
    """How a defense did at one strength in one setting."""

    HIDES = "hides"
    REDUCES = "reduces"
    FAILS = "fails"
    UNKNOWN = "unknown"


MEANING = {
    Word.HIDES: "certainly leaks less than the undefended victim: its normalised leakage, which is 0 for an "
    f"attacker who sees nothing and 1 without defense, is at most {NEAR_FLOOR:g}",
    Word.REDUCES: "certainly leaks less than the undefended victim, but clearly more than nothing",
    Word.FAILS: "does not certainly leak less than the undefended victim",
    Word.UNKNOWN: "too little was measured: see the flags",
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One strength of the defense in one setting.

    Attributes:
        group: the setting: channel, data, model, checkpoint and batch size.
        row: the leaderboard's row.
        word: how it did.
        leak: the worst case over all attacks, in the group's metric.
        gain: how much less it leaks than the undefended victim, paired on the same images.
    """

    group: Group
    row: Row
    word: Word
    leak: Interval | None
    gain: Interval | None

    @property
    def holds(self) -> bool:
        """It hides the images for a cost that the summaries allow."""
        return self.word is Word.HIDES and self.row.loss.mean <= max(LIMITS)


def judge(groups: tuple[Group, ...], name: str) -> tuple[Judged, ...]:
    """Every strength of a defense in every setting.

    Args:
        groups: the leaderboard.
        name: of the defense; labels with parameters belong to it.
    """
    return tuple(_judged(groups, name))


def _judged(groups: tuple[Group, ...], name: str) -> Iterator[Judged]:
    for group in groups:
        for row in group.rows:
            if row.defense.partition("[")[0] != name or row.baseline or _elsewhere(row):
                continue
            base = group.baseline
            if row.worst is None or base is None or base.worst is None or not row.ranked:
                leak = row.worst.scores[group.rank] if row.worst else None
                yield Judged(group=group, row=row, word=Word.UNKNOWN, leak=leak, gain=None)
                continue
            gain = advantage(row.worst, base.worst, group)
            word = Word.FAILS
            if certainly_positive(gain):
                word = Word.HIDES if row.normalised.mean <= NEAR_FLOOR else Word.REDUCES  # NaN: reduces
            yield Judged(group=group, row=row, word=word, leak=row.worst.scores[group.rank], gain=gain)


def _elsewhere(row: Row) -> bool:
    """Whether the defense is not made for this setting: no attack that sees the release can be measured."""
    seeing = [entry for entry in row.attacks if not entry.floor]
    failures = [failure for entry in seeing for failure in entry.failures]
    return not any(entry.done for entry in seeing) and all(f.status == INCOMPATIBLE for f in failures)


def headline(judged: tuple[Judged, ...], name: str) -> str:
    """The verdict in a sentence: the weakest setting decides, since an attacker chooses it."""
    settings = {item.group.title for item in judged}
    if not settings or all(item.word is Word.UNKNOWN for item in judged):
        return f"{name} cannot be judged: no setting was measured completely."
    held = {item.group.title for item in judged if item.holds}
    helped = {item.group.title for item in judged if item.word in (Word.HIDES, Word.REDUCES)}
    cost = max(LIMITS)
    if held == settings:
        return (
            f"{name} holds: in all {len(settings)} settings it hides the images for at most {cost:g} points."
        )
    if held:
        return (
            f"{name} holds in {len(held)} of {len(settings)} settings (at most {cost:g} points of accuracy); "
            "an attacker may choose the others."
        )
    if helped:
        return (
            f"{name} does not hold: in no setting does it hide the images for at most {cost:g} points of "
            f"accuracy. It certainly reduces the leak in {len(helped)} of {len(settings)}."
        )
    return f"{name} does not hold: in no setting does it certainly leak less than no defense at all."
