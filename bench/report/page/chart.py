"""The chart of a setting whose axes a reader chooses: its rows as numbers, which the page's script draws."""

from __future__ import annotations

import math
from typing import Any

from bench.report.analysis.entries import Group, Row
from bench.report.figures import tradeoff
from bench.report.figures.looks import UNDEFENDED

AXES = {
    "loss": ("accuracy lost, points", None, None),
    "accuracy": ("accuracy, %", 0, 100),
    "recovered": ("", 0, 100),
    "normalised": ("normalised leakage", 0, 1),
    "lpips": ("LPIPS of the best reconstructions", 0, None),
    "ssim": ("SSIM of the best reconstructions", 0, 1),
    "psnr": ("PSNR of the best reconstructions, dB", 0, None),
}
"""By name: title, and where the axis begins and ends whatever is drawn; None: where the rows do."""
FIRST = ("loss", "recovered")
"""What the drawn figure shows: x and y."""


def chart(group: Group) -> dict[str, Any]:
    """Axes that any row has a value of, and the rows; nothing where there is no figure to choose from.

    A row is name, defense, colour, shape, and its values by axis.
    """
    if not len(tradeoff.points(group.rows)):
        return {}
    styles = tradeoff.styles(group)
    rows = []
    for row in group.rows:
        look = UNDEFENDED if row.baseline else styles[row.defense]
        values = {name: round(value, 4) for name, value in _values(row).items() if not math.isnan(value)}
        rows.append([row.name, row.defense, look.colour, look.shape, values])
    known = {name for *_, values in rows for name in values}
    titles = {name: (title or tradeoff.what(group), *ends) for name, (title, *ends) in AXES.items()}
    return {"axes": [[name, *titles[name]] for name in AXES if name in known], "rows": rows}


def _values(row: Row) -> dict[str, float]:
    scores = {} if row.worst is None else row.worst.scores
    means = {name: scores[name].mean for name in ("lpips", "ssim", "psnr") if name in scores}
    return {
        "loss": row.loss.mean,
        "accuracy": 100 * row.utility.mean,
        "recovered": 100 * row.verdict.recovered.mean,
        "normalised": row.normalised.mean,
        **means,
    }
