"""Numbers and foreign text, ready to print."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import replace

from bench.report.statistics import Interval

MISSING = "n/a"


def clean(text: object) -> str:
    """One line without control characters: reasons and labels come from plug-ins and exceptions."""
    words = " ".join(str(text).split())
    return "".join(c for c in words if unicodedata.category(c)[0] != "C")


def shorten(text: str, limit: int = 100) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_MARKDOWN = re.compile(r"([\\`*_\[\]|~#!$])")


def markdown(text: object) -> str:
    """Escapes foreign text for a Markdown table cell: it cannot become markup, a link or another column."""
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
    """Escapes foreign text for LaTeX; what pdfLaTeX may not know loses its accent or becomes ?."""
    return "".join(_LATEX.get(char) or _ascii(char) for char in clean(text))


def _ascii(char: str) -> str:
    if char.isascii():
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in plain) or "?"


def number(value: float, digits: int) -> str:
    """A fixed number of decimals; ``n/a`` for NaN, no negative zero."""
    if math.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
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


_DIGITS = {"psnr": (1.0, 1), "ssim": (1.0, 3), "lpips": (1.0, 3)}


def score(metric: str, value: Interval) -> str:
    """``mean [low, high]`` in the unit of the metric: dB, a plain number, or per cent."""
    scale, digits = _DIGITS.get(metric, (100.0, 0))
    scaled = replace(value, mean=scale * value.mean, low=scale * value.low, high=scale * value.high)
    return interval(scaled, digits)


def strength(value: float) -> str:
    """A defense's strength, or a dash for a defense without."""
    return "–" if math.isnan(value) else f"{value:g}"


def percent(value: float, digits: int = 1) -> str:
    """A fraction as per cent, without the sign."""
    return number(100 * value, digits)
