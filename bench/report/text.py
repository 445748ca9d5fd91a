"""Numbers and untrusted text, ready to print."""

from __future__ import annotations

import math
import re
import unicodedata

from bench.report.statistics import Interval
from bench.report.tallies import Spread
from bench.report.visible import NEGLIGIBLE, negligible
from bench.text import clean

MISSING = "n/a"


def shorten(text: str, limit: int = 100) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_LONG = re.compile(r"\[[^\]]{40,}\]")


def brief(text: str) -> str:
    """A label without parameters that are too long for a figure or an overview; tables have them."""
    return _LONG.sub("[…]", text)


_MARKDOWN = re.compile(r"([\\`*_\[\]|~#!$])")


def markdown(text: object) -> str:
    """Escapes untrusted text for a Markdown table cell: it cannot become markup, a link or another column."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _MARKDOWN.sub(r"\\\1", safe)
    return safe.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\dots{}", "·": r"$\cdot$", "≤": r"$\leq$", "–": "--",
    "[": "{[}", "]": "{]}", '"': "''", "`": r"\textasciigrave{}",
}  # fmt: skip


def latex(text: object) -> str:
    """Escapes untrusted text for LaTeX; what pdfLaTeX may not know loses its accent or becomes ?."""
    return "".join(_LATEX.get(char) or _ascii(char) for char in clean(text))


def _ascii(char: str) -> str:
    if char.isascii():
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in plain) or "?"


def number(value: float, digits: int) -> str:
    """A fixed number of decimals; ``n/a`` for NaN, no negative zero.

    Shares of few images often lie halfway between two numbers: the ninth decimal decides, so that whoever
    sums in another order prints the same.
    """
    if math.isnan(value):
        return MISSING
    text = f"{round(value, 9):.{digits}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def bounds(low: float, high: float, digits: int) -> str:
    """``[low, high]``."""
    if math.isnan(low) or math.isnan(high):
        return f"[{MISSING}]"
    return f"[{number(low, digits)}, {number(high, digits)}]"


def interval(value: Interval, digits: int) -> str:
    """``mean [low, high]`` of a plain number."""
    if math.isnan(value.mean):
        return MISSING
    return f"{number(value.mean, digits)} {bounds(value.low, value.high, digits)}"


def spread(value: Spread, digits: int = 1) -> tuple[str, str]:
    """Mean and range of the seeds, apart; one seed has no range."""
    if not value.seeds:
        return MISSING, ""
    ends = (value.low, value.high) if value.seeds > 1 else (math.nan, math.nan)
    return number(value.mean, digits), bounds(*ends, digits)


def upper(value: Spread, digits: int = 1) -> tuple[str, str]:
    """Mean and upper limit, apart; one seed has no limit."""
    if not value.seeds:
        return MISSING, ""
    return number(value.mean, digits), f"(≤ {number(value.upper, digits)})"


def loss(value: Spread) -> str:
    """Points of accuracy lost, with the upper limit."""
    return " ".join(upper(value)).strip()


DIGITS = {
    "psnr": (1.0, 1), "ssim": (1.0, 3), "lpips": (1.0, 3),
    "feature_distance": (1.0, 2), "diversity": (1.0, 2),
}  # fmt: skip
"""Scale and decimals of a metric; any other is a rate, in whole per cent."""


def parts(metric: str, value: Interval, more: int = 0) -> tuple[str, str]:
    """Mean and bounds, apart, in the unit of the metric: dB, a plain number, or per cent.

    Args:
        metric: its code.
        value: its mean and bounds.
        more: decimals beyond the usual ones.
    """
    scale, digits = DIGITS.get(metric, (100.0, 0))
    if math.isnan(value.mean):
        return MISSING, ""
    ends = bounds(scale * value.low, scale * value.high, digits + more)
    return number(scale * value.mean, digits + more), ends


def mean(metric: str, value: float) -> str:
    """A mean without an interval in the unit of the metric."""
    scale, digits = DIGITS.get(metric, (100.0, 0))
    return number(scale * value, digits)


def score(metric: str, value: Interval) -> str:
    """``mean [low, high]`` in the unit of the metric."""
    return " ".join(parts(metric, value)).strip()


_MOST = 6
"""Decimals beyond the usual ones that a difference may take."""


def difference(metric: str, value: Interval) -> str:
    """``mean [low, high]`` of a paired difference.

    It has as many decimals as show that a certain one is not zero.
    """
    scale, digits = DIGITS.get(metric, (100.0, 0))
    near = scale * (value.low if value.low > 0 else -value.high if value.high < 0 else math.inf)
    more = next((n for n in range(_MOST) if float(number(near, digits + n)) > 0), _MOST)
    return " ".join(parts(metric, value, more)).strip()


def advantage(metric: str, value: Interval | None, visible: float) -> str:
    """A paired difference for a Markdown table, with a word where it is certain and cannot be seen.

    Args:
        metric: its code.
        value: the difference, if there is one.
        visible: the smallest difference that is not negligible; NaN if that is not known.
    """
    if value is None:
        return "–"
    text = difference(metric, value)
    return f"{text} {NEGLIGIBLE}" if negligible(value, visible) else text


def strength(value: float) -> str:
    """A defense's strength, or a dash for a defense without."""
    return "–" if math.isnan(value) else f"{value:g}"


def percent(value: float, digits: int = 1) -> str:
    """A fraction as per cent, without the sign."""
    return number(100 * value, digits)
