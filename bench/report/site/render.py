"""Fills the site's template."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.report.analysis.entries import LIMITS
from bench.report.analysis.verdict import Word
from bench.report.badges import MEANING as BADGES
from bench.report.findings.answers import points
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import bounded
from bench.report.page.environment import environment, policy, read
from bench.report.site.collect import Site, plugin
from bench.report.site.glossary import flags, glossary
from bench.report.statistics import Interval
from bench.report.writers.claims_page import MEANING as CLAIMS
from bench.report.writers.claims_page import counts, headline, sections

_TEMPLATES = Path(__file__).parent / "templates"


def render(site: Site) -> str:
    """The whole page; the same folders give the same text."""
    groups = tuple(item.group for item in site.settings)
    style = read("page.css") + read("site.css", _TEMPLATES)
    script = read("site.js", _TEMPLATES)
    template = environment(_TEMPLATES).get_template("site.html.jinja")
    return template.render(
        site=site,
        style=style,
        script=script,
        policy=policy(script),
        warning=caveat(by_setting(groups)),
        problems=[f"{folder.name}: {text}" for folder in site.folders for text in folder.results.problems],
        glossary=glossary(groups),
        flags=flags(groups),
        badges=BADGES,
        words=[*Word],
        tally=Counter(item.answer.word for item in site.answers),
        limit=points(LIMITS[0]),
        bounded=any(map(bounded, groups)),
        plugin=plugin,
        width=_width,
        claims=sections(site.judged),
        claims_headline=headline(site.judged),
        claims_meaning=CLAIMS,
        claims_counts=counts(site.judged),
    )


def _width(value: float | Interval) -> str:
    """A share on the scale of a bar, 0 to 100, or an interval; what is missing is 0."""
    if isinstance(value, Interval):
        return ";".join(f"--{name[0]}:{_width(getattr(value, name))}" for name in ("mean", "low", "high"))
    return f"{100 * min(max(value, 0.0), 1.0):.1f}" if value == value else "0"
