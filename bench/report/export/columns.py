"""The columns that an exported table may have, each a head and a text for every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.report.analysis.entries import NO_SCORES, SCORES, Group, Row
from bench.report.findings.recovered import percent, recovered
from bench.report.text import MISSING, interval, loss, number, score, spread, strength

Cell = Callable[[Row, Group], str]
_NONE = "–"


def _defended(cell: Cell) -> Cell:
    """A dash for the undefended victim, which the others are compared with."""
    return lambda row, group: _NONE if row.baseline else cell(row, group)


def _word(row: Row, _: Group) -> str:
    return row.verdict.word.value if row.verdict.word else _NONE


def _score(metric: str) -> Cell:
    return lambda row, _: score(metric, (row.worst.scores if row.worst else NO_SCORES)[metric])


_PLAIN: Mapping[str, tuple[str, Cell]] = {
    "row": ("Defense", lambda row, _: row.name),
    "defense": ("Defense", lambda row, _: row.defense),
    "strength": ("Strength", lambda row, _: strength(row.strength)),
    "accuracy": ("Accuracy, %", lambda row, _: " ".join(spread(row.utility.scaled(100))).strip()),
    "loss": ("Loss", _defended(lambda row, _: number(row.loss.mean, 1))),
    "loss_upper": ("Loss (limit)", _defended(lambda row, _: loss(row.loss))),
    "count": ("Recovered", lambda row, group: recovered(row, group)),
    "recovered": ("Recovered, %", lambda row, _: percent(row.verdict.recovered)),
    "naive": ("Naive, %", lambda row, _: percent(row.verdict.naive)),
    "union": ("Any attack, %", lambda row, _: percent(row.verdict.union)),
    "drop": ("Drop", _defended(lambda row, _: percent(row.verdict.drop))),
    "identifiable": ("Re-identifiable, %", lambda row, _: percent(row.verdict.identifiable)),
    "attack": ("Strongest attack", lambda row, _: row.strongest.name if row.strongest else MISSING),
    "normalised": ("Normalised", lambda row, _: interval(row.normalised, 2)),
    "verdict": ("Verdict", _word),
}
KEYS = (*_PLAIN, *(metric for metric in SCORES if metric not in _PLAIN))
"""Names of all columns; metrics are those of the worst case."""
LEFT = frozenset({"row", "defense", "attack", "verdict"})
"""Columns of words, aligned to the left."""
DEFAULT = {
    "column": ("row", "loss", "recovered", "verdict"),
    "text": ("row", "loss_upper", "recovered", "naive", "drop", "attack", "verdict"),
}
"""By width; where names are long, :data:`SPARED` are left out, the last ones first."""
SPARED = ("loss", "loss_upper", "drop", "naive", "attack")
UNITS = (
    "Loss: points of accuracy, with the upper 95 % limit over the seeds. Recovered: by the strongest single "
    "attack, naive: by the strongest that ignores the defense, with 95 % intervals. Drop: points fewer than "
    "undefended, on the same images."
)


def head(key: str, group: Group) -> str:
    """What stands above a column: metrics by the channel's name of them, without arrows."""
    if key in _PLAIN:
        return _PLAIN[key][0]
    terms = group.terms
    title = terms.printed(key) if key in terms.heads else terms.name(key)
    return title[0].upper() + title[1:]


def cell(key: str, row: Row, group: Group) -> str:
    """What a row has in a column, with the digits of the leaderboard."""
    return _PLAIN[key][1](row, group) if key in _PLAIN else _score(key)(row, group)
