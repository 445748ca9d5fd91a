"""The question that a reader comes with: which defense leaks least for its cost, and how sure is that?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.report.entries import Group, Place, Row, WorstCase
from bench.report.recovered import fewer
from bench.report.statistics import Interval, certainly_positive
from bench.report.summary import advantage
from bench.report.visible import Grade, grade


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
        visible: whether one of these gains can be seen, see :mod:`bench.report.visible`; None also where
            there is no floor that could tell.
        fewer: whether clearly fewer images are recovered than without a defense; None where nobody knows.
        protects: this, the first place's own gain is certain and can be seen, and not every attack on it ends
            below the floor: only then may its name stand out.
    """

    group: Group
    limit: float
    undefended: Row | None
    place: Place | None = None
    tied: tuple[Row, ...] = ()
    gain: Interval | None = None
    lead: Interval | None = None
    helps: bool | None = None
    visible: bool | None = None
    fewer: bool | None = None
    protects: bool = False

    @property
    def nothing(self) -> str:
        """The headline where no defense does what is asked for; empty where one may."""
        if self.helps is False:
            return "no defense certainly helps"
        return "no defense visibly helps" if self.visible is False and not self.fewer else ""


def answer(group: Group, limit: float) -> Answer:
    """Looks the answer up in the group's places."""
    base = group.baseline if group.baseline and group.baseline.worst else None
    places = group.places[limit]
    if not places:
        return Answer(group=group, limit=limit, undefended=base)
    best = places[0]
    bare = base.worst if base else None
    gains = [advantage(place.worst, bare, group) for place in places] if bare else []
    grades = [grade(gain, group.smallest_visible) for gain in gains]
    scaled = bool(grades) and not math.isnan(group.smallest_visible)
    less = fewer(best.worst, bare, group) if bare else None
    return Answer(
        group=group,
        limit=limit,
        undefended=base,
        place=best,
        tied=tuple(place.row for place in places[1:] if place.standing.tied(best.standing)),
        gain=gains[0] if gains else None,
        lead=_over(best.worst, places[1].worst if len(places) > 1 else None, group),
        helps=any(map(certainly_positive, gains)) if gains else None,
        visible=Grade.CERTAIN in grades if scaled else None,
        fewer=less,
        protects=bool(less) and grades[0] is Grade.CERTAIN and "below-prior" not in best.row.flags,
    )


def _over(own: WorstCase, other: WorstCase | None, group: Group) -> Interval | None:
    return None if other is None else advantage(own, other, group)
