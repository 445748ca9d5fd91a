"""Fills the page's template."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.channels.shared.terms import NEAREST_PRIVATE
from bench.report.analysis.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Row
from bench.report.analysis.flags import legend
from bench.report.analysis.generators import HEAD, digits, note, priors
from bench.report.analysis.reproduce import Commands
from bench.report.analysis.verdict import INTERVAL, Word
from bench.report.analysis.verdict import MEANING as WORDS
from bench.report.badges import MEANING
from bench.report.figures.figures import slug
from bench.report.findings.answers import answer, sentence
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import (
    BOUND,
    DROP,
    IDENTIFIABLE,
    UNION,
    again,
    bounded,
    count,
    identifiable,
    meaning,
    percents,
    recovered,
)
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.flatten import QUALITY
from bench.report.page.album import Album
from bench.report.page.drawers import Drawers
from bench.report.page.view import Source, View
from bench.report.statistics import Interval
from bench.report.text import bounds, number, parts, percent, spread, upper
from bench.report.writers.claims_page import MEANING as CLAIMS_MEANING
from bench.report.writers.claims_page import counts as claims_counts
from bench.report.writers.claims_page import headline, sections
from bench.report.writers.markdown_group import OF_ATTACKS, counts, failures
from bench.report.writers.protocol import caption

_TEMPLATES = Path(__file__).parent / "templates"


def render(source: Source) -> str:
    """The whole page; the same source gives the same text."""
    cells = source.results.cells
    album = Album(source.directory / "sheets")
    commands = Commands(source.results)
    drawers = Drawers(cells, source.cards, album, commands)
    for group, row, entry in _entries(source.groups):
        drawers.add(group, row, entry)
    view = View(source, album, drawers, commands)
    flags = legend(source.groups)
    style, script = (_read(name) for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("index.html.jinja")
        .render(
            view=view,
            groups=source.groups,
            limits=LIMITS,
            style=style,
            script=script,
            policy=_policy(script),
            caption=caption(source.results, source.groups),
            warning=caveat(by_setting(source.groups)),
            results={limit: sentence(source.groups, limit) for limit in LIMITS},
            words_mean=[(word, WORDS[word]) for word in Word],
            interval_note=INTERVAL,
            heads_of={"recovered": RECOVERED, "drop": DROP, "union": UNION, "identifiable": IDENTIFIABLE},
            recovered_meaning=meaning(source.groups),
            bound_note=BOUND,
            bounded=any(bounded(group) for group in source.groups),
            problems=source.results.problems,
            claims=sections(source.judged),
            claims_headline=headline(source.judged),
            claims_meaning=CLAIMS_MEANING,
            claims_counts=claims_counts(source.judged),
            changes=source.changes,
            flags=flags,
            badges=MEANING,
            reference=HYPERVOLUME_LIMIT,
            near=NEAREST_PRIVATE,
            priors=(found := priors(source.results.cells)),
            prior_head=HEAD,
            prior_note=note(found),
            of_attacks=OF_ATTACKS,
            quality=QUALITY,
            data=_embedded(drawers.data(flags, MEANING, source.judged)),
        )
    )


def _entries(groups: Iterable[Group]) -> Iterable[tuple[Group, Row, AttackEntry]]:
    return ((group, row, entry) for group in groups for row in group.rows for entry in row.attacks)


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
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


def _embedded(data: object) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@cache  # which keeps its compiled templates
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent, "slug": slug, "failures": failures}
    environment.filters |= {"counts": counts, "count": count, "raw": _raw, "breaks": _breaks}
    environment.filters["capitalise"] = lambda text: text[0].upper() + text[1:]
    environment.globals |= {
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
    return environment


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
