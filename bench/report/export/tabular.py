r"""A booktabs tabular of a setting, to be ``\input`` into a float of a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from bench.api.errors import UsageError
from bench.report.analysis.verdict import MEANING
from bench.report.export.choice import POINTS, SIZES, Setting
from bench.report.export.columns import DEFAULT, LEFT, SPARED, UNITS, cell, head
from bench.report.export.references import Reference
from bench.report.text import latex
from bench.report.writers.table import latex_lines

_GAP = 6 / 72
"""Inches between two columns."""
_SMALL_LETTERS = 1.0625
"""Computer Modern at 8 pt is that much wider than its design for 10 pt made smaller."""
_ABSENT = str.maketrans({"_": "o", "≤": "+", "–": "--", "<": "+", ">": "+", "|": "l", "·": "."})
"""What stands for the signs that ``cmr10`` does not have, none of them wider."""


def tabulars(
    setting: Setting,
    columns: Sequence[str],
    papers: Mapping[str, Reference],
    *,
    sizes: Iterable[str] = SIZES,
) -> dict[str, str]:
    """The text of each size that the columns fit into.

    Args:
        setting: with its rows.
        columns: chosen ones; none for those that suit each size.
        papers: by name of the plug-in, for the citations in the comment above the table.
        sizes: of :data:`~bench.report.export.choice.SIZES`.

    Raises:
        UsageError: they fit into none.
    """
    found = {}
    for size in sizes:
        keys = columns or _suitable(setting, size)
        width = _inches(_cells(setting, keys))
        if width <= SIZES[size]:
            found[size] = "\n".join(_lines(setting, keys, width, papers))
    if not found:
        raise UsageError(
            f"{setting.name}: the columns {', '.join(keys)} take {width:.2f} in of {SIZES[size]:g} in; "
            "choose fewer of them, or rows with shorter names"
        )
    return found


def _suitable(setting: Setting, size: str) -> Sequence[str]:
    keys: Sequence[str] = DEFAULT[size]
    spared = [key for key in SPARED if key in keys]
    while spared and _inches(_cells(setting, keys)) > SIZES[size]:
        last = spared.pop()
        keys = [key for key in keys if key != last]
    return keys


def _cells(setting: Setting, keys: Sequence[str]) -> list[list[str]]:
    """Head and rows as plain text."""
    heads = [head(key, setting.group) for key in keys]
    return [heads, *([cell(key, row, setting.group) for key in keys] for row in setting.rows)]


def _inches(cells: Sequence[Sequence[str]]) -> float:
    """The width of a table in Computer Modern, which is wider than Times."""
    widths = (max(sum(map(_letter, text)) for text in column) for column in zip(*cells, strict=True))
    return sum(widths) / 72 + _GAP * (len(cells[0]) - 1)


@cache
def _letter(char: str) -> float:
    font = FontProperties(family="cmr10", size=POINTS * _SMALL_LETTERS)
    drawn = char.translate(_ABSENT)
    if not drawn.isascii():
        return float(POINTS)
    return float(TextToPath().get_text_width_height_descent(drawn, font, ismath=False)[0])


def _lines(setting: Setting, keys: Sequence[str], width: float, papers: Mapping[str, Reference]) -> list[str]:
    texts = [[_latex(text) for text in row] for row in _cells(setting, keys)]
    heading, *rows = latex_lines(texts)
    body = [rows[0]]
    for before, row, line in zip(setting.rows, setting.rows[1:], rows[1:], strict=False):
        if before.defense != row.defense:
            body.append(r"\midrule" if before.baseline else r"\addlinespace")
        body.append(line)
    return [
        *(f"% {line}" for line in _comment(setting, width, papers)),
        rf"\begingroup\fontsize{{{POINTS}}}{{{1.2 * POINTS:g}}}\selectfont",
        rf"\setlength{{\tabcolsep}}{{{36 * _GAP:g}pt}}%",
        rf"\begin{{tabular}}{{@{{}}{''.join('l' if key in LEFT else 'r' for key in keys)}@{{}}}}",
        r"\toprule",
        heading,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}%",
        r"\endgroup",
        "",
    ]


def _latex(text: str) -> str:
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", latex(text))


def _comment(setting: Setting, width: float, papers: Mapping[str, Reference]) -> list[str]:
    """What a caption should say, and whom it should cite."""
    group = setting.group
    words = dict.fromkeys(row.verdict.word for row in setting.rows if row.verdict.word)
    lines = [
        f"{group.title}; {width:.2f} in wide at {POINTS} pt; needs the package booktabs",
        f"{group.headline}. {group.terms.caption} {UNITS}",
        *(f"{word.value}: {MEANING[word]}." for word in words),
    ]
    lines = [_latex(line) for line in lines]
    for kind, names in (("attacks", attacks([setting])), ("defenses", defenses([setting]))):
        cited = (
            rf"{latex(name)}~\cite{{{papers[name].key}}}" if name in papers else latex(name) for name in names
        )
        lines.append(f"{kind}: {', '.join(cited)}")
    return lines


def attacks(settings: Sequence[Setting]) -> list[str]:
    """Names of the attacks that the rows met, without blind guesses."""
    entries = (entry for one in settings for row in one.rows for entry in row.attacks)
    return sorted({_name(entry.attack) for entry in entries if entry.done and not entry.floor})


def defenses(settings: Sequence[Setting]) -> list[str]:
    """Names of the defenses of the rows."""
    return sorted({_name(row.defense) for one in settings for row in one.rows})


def _name(label: str) -> str:
    """A plug-in without its parameters and preset."""
    return re.split(r"[\[@]", label)[0]
