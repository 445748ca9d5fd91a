"""The leaderboard as a LaTeX document that compiles on its own: one booktabs longtable per group."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.analysis.entries import LIMITS, Group, Row
from bench.report.analysis.flags import legend
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import DROP, MEANING, percent, recovered
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.frames import Results
from bench.report.text import interval, latex, loss, score, spread, strength
from bench.report.writers.markdown_group import failed
from bench.report.writers.protocol import caption

_FIRST = ["Defense", "Strength", r"Accuracy \%", "Loss, points", "Verdict"]
_RANKS = [rf"Rank $\leq$ {limit:g}" for limit in LIMITS]
_LAST = ["Normalised", *_RANKS, "Strongest attack", "Images", "Cells", "Failures", "Notes"]
_REST = f"r{'l' * len(LIMITS)}lrrrp{{1.9cm}}"
_NARROW = r">{\raggedleft\arraybackslash}p{1.6cm}"
_COLUMNS = "llrrlr" + _NARROW + "rrr" + _REST
_WIDE = "llrrlr" + 5 * _NARROW + _REST
"""On channel model, whose heads are long."""
_BY_CLASS = (
    "What is recovered is evaluator accuracy @1, net of the strongest control. "
    "LPIPS, SSIM and PSNR are those to the nearest private image of the attacked class. "
)
_PREAMBLE = [
    r"\documentclass[a4paper,10pt]{article}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage[utf8]{inputenc}",
    r"\usepackage{textcomp}",
    r"\usepackage[landscape,margin=0.8cm]{geometry}",
    r"\usepackage{booktabs}",
    r"\usepackage{longtable}",
    r"\usepackage{array}",
    r"\setlength{\tabcolsep}{2pt}",
]


def render(results: Results, groups: tuple[Group, ...]) -> str:
    """The whole document."""
    lines = [*_PREAMBLE, r"\begin{document}", r"\section*{Leaderboard}"]
    warning = caveat(by_setting(groups))
    lines += [rf"\textbf{{{latex(warning)}}}", ""] if warning else []
    lines += [*map(latex, caption(results, groups)), ""]
    tables = [line for group in groups if group.rows for line in _table(group)]
    used = {flag for group in groups for row in group.rows for flag in row.headline}
    words = legend(groups)
    tables += [rf"\noindent\texttt{{{latex(flag)}}}: {latex(words[flag])}.\\" for flag in sorted(used)]
    lines += tables or ["No cell is done yet.", ""]
    return "\n".join([*lines, r"\end{document}", ""])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(group: Group) -> list[str]:
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
    words = [[arrows.get(word) or latex(word) for word in head.split()] for head in _heads(group)]
    return [*_FIRST, *(" ".join([text[0][0].upper() + text[0][1:], *text[1:]]) for text in words), *_LAST]


def _heads(group: Group) -> list[str]:
    names = group.terms
    return [RECOVERED, DROP, *(names.heads[name] for name in names.worst)]


def _table(group: Group) -> list[str]:
    classes = group.terms.by_class
    return [
        r"\fontsize{5.6}{6.9}\selectfont",
        rf"\begin{{longtable}}{{{_WIDE if classes else _COLUMNS}}}",
        rf"\caption{{{latex(group.headline.capitalize())}: {latex(group.title)}. "
        rf"{_BY_CLASS if classes else latex(MEANING) + ' '}Arrows point to more leakage; "
        r"* marks Pareto-optimal rows; brackets are 95 \% intervals, for accuracy the range over "
        r"seeds; ranks are within each limit of accuracy loss, in points, and rows that share a letter "
        r"cannot be told apart; failures are cells that gave no result; flags are those of the row and of "
        r"its strongest attack.}\\",
        *_heading(group),
        r"\endfirsthead",
        rf"\caption[]{{{latex(group.title)}, continued.}}\\",
        *_heading(group),
        r"\endhead",
        r"\midrule",
        rf"\multicolumn{{{len(_head(group))}}}{{r}}{{continued on the next page}}\\",
        r"\endfoot",
        r"\bottomrule",
        r"\endlastfoot",
        *(_line(_row(group, row)) for row in group.rows),
        r"\end{longtable}",
        "",
    ]


def _heading(group: Group) -> list[str]:
    return [r"\toprule", _line(_head(group)), r"\midrule"]


def _row(group: Group, row: Row) -> list[str]:
    accuracy = " ".join(spread(row.utility.scaled(100))).strip()
    name = latex(row.defense) + ("*" if row.pareto else "")
    head = [name, latex(strength(row.strength)), latex(accuracy), latex(loss(row.loss))]
    head.append(latex(row.verdict.word.value if row.verdict.word else "–"))
    cells = [latex(row.coverage.text), str(sum(map(failed, row.attacks))), _notes(row)]
    if row.worst is None:
        missing = ["n/a"] * (len(_heads(group)) + 1)
        return [*head, *missing, *_ranks(group, row), "--", "0", *cells]
    counts = [recovered(row, group), "–" if row.baseline else percent(row.verdict.drop)]
    scores = [*counts, *(score(metric, row.worst.scores[metric]) for metric in group.terms.worst)]
    leak, images = interval(row.normalised, 2), str(row.worst.scores["psnr"].n_images)
    by = row.strongest.name if row.strongest else ""
    return [*head, *map(latex, scores), latex(leak), *_ranks(group, row), latex(by), images, *cells]


def _ranks(group: Group, row: Row) -> list[str]:
    """Rank and tie groups within each limit; dashes where another strength stands for the defense."""
    places = ({place.row.number: place.standing for place in group.places[limit]} for limit in LIMITS)
    found = [standings.get(row.number) for standings in places]
    return [latex(f"{item.rank} ({item.letters})") if item else "--" for item in found]


def _notes(row: Row) -> str:
    """Badge and flags, which may break between words."""
    return latex(" ".join([row.badge, *row.headline]))
