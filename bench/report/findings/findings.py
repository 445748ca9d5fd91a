"""What a defense protects against those who ignore it and those who know it, beside others of equal cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.analysis.entries import Group, Row
from bench.report.analysis.recovery import drop
from bench.report.analysis.summary import advantage, order
from bench.report.frames import GROUP
from bench.report.statistics import Interval

EQUAL_COST = 0.5
"""Points of accuracy by which a rival may cost more and still count as no dearer."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One defense row against two kinds of attackers.

    Attributes:
        group: where.
        row: the defense at one strength.
        gain: by how much its worst case leaks less than the undefended one by the ranking metric, paired.
        rival: the other defense that protects best among those that cost no more accuracy.
        lead: by how much the rival's recovered share is higher, on the same images.
    """

    group: Group
    row: Row
    gain: Interval | None = None
    rival: Row | None = None
    lead: Interval | None = None


def findings(groups: Sequence[Group]) -> tuple[Finding, ...]:
    """One finding for each defended row of a leaderboard that some attack met, group by group."""
    return tuple(item for group in groups for item in _of(group))


def _of(group: Group) -> Iterator[Finding]:
    base = group.baseline.worst if group.baseline else None
    for row in group.rows:
        if row.worst is None:
            continue
        rival = _rival(row, group)
        yield Finding(
            group=group,
            row=row,
            gain=advantage(row.worst, base, group) if base and row.ranked and not row.baseline else None,
            rival=rival,
            lead=drop(rival.recovery, row.recovery) if rival else None,
        )


def _rival(row: Row, group: Group) -> Row | None:
    """The best protected row of another defense that costs no more.

    None for the undefended victim, and for a row that lacks an attack which others had to stand.
    """
    if row.baseline or not row.ranked:
        return None
    others = [
        other
        for other in group.rows
        if other.defense != row.defense
        and not other.baseline
        and other.ranked
        and other.recovery is not None
        and other.loss.mean <= row.loss.mean + EQUAL_COST
    ]
    return min(others, key=lambda other: order(other, group), default=None)


def details(cells: pd.DataFrame, group: Group) -> pd.DataFrame:
    """What the defenses of a group say of their victims: mean over seeds, by ``row`` and name."""
    mine = cells[(cells[GROUP].astype(str) == _key(group)).all(axis=1)]
    victims = mine.drop_duplicates(["row", "seed"])
    frame = pd.DataFrame(
        [{"row": row, **values} for row, values in zip(victims["row"], victims["details"], strict=True)]
    )
    return frame.groupby("row").mean() if len(frame.columns) > 1 else pd.DataFrame()


def shown(cells: pd.DataFrame, group: Group) -> pd.DataFrame:
    """Scores against the images that the clients computed on, by ``row`` and ``entry``."""
    mine = cells[(cells[GROUP].astype(str) == _key(group)).all(axis=1)]
    columns = [name for name in mine.columns if name.startswith(("perturbed_", "bound_", "mean_"))]
    columns.append("evaluator_accuracy")
    known = mine.dropna(subset=["perturbed_psnr"])
    frame: pd.DataFrame = known.groupby(["row", "entry"])[columns].mean()
    return frame


def _key(group: Group) -> list[str]:
    return [group.channel, group.dataset, group.model, group.checkpoint, str(group.batch_size)]
