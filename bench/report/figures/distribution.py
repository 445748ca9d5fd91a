"""How well each single image was rebuilt: a mean hides the few that are lost."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from bench.channels.shared.terms import LOWER_LEAKS
from bench.report.analysis.entries import Group
from bench.report.figures.looks import UNDEFENDED, looks
from bench.report.figures.tradeoff import legend, new_figure, text
from bench.report.statistics.bootstrap import Floats

_LEAST = 1e-4
"""Smaller distances are drawn here: nobody sees them."""


class Images(NamedTuple):
    """The images of one row.

    Attributes:
        name: defense and strength.
        defense: without its strength; empty where there is none.
        values: ``[M]``, the ranking metric of each image's best reconstruction over all attacks, ascending.
    """

    name: str
    defense: str
    values: Floats


def images(group: Group) -> tuple[Images, ...]:
    """One entry for each attacked row; none where leaking is told by a distance to no single image."""
    if group.rank not in LOWER_LEAKS:
        return ()
    return tuple(
        Images(row.name, "" if row.baseline else row.defense, np.sort(row.worst.best["value"].dropna()))
        for row in group.rows
        if row.worst is not None and row.worst.best["value"].notna().any()
    )


def draw(group: Group, shown: tuple[Images, ...], width: float) -> Figure:
    """The share of images rebuilt within a distance; strengths of a defense get thicker lines one by one."""
    figure, axes = new_figure(width, 2.6 if width < 5 else 3.0)
    known, strengths = looks(item.defense for item in shown if item.defense), Counter[str]()
    handles = []
    for item in shown:
        strengths[item.defense] += 1
        look = known.get(item.defense, UNDEFENDED)
        share = 100 * np.arange(1, len(item.values) + 1) / len(item.values)
        handles += axes.plot(
            np.maximum(item.values, _LEAST), share, drawstyle="steps-post", label=text(item.name),
            color=look.colour, linestyle="-" if item.defense else "--",
            linewidth=0.5 + 0.5 * strengths[item.defense],
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(1, 0.8 * _LEAST)
    axes.set_ylim(0, 101)
    axes.set_xlabel(f"{group.rank.upper()} of an image's best reconstruction (← better)")
    axes.set_ylabel("images at least as near, %")
    legend(figure, handles, width)
    return figure
