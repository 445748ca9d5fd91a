"""The question that a reader comes with: which defense protects for its cost, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.analysis.entries import Group, Place, Row
from bench.report.analysis.recovery import drop
from bench.report.analysis.verdict import Word
from bench.report.findings.recovered import again, identifiable, recovered, undefended
from bench.report.statistics import Interval

_NUMBERS = {1.0: "one point", 5.0: "five points"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer for one group and one limit of accuracy loss.

    Attributes:
        group: where.
        limit: points of accuracy that the defense may cost.
        undefended: the undefended row, if there is one.
        place: the defense that protects best within the limit; None if none is certainly that cheap.
        tied: other defenses that may be just as good.
        lead: by how much the next defense's recovered share is higher, on the same images.
    """

    group: Group
    limit: float
    undefended: Row | None
    place: Place | None = None
    tied: tuple[Row, ...] = ()
    lead: Interval | None = None

    @property
    def confirmation(self) -> tuple[Group, Row] | None:
        """The same defense on fresh seeds, with its group there; None where it was not measured there."""
        return self.group.confirmations.get(self.place.row.number) if self.place else None

    @property
    def awaited(self) -> bool:
        """Whether its name stands out, its matrix asks for fresh seeds, and none were measured."""
        return self.protects and self.group.confirmable and self.confirmation is None

    @property
    def word(self) -> Word | None:
        """For the defense that protects best; None if none is certainly that cheap."""
        return self.place.row.verdict.word if self.place else None

    @property
    def protects(self) -> bool:
        """Whether its name may stand out: it hides or reduces what is recovered."""
        return self.word in (Word.HIDES, Word.REDUCES)

    @property
    def nothing(self) -> str:
        """The headline where no defense does what is asked for; empty where one does."""
        if self.protects or self.word is None:
            return ""
        return "no defense protects" if self.word is Word.FAILS else self.word.value


def answer(group: Group, limit: float) -> Answer:
    """Looks the answer up in the group's places."""
    places = group.places[limit]
    if not places:
        return Answer(group=group, limit=limit, undefended=group.baseline)
    best, rest = places[0], places[1:]
    return Answer(
        group=group,
        limit=limit,
        undefended=group.baseline,
        place=best,
        tied=tuple(place.row for place in rest if place.standing.tied(best.standing)),
        lead=drop(rest[0].recovery, best.recovery) if rest else None,
    )


def points(limit: float) -> str:
    """``one point``."""
    return _NUMBERS.get(limit, f"{limit:g} points")


def sentence(groups: Sequence[Group], limit: float) -> str:
    """The result in one computed sentence, over all settings with a defense.

    Args:
        groups: the leaderboard.
        limit: points of accuracy that a defense may cost.
    """
    asked = [group for group in groups if any(not row.baseline for row in group.rows)]
    if not asked:
        return "No defense was measured."
    found = [answer(group, limit) for group in asked]
    tested = {item.word for item in found} - {Word.NOT_TESTED, None}
    start, rest = f"At {points(limit)} of accuracy", "; ".join(_rest(found))
    if not tested:
        return f"{start} nothing is said of any defense: {rest}."
    parts = [part for word in (Word.HIDES, Word.REDUCES) if (part := _held(found, word))]
    if not parts:  # an undecided defense may protect: a larger run would tell
        verb = "protects" if tested == {Word.FAILS} else "is shown to protect"
        return f"{start} no defense here {verb}: {rest}."
    return f"{start} {'; '.join([*parts, *([rest] if rest else [])])}."


def _held(found: Sequence[Answer], word: Word) -> str:
    """The settings in which the best defense hides, or reduces, what is recovered, with its counts."""
    mine = [
        f"{item.place.row.name} on {item.group.title}, {recovered(item.place.row, item.group)}"
        f"{identifiable(item.place.row, ', ')}{undefended(item.group, '; ')}"
        f"{again(item.confirmation, word, '; ', awaited=item.awaited)}"
        for item in found
        if item.place is not None and item.word is word
    ]
    if not mine:
        return ""
    verb = "hides the private images" if word is Word.HIDES else "reduces what is recovered"
    return f"a defense {verb} in {len(mine)} of {len(found)} settings ({'; '.join(mine)})"


def _rest(found: Sequence[Answer]) -> list[str]:
    """In how many settings there is nothing to be named, and why."""
    texts = {
        Word.FAILS: "the best one does not protect",
        Word.UNDECIDED: "it is undecided",
        Word.NOT_TESTED: "none was tested",
        None: "none is certainly that cheap",
    }
    counts = {word: sum(item.word is word for item in found) for word in texts}
    settings = f"{len(found)} setting{'s' * (len(found) > 1)}"
    return [f"in {count} of {settings} {texts[word]}" for word, count in counts.items() if count]
