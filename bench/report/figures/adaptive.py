"""What attackers recover who ignore a defense, beside those who know it: a dumbbell for each row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.api.threat import Adversary
from bench.report.analysis.entries import Group, Row
from bench.report.figures.tradeoff import SHARE, dashed, ends, legend, named, new_figure, styles, text, what
from bench.report.statistics import NOTHING, Interval

_NAIVE = ("naive", "naive_low", "naive_high")


def points(rows: Sequence[Row]) -> pd.DataFrame:
    """The defended rows that were attacked: both shares with their limits, in per cent.

    ``naive`` is NaN unless every attack that knew the defense was run without knowing it, too: other attacks
    would be compared then.
    """
    shown = [row for row in rows if row.recovery is not None and not row.baseline]
    return pd.DataFrame(
        [{**named(row), **ends(_NAIVE, _naive(row)), **ends(SHARE, row.verdict.recovered)} for row in shown]
    )


def _naive(row: Row) -> Interval:
    ran = {
        adversary: {entry.attack for entry in row.attacks if entry.done and entry.adversary == adversary}
        for adversary in Adversary
    }
    both = set() < ran[Adversary.ADAPTIVE] <= ran[Adversary.NAIVE]
    return row.verdict.naive if both else NOTHING


def draw(group: Group, points: pd.DataFrame, width: float) -> Figure:
    """What attackers recover who ignore the defense, and all together: a dumbbell for each row."""
    figure, axes = new_figure(width, 0.85 + 0.2 * len(points))
    handles = dashed(group, axes.axvline)
    for place, row in enumerate(points.to_dict("records")):
        look = styles(group)[row["defense"]]
        axes.plot([row["naive"], row["recovered"]], [place - 0.14, place + 0.14], color="0.8", linewidth=2)
        for names, shift, fill in ((_NAIVE, -0.14, "white"), (SHARE, 0.14, look.colour)):
            mean, low, high = (row[name] for name in names)
            axes.plot([low, high], [place + shift] * 2, color=look.colour, linewidth=0.6)
            axes.plot(
                mean,
                place + shift,
                look.shape,
                color=look.colour,
                markerfacecolor=fill,
                clip_on=False,
                zorder=3,
            )
    pairs = points[["defense", "strength"]].itertuples(index=False)
    heads = [name if math.isnan(strength) else f"{name} = {strength:g}" for name, strength in pairs]
    axes.set_yticks(range(len(heads)), [text(name) for name in heads])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(heads) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"{what(group)} (← better)")
    for label, fill in (("naive attackers", "white"), ("all attackers", "0.3")):
        handles.append(
            Line2D([], [], color="0.3", marker="o", linestyle="", markerfacecolor=fill, label=label)
        )
    legend(figure, handles, width)
    return figure
