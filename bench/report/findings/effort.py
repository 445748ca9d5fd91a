"""What attacks got for smaller budgets, where a matrix asks for several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from bench.channels.shared.terms import leakage
from bench.report.analysis.entries import Group
from bench.report.frames import ATTACK, DONE, GROUP, ROW, Results

_QUESTION = [*ROW, *ATTACK]


class Spent(NamedTuple):
    """One budget: the evaluations that were spent of it, and the mean leakage that they bought."""

    budget: int
    evaluations: float
    leak: float


@dataclass(frozen=True)
class Curve:
    """One attack on one defense row over its budgets.

    Attributes:
        name: attack, adversary and defense.
        points: the smallest budget first; means over the seeds of the records' own means.
    """

    name: str
    points: tuple[Spent, ...]


def curves(results: Results, group: Group) -> tuple[Curve, ...]:
    """The attacks that have results for several budgets in a group, the undefended row first."""
    place = [getattr(group, name) for name in GROUP]
    if not (results.repeats.reindex(columns=GROUP) == place).all(axis=1).any():
        return ()
    metric = f"mean_{group.rank}"
    columns = [*GROUP, *_QUESTION, "budget", "status", "evaluations_mean", metric]
    spent = pd.concat([results.cells[columns], results.repeats[columns]])
    known = spent[(spent[GROUP] == place).all(axis=1) & (spent["status"] == DONE)]
    known = known.dropna(subset=["evaluations_mean", metric])
    means = known.groupby([*_QUESTION, "budget"], dropna=False)[["evaluations_mean", metric]].mean()
    levels: dict[tuple[str, ...], list[Spent]] = {}
    for (*question, budget), (evaluations, value) in zip(means.index, means.to_numpy(), strict=True):
        found = Spent(int(budget), float(evaluations), leakage(group.rank, float(value)))
        levels.setdefault(tuple(map(str, question)), []).append(found)  # as text, no strength is one, too
    asked = [
        (f"{entry.name} on {row.name}", (row.defense, str(row.strength), entry.attack, entry.adversary))
        for row in group.rows
        for entry in row.attacks
    ]
    return tuple(Curve(name, tuple(levels[key])) for name, key in asked if len(levels.get(key, ())) > 1)
