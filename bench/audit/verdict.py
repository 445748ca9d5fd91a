"""What the leaderboard says about one defense, in one word per setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bench.audit.tested import reasons, remarks
from bench.report.entries import LIMITS, Group, Row
from bench.report.frames import INCOMPATIBLE
from bench.report.statistics import Interval
from bench.report.summary import advantage
from bench.report.visible import Grade, grade

NEAR_FLOOR = 0.1
"""Normalised leakage below which a release tells an attacker hardly more than no release at all."""


class Word(StrEnum):
    """How a defense did at one strength in one setting."""

    HIDES = "hides"
    REDUCES = "reduces"
    FAILS = "fails"
    NOT_TESTED = "not tested"

    @property
    def style(self) -> str:
        """Class of the verdict page's style sheet."""
        return self.value.replace(" ", "-")


MEANING = {
    Word.HIDES: "certainly leaks less than the undefended victim: its normalised leakage, which is 0 for an "
    f"attacker who sees nothing and 1 without defense, is at most {NEAR_FLOOR:g}",
    Word.REDUCES: "certainly leaks less than the undefended victim, but clearly more than nothing",
    Word.FAILS: "does not certainly leak less than the undefended victim, or the difference is negligible",
    Word.NOT_TESTED: "what was measured says nothing of the defense, for the reasons given, and counts for "
    "nothing. Accuracy is near chance below halfway from chance, 1 / classes, to 1",
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
        reasons: why it is ``not tested``.
        remarks: what could not be checked.
    """

    group: Group
    row: Row
    word: Word
    leak: Interval | None
    gain: Interval | None
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """It says something of the defense."""
        return self.word is not Word.NOT_TESTED

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
            if row.defense.partition("[")[0] == name and not row.baseline and not _elsewhere(row):
                yield _assessed(group, row)


def _assessed(group: Group, row: Row) -> Judged:
    """One row, which is made for its setting."""
    why, base = reasons(group, row), group.baseline
    gain = advantage(row.worst, base.worst, group) if row.worst and base and base.worst else None
    word = Word.NOT_TESTED if why or gain is None else _word(group, row, gain)
    leak = row.worst.scores[group.rank] if row.worst else None
    return Judged(group=group, row=row, word=word, leak=leak, gain=gain, reasons=why, remarks=remarks(group))


def _word(group: Group, row: Row, gain: Interval) -> Word:
    if grade(gain, group.smallest_visible) not in (Grade.CERTAIN, Grade.NO_SCALE):
        return Word.FAILS
    return Word.HIDES if row.normalised.mean <= NEAR_FLOOR else Word.REDUCES  # NaN: reduces


def _elsewhere(row: Row) -> bool:
    """Whether the defense is not made for this setting: no attack that sees the release can be measured."""
    seeing = [entry for entry in row.attacks if not entry.floor]
    failures = [failure for entry in seeing for failure in entry.failures]
    return not any(entry.done for entry in seeing) and all(f.status == INCOMPATIBLE for f in failures)


def headline(judged: tuple[Judged, ...], name: str) -> str:
    """The verdict in a sentence: the weakest setting decides, since an attacker chooses it.

    Only settings in which some strength was tested count; how many others there are is said beside them.
    """
    tested = [item for item in judged if item.tested]
    if not tested:
        why = dict.fromkeys(reason for item in judged for reason in item.reasons)
        return f"{name} was not tested: {'; '.join(why) or 'no attack met it in any setting'}."
    settings = _settings(tested)
    others = len(_settings(judged) - settings)
    held = _settings(item for item in tested if item.holds)
    helped = _settings(item for item in tested if item.word in (Word.HIDES, Word.REDUCES))
    cost = f"at most {max(LIMITS):g} points of accuracy"
    if held == settings and not others:
        return f"{name} holds: in all {len(settings)} settings it hides the images for {cost}."
    rest = f"; {others} {'was' if others == 1 else 'were'} not tested" if others else ""
    if held:
        where = _of(held, settings, others)
        return f"{name} holds in {where} ({cost}){rest}; an attacker may choose the others."
    if helped:
        return (
            f"{name} does not hold: in no setting does it hide the images for {cost}. It certainly reduces "
            f"the leak in {_of(helped, settings, others)}{rest}."
        )
    return (
        f"{name} does not hold: in {'no setting' if not others else f'none of the {len(settings)} settings'}"
        f"{' that were tested' if others else ''} does it certainly and visibly leak less than no defense at "
        f"all{rest}."
    )


def _settings(items: Iterable[Judged]) -> set[str]:
    return {item.group.title for item in items}


def _of(some: set[str], tested: set[str], others: int) -> str:
    """``2 of 3 settings``, or, where others were not tested, ``2 of the 3 settings that were tested``."""
    if not others:
        return f"{len(some)} of {len(tested)} settings"
    return f"{len(some)} of the {len(tested)} settings that were tested"
