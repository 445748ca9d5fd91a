"""The leaderboard as a LaTeX document that compiles on its own: one booktabs longtable per group."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.entries import Group, Row
from bench.report.frames import Results
from bench.report.protocol import caption
from bench.report.text import bounds, latex, number, percent, score, strength

_WORST = ["lpips", "ssim", "psnr", "identified"]
_HEAD = [
    "Defense", "Strength", r"Accuracy \%", "Loss, points", r"LPIPS $\downarrow$", r"SSIM $\uparrow$",
    r"PSNR $\uparrow$ dB", r"Identified $\uparrow$ \%", "Strongest attack", "Images",
]  # fmt: skip
_PREAMBLE = [
    r"\documentclass[a4paper,10pt]{article}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage[utf8]{inputenc}",
    r"\usepackage{textcomp}",
    r"\usepackage[landscape,margin=1.5cm]{geometry}",
    r"\usepackage{booktabs}",
    r"\usepackage{longtable}",
    r"\setlength{\tabcolsep}{3pt}",
    r"\begin{document}",
]


def render(results: Results, groups: tuple[Group, ...]) -> str:
    """The whole document."""
    lines = [*_PREAMBLE, r"\section*{Leaderboard}"]
    lines += [*map(latex, caption(results, groups)), ""]
    tables = [line for group in groups if group.rows for line in _table(group)]
    lines += tables or ["No cell is done yet.", ""]
    return "\n".join([*lines, r"\end{document}", ""])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _table(group: Group) -> list[str]:
    return [
        r"\scriptsize",
        r"\begin{longtable}{llrrrrrrlr}",
        rf"\caption{{Worst case over all attacks: {latex(group.title)}. Arrows point to more leakage; "
        r"* marks Pareto-optimal rows.}\\",
        r"\toprule",
        _line(_HEAD),
        r"\midrule",
        r"\endhead",
        *(_line(_row(row)) for row in group.rows),
        r"\bottomrule",
        r"\end{longtable}",
        "",
    ]


def _row(row: Row) -> list[str]:
    utility = row.utility
    accuracy = f"{percent(utility.mean)} {bounds(100 * utility.low, 100 * utility.high, 1)}"
    name = latex(row.defense) + ("*" if row.pareto else "")
    head = [name, latex(strength(row.strength)), latex(accuracy), number(row.loss.mean, 1)]
    if row.worst is None:
        return [*head, *["n/a"] * 4, "--", "0"]
    scores = [latex(score(metric, row.worst.scores[metric])) for metric in _WORST]
    return [*head, *scores, latex(row.worst.strongest), str(row.worst.scores["psnr"].n_images)]
