"""What every page is made with: templates, escaping, and a policy that lets it load nothing."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.report.analysis.generators import digits
from bench.report.figures.figures import slug
from bench.report.findings.answers import answer
from bench.report.findings.recovered import again, count, identifiable, percents, recovered
from bench.report.statistics import Interval
from bench.report.text import bounds, brief, number, parts, percent, spread, upper
from bench.report.writers.markdown_group import counts, failures

TEMPLATES = Path(__file__).parent / "templates"


def read(name: str, folder: Path = TEMPLATES) -> str:
    """A style sheet or a script."""
    return (folder / name).read_text(encoding="utf-8")


def policy(script: str) -> str:
    """Nothing may be loaded, and only this very script may run; style attributes carry numbers."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    rules = [
        "default-src 'none'",
        f"script-src 'sha256-{digest}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


@cache  # which keeps its compiled templates
def environment(*more: Path) -> jinja2.Environment:
    """Reads templates of the page, and of other folders.

    Args:
        more: looked into first.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*more, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"number": number, "percent": percent, "slug": slug, "failures": failures}
    made.filters |= {"counts": counts, "count": count, "raw": _raw, "breaks": _breaks, "brief": brief}
    made.filters["capitalise"] = lambda text: text[0].upper() + text[1:]
    made.globals |= {
        "answer": answer,
        "interval": parts,
        "recovered": recovered,
        "percents": percents,
        "again": again,
        "identifiable": identifiable,
        "upper": upper,
        "plain": _plain,
        "spread": spread,
        "isnan": math.isnan,
        "quality_of": digits,
    }
    return made


def _plain(value: Interval, digits: int) -> tuple[str, str]:
    """Mean and bounds of a number without a unit, apart."""
    if math.isnan(value.mean):
        return number(value.mean, digits), ""
    return number(value.mean, digits), bounds(value.low, value.high, digits)


def _breaks(text: str, tight: bool = True) -> Markup:
    """Untrusted text that may break after the signs inside long labels; ``tight`` keeps a strength whole."""
    glue = "\N{NO-BREAK SPACE}"
    text = text.replace(" = ", f"{glue}={glue}") if tight else text
    return Markup(re.sub(rf"([/\[=,_](?![ {glue}]))", r"\1<wbr>", str(escape(text))))


def _raw(value: float) -> str:
    """For sorting: six decimals, empty for what is missing."""
    return "" if math.isnan(value) else f"{value + 0.0:.6f}"
