"""The leaderboard as a LaTeX document that compiles on its own: one booktabs longtable per group."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.entries import Group, Row
from bench.report.flags import LEGEND
from bench.report.frames import Results
from bench.report.protocol import caption
from bench.report.text import bounds, interval, latex, number, percent, score, strength

_WORST = ["lpips", "ssim", "psnr", "identified"]
_HEAD = [
    "Defense", "Strength", r"Accuracy \%", "Loss, points", r"LPIPS $\downarrow$", r"SSIM $\uparrow$",
    r"PSNR $\uparrow$ dB", r"Identified $\uparrow$ \%", "Normalised", "Strongest attack", "Images", "Cells",
    "Notes",
]  # fmt: skip
_PREAMBLE = [
    r"\documentclass[a4paper,10pt]{article}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage[utf8]{inputenc}",
    r"\usepackage{textcomp}",
    r"\usepackage[landscape,margin=1cm]{geometry}",
    r"\usepackage{booktabs}",
    r"\usepackage{longtable}",
    r"\setlength{\tabcolsep}{2pt}",
    r"\begin{document}",
]


def render(results: Results, groups: tuple[Group, ...]) -> str:
    """The whole document."""
    lines = [*_PREAMBLE, r"\section*{Leaderboard}"]
    lines += [*map(latex, caption(results, groups)), ""]
    tables = [line for group in groups if group.rows for line in _table(group)]
    used = {flag for group in groups for row in group.rows for flag in row.flags}
    tables += [rf"\noindent\texttt{{{latex(flag)}}}: {latex(LEGEND[flag])}.\\" for flag in sorted(used)]
    lines += tables or ["No cell is done yet.", ""]
    return "\n".join([*lines, r"\end{document}", ""])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _table(group: Group) -> list[str]:
    return [
        r"\fontsize{6.2}{7.6}\selectfont",
        r"\begin{longtable}{llrrrrrrrlrrp{1.9cm}}",
        rf"\caption{{Worst case over all attacks: {latex(group.title)}. Arrows point to more leakage; "
        r"* marks Pareto-optimal rows; brackets are 95 \% intervals, for accuracy the range over seeds.}\\",
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
        return [*head, *["n/a"] * 5, "--", "0", latex(row.coverage.text), _notes(row)]
    scores = [latex(score(metric, row.worst.scores[metric])) for metric in _WORST]
    leak, images = latex(interval(row.normalised, 2)), str(row.worst.scores["psnr"].n_images)
    return [*head, *scores, leak, latex(row.worst.strongest), images, latex(row.coverage.text), _notes(row)]


def _notes(row: Row) -> str:
    """Badge and flags, which may break between words."""
    return latex(" ".join([row.badge, *row.flags]))
