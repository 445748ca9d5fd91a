"""The leaderboard as a LaTeX document that compiles on its own: one booktabs longtable per group."""

from __future__ import annotations

from bench.report.analysis.entries import LIMITS, NO_SCORES, Group, Row
from bench.report.analysis.flags import legend
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import DROP, percent, recovered
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.frames import Results
from bench.report.text import MISSING, interval, latex, loss, score, spread, strength
from bench.report.writers.markdown_group import failed
from bench.report.writers.protocol import caption
from bench.report.writers.table import latex_lines

_LONG = 20
"""Characters of a head that is broken into lines, in a narrow column."""
_NARROW = r">{\raggedleft\arraybackslash}p{1.6cm}"
_LEFT = {"defense", "strength", "verdict", "strongest attack", *(f"rank ≤ {limit:g}" for limit in LIMITS)}
_NOTE = (
    r"Arrows point to more leakage; * marks Pareto-optimal rows; brackets are 95 \% intervals, for accuracy "
    "the range over seeds; ranks are within each limit of accuracy loss, in points, and rows that share a "
    "letter cannot be told apart; failures are cells that gave no result; flags are those of the row and of "
    "its strongest attack."
)
_PREAMBLE = r"""\documentclass[a4paper,10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[landscape,margin=0.8cm]{geometry}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage{array}
\setlength{\tabcolsep}{2pt}
\begin{document}
\section*{Leaderboard}"""


def render(results: Results, groups: tuple[Group, ...]) -> str:
    """The whole document."""
    warning = caveat(by_setting(groups))
    lines = [_PREAMBLE, *([rf"\textbf{{{latex(warning)}}}", ""] if warning else [])]
    lines += [*map(latex, caption(results, groups)), ""]
    tables = [line for group in groups if group.rows for line in _table(group)]
    used = {flag for group in groups for row in group.rows for flag in row.headline}
    words = legend(groups)
    tables += [rf"\noindent\texttt{{{latex(flag)}}}: {latex(words[flag])}.\\" for flag in sorted(used)]
    return "\n".join([*lines, *(tables or ["No cell is done yet.", ""]), r"\end{document}", ""])


def _table(group: Group) -> list[str]:
    records, title = [_row(group, row) for row in group.rows], latex(group.title)
    head, *rows = latex_lines([map(_head, records[0]), *(map(latex, record.values()) for record in records)])
    heading = [r"\toprule", head, r"\midrule"]
    columns = ("l" if name in _LEFT else "r" if len(name) < _LONG else _NARROW for name in [*records[0]][:-1])
    return [
        r"\fontsize{5.6}{6.9}\selectfont",
        rf"\begin{{longtable}}{{{''.join(columns)}p{{1.9cm}}}}",
        rf"\caption{{{latex(group.headline.capitalize())}: {title}. {latex(group.terms.caption)} {_NOTE}}}\\",
        *heading,
        r"\endfirsthead",
        rf"\caption[]{{{title}, continued.}}\\",
        *heading,
        r"\endhead",
        r"\midrule",
        rf"\multicolumn{{{len(records[0])}}}{{r}}{{continued on the next page}}\\",
        r"\endfoot",
        r"\bottomrule",
        r"\endlastfoot",
        *rows,
        r"\end{longtable}",
        "",
    ]


def _head(title: str) -> str:
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    return " ".join(arrows.get(word) or latex(word) for word in (title[0].upper() + title[1:]).split())


def _row(group: Group, row: Row) -> dict[str, str]:
    """Ranks are dashes where another strength stands for the defense."""
    scores = row.worst.scores if row.worst else NO_SCORES
    drop = "–" if row.baseline else percent(row.verdict.drop)
    places = {limit: {place.row.number: place.standing for place in group.places[limit]} for limit in LIMITS}
    ranks = {limit: places[limit].get(row.number) for limit in LIMITS}
    strongest = row.strongest.name if row.strongest else ""
    return {
        "defense": row.defense + ("*" if row.pareto else ""),
        "strength": strength(row.strength),
        "accuracy %": " ".join(spread(row.utility.scaled(100))).strip(),
        "loss, points": loss(row.loss),
        "verdict": row.verdict.word.value if row.verdict.word else "–",
        RECOVERED: recovered(row, group) if row.worst else MISSING,
        DROP: drop if row.worst else MISSING,
        **{group.terms.heads[name]: score(name, scores[name]) for name in group.terms.worst},
        "normalised": interval(row.normalised, 2),
        **{f"rank ≤ {limit:g}": f"{at.rank} ({at.letters})" if at else "–" for limit, at in ranks.items()},
        "strongest attack": strongest if row.worst else "–",
        "images": str(scores["psnr"].n_images),
        "cells": row.coverage.text,
        "failures": str(sum(map(failed, row.attacks))),
        "notes": " ".join([row.badge, *row.headline]),
    }
