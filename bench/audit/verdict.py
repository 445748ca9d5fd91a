"""What the leaderboard says about one defense: its rows, and a sentence over all settings.

The words are those of the leaderboard's own rule, :mod:`bench.report.analysis.verdict`: nothing is decided
here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.report.analysis.entries import LIMITS, Group, Row
from bench.report.analysis.verdict import Word
from bench.report.findings.answers import points
from bench.report.frames import INCOMPATIBLE

LIMIT = LIMITS[0]
"""Points of accuracy that a defense may cost in the headline."""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One strength of the defense in one setting.

    Attributes:
        group: the setting: channel, data, model, checkpoint and batch size.
        row: the leaderboard's row, with its verdict.
    """

    group: Group
    row: Row

    @property
    def word(self) -> Word:
        """What the defense does; a row without a word was not tested."""
        return self.row.verdict.word or Word.NOT_TESTED

    @property
    def cheap(self) -> bool:
        """Whether the upper limit of its cost is within the headline's limit."""
        return self.group.admitted(self.row, LIMIT)


def audited(groups: tuple[Group, ...], name: str) -> tuple[AuditRow, ...]:
    """Every strength of a defense in every setting that it is made for.

    Args:
        groups: the leaderboard.
        name: of the defense; labels with parameters belong to it.
    """
    return tuple(_rows(groups, name))


def _rows(groups: tuple[Group, ...], name: str) -> Iterator[AuditRow]:
    for group in groups:
        for row in group.rows:
            if row.defense.partition("[")[0] == name and not row.baseline and not _elsewhere(row):
                yield AuditRow(group=group, row=row)


def _elsewhere(row: Row) -> bool:
    """Whether the defense is not made for this setting: no attack that sees the release can be measured."""
    seeing = [entry for entry in row.attacks if not entry.floor]
    failures = [failure for entry in seeing for failure in entry.failures]
    return not any(entry.done for entry in seeing) and all(f.status == INCOMPATIBLE for f in failures)


def by_setting(rows: Sequence[AuditRow]) -> dict[str, Word | None]:
    """The best word in each setting among the strengths that cost little enough.

    None where the strengths that were tested all cost more. A strength that was not tested never stands for
    a setting in which another one was.
    """
    settings: dict[str, list[AuditRow]] = {}
    for item in rows:
        settings.setdefault(item.group.title, []).append(item)
    return {title: _best(items) for title, items in settings.items()}


def _best(items: Sequence[AuditRow]) -> Word | None:
    tested = [item for item in items if item.word is not Word.NOT_TESTED]
    if not tested:
        return Word.NOT_TESTED
    return min((item.word for item in tested if item.cheap), key=lambda word: word.order, default=None)


_TEXTS = {
    Word.HIDES: "hides the private images",
    Word.REDUCES: "reduces what is recovered",
    Word.UNDECIDED: "is undecided",
    Word.FAILS: "does not protect",
    None: "costs more",
    Word.NOT_TESTED: "was not tested",
}


def headline(rows: Sequence[AuditRow], name: str) -> str:
    """In how many settings the defense does what, at its best strength that costs at most :data:`LIMIT`.

    Args:
        rows: see :func:`audited`.
        name: of the defense.
    """
    counts = Counter(by_setting(rows).values())
    if counts.keys() <= {Word.NOT_TESTED}:
        why = dict.fromkeys(reason for item in rows for reason in item.row.verdict.reasons)
        return f"{name} was not tested: {'; '.join(why) or 'no attack met it in any setting'}."
    total = counts.total()
    parts = [f"{text} in {counts[word]}" for word, text in _TEXTS.items() if counts[word]]
    parts[0] += f" of {total} setting{'s' if total > 1 else ''}"
    others = 0 < counts[Word.HIDES] < total
    end = ". An attacker may choose the setting, so the weakest one counts." if others else "."
    return f"At a cost of at most {points(LIMIT)} of accuracy, {name} {', '.join(parts)}{end}"
