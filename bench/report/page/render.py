"""Fills the page's template."""

from __future__ import annotations

import json
from collections.abc import Iterable

from bench.channels.shared.terms import NEAREST_PRIVATE
from bench.report.analysis.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Row
from bench.report.analysis.flags import legend
from bench.report.analysis.generators import HEAD, note, priors
from bench.report.analysis.reproduce import Commands
from bench.report.analysis.verdict import INTERVAL, Word
from bench.report.analysis.verdict import MEANING as WORDS
from bench.report.badges import MEANING
from bench.report.findings.answers import sentence
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import BOUND, DROP, IDENTIFIABLE, UNION, bounded, meaning
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.flatten import QUALITY
from bench.report.page.album import Album
from bench.report.page.chart import FIRST, chart
from bench.report.page.drawers import Drawers
from bench.report.page.environment import environment, policy, read
from bench.report.page.view import Source, View
from bench.report.writers.claims_page import MEANING as CLAIMS_MEANING
from bench.report.writers.claims_page import counts as claims_counts
from bench.report.writers.claims_page import headline, sections
from bench.report.writers.markdown_group import OF_ATTACKS
from bench.report.writers.protocol import caption


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
    style, script = (read(name) for name in ("page.css", "page.js"))
    return (
        environment()
        .get_template("index.html.jinja")
        .render(
            view=view,
            groups=source.groups,
            limits=LIMITS,
            style=style,
            script=script,
            policy=policy(script),
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
            data=_embedded(
                {
                    **drawers.data(flags, MEANING, source.judged),
                    "charts": {group.key: drawn for group in source.groups if (drawn := chart(group))},
                    "first": FIRST,
                }
            ),
        )
    )


def _entries(groups: Iterable[Group]) -> Iterable[tuple[Group, Row, AttackEntry]]:
    return ((group, row, entry) for group in groups for row in group.rows for entry in row.attacks)


def _embedded(data: object) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
