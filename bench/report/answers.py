"""The question that a reader comes with: which defense leaks least for its cost, and how sure is that?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.entries import Group, Place, Row, WorstCase
from bench.report.statistics import Interval, certainly_positive
from bench.report.summary import advantage


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer for one group and one limit of accuracy loss.

    Attributes:
        group: where.
        limit: points of accuracy that the defense may cost.
        undefended: the undefended row, if its worst case is known.
        place: the defense that leaks least within the limit; None if none is that cheap.
        tied: other defenses that may be just as good.
        gain: paired protection gained on the undefended victim; None where there is none.
        lead: the same on the next defense.
        helps: whether any defense within the limit certainly leaks less than the undefended victim; None
            where that victim is unknown.
    """

    group: Group
    limit: float
    undefended: Row | None
    place: Place | None = None
    tied: tuple[Row, ...] = ()
    gain: Interval | None = None
    lead: Interval | None = None
    helps: bool | None = None


def answer(group: Group, limit: float) -> Answer:
    """Looks the answer up in the group's places."""
    base = group.baseline if group.baseline and group.baseline.worst else None
    places = group.places[limit]
    if not places:
        return Answer(group=group, limit=limit, undefended=base)
    best = places[0]
    gains = [_over(place.worst, base.worst if base else None, group) for place in places]
    return Answer(
        group=group,
        limit=limit,
        undefended=base,
        place=best,
        tied=tuple(place.row for place in places[1:] if place.standing.tied(best.standing)),
        gain=gains[0],
        lead=_over(best.worst, places[1].worst if len(places) > 1 else None, group),
        helps=any(gain is not None and certainly_positive(gain) for gain in gains) if base else None,
    )


def _over(own: WorstCase, other: WorstCase | None, group: Group) -> Interval | None:
    return None if other is None else advantage(own, other, group)
