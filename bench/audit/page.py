"""The verdict as a Markdown and an HTML page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from bench.audit.verdict import AuditRow, headline
from bench.check.findings import Checklist
from bench.records.files import write_atomic
from bench.report.analysis.verdict import INTERVAL
from bench.report.analysis.verdict import MEANING as WORDS
from bench.report.figures.figures import slug
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import DROP, meaning, percent, share
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.text import loss, markdown, strength
from bench.report.text import percent as accuracy

HEAD = ("setting", "strength", "verdict", "undefended accuracy %", "accuracy %", "loss, points (upper limit)",
        RECOVERED, "undefended", DROP, "strongest attack", "releases x seeds", "flags")  # fmt: skip
_TEMPLATE = Path(__file__).with_name("verdict.html.j2")
_NOTE = (
    "Drops are paired on the same images. An attack that ends below the floor says nothing of the defense, "
    "and never counts as hidden. An audit shows what these attacks can do: a stronger one may come. All "
    "numbers are in leaderboard.md beside this page."
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is known about one defense.

    Attributes:
        name: of the defense.
        checklist: its contract.
        rows: every strength in every setting.
        origin: where the numbers come from, see :func:`origin`.
    """

    name: str
    checklist: Checklist
    rows: tuple[AuditRow, ...]
    origin: str = ""

    @property
    def headline(self) -> str:
        """The verdict in a sentence; a broken contract comes first."""
        if not self.checklist.sound:
            return f"{self.name} breaks its contract, so its numbers mean nothing yet."
        return headline(self.rows, self.name)

    @property
    def warning(self) -> str:
        """That the numbers are no evidence, where too few releases stand behind them; else empty."""
        return caveat(by_setting({item.group.title: item.group for item in self.rows}.values()))

    @property
    def note(self) -> str:
        """What the columns mean."""
        return f"{meaning(item.group for item in self.rows)} {INTERVAL} {_NOTE}".strip()


def origin(matrix: str, cells: pd.DataFrame) -> str:
    """By which matrix, with which code and when the records were made, in a sentence.

    Args:
        matrix: name and version.
        cells: one row per record, with ``commit``, ``dirty`` and ``finished``.
    """
    known = cells[cells["commit"] != ""]
    changed = known["dirty"].str.lower().isin(["true", "1"]).map({True: " with local changes", False: ""})
    commits = ", ".join(sorted(set(known["commit"].str[:10] + changed))) or "unknown"
    days = sorted({finished[:10] for finished in cells["finished"] if finished})
    when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "an unknown date"
    return f"Matrix {matrix}; commit {commits}; {len(cells):,} record{'s' * (len(cells) != 1)} of {when}."


def write(audit: Audit, directory: Path) -> tuple[Path, Path]:
    """Writes ``verdict.md`` and ``verdict.html`` beside the leaderboard.

    Returns:
        Both paths.
    """
    paths = directory / "verdict.md", directory / "verdict.html"
    write_atomic(paths[0], _markdown(audit).encode())
    write_atomic(paths[1], _html(audit, directory).encode())
    return paths


def _promises(checklist: Checklist) -> str:
    tried = len(checklist.items)
    if checklist.sound:
        return f"bench check: none of {tried} promises is broken."
    return f"bench check: {len(checklist.broken)} of {tried} promises are broken."


def _cells(item: AuditRow) -> list[str]:
    """One line of the table, in the order of :data:`HEAD`."""
    row, group, base = item.row, item.group, item.group.baseline
    return [
        group.title,
        strength(row.strength),
        _verdict(item),
        accuracy(base.utility.mean if base else math.nan),
        accuracy(row.utility.mean),
        loss(row.loss),
        share(row, group),
        share(base, group) if base else "n/a",
        percent(row.verdict.drop),
        row.strongest.name if row.strongest else "n/a",
        _size(item),
        " ".join(row.headline),
    ]


def _verdict(item: AuditRow) -> str:
    """The word, with what explains or limits it in brackets."""
    beside = [*item.row.verdict.reasons, *item.row.verdict.remarks]
    return item.word.value + (f" ({'; '.join(beside)})" if beside else "")


def _size(item: AuditRow) -> str:
    """Releases of each seed x seeds behind the share of a row; on channel ``model`` its classes x seeds."""
    found = item.row.recovery
    if found is None:
        return "n/a"
    counts = found.images.groupby("seed")["cluster"].nunique()
    return f"{'/'.join(str(count) for count in sorted(set(counts)))} x {len(counts)}"


def _markdown(audit: Audit) -> str:
    rows = [[markdown(cell) for cell in _cells(item)] for item in audit.rows]
    lines = [f"# Audit of {markdown(audit.name)}", "", f"**{markdown(audit.headline)}**", ""]
    lines += [f"**{markdown(audit.warning)}**", ""] if audit.warning else []
    lines += [markdown(audit.origin), ""] if audit.origin else []
    lines += [markdown(_promises(audit.checklist)), ""]
    lines += [f"- **{item.promise}**: {markdown(item.message)}" for item in audit.checklist.broken]
    lines += ["", *(f"| {' | '.join(cells)} |" for cells in [HEAD, ["---"] * len(HEAD), *rows]), ""]
    lines += [f"- **{word.value}**: {markdown(text)}." for word, text in WORDS.items()]
    return "\n".join([*lines, "", markdown(audit.note), ""])


def _html(audit: Audit, directory: Path) -> str:
    sources = {item.group.title: f"figures/worst-{slug(item.group)}.png" for item in audit.rows}
    return (
        Environment(autoescape=True)
        .from_string(_TEMPLATE.read_text(encoding="utf-8"))
        .render(
            name=audit.name,
            headline=audit.headline,
            promises=_promises(audit.checklist),
            broken=audit.checklist.broken,
            head=HEAD,
            warning=audit.warning,
            origin=audit.origin,
            rows=[(item.word.style, _cells(item)) for item in audit.rows],
            words=[(word.value, text) for word, text in WORDS.items()],
            note=audit.note,
            pictures=[(title, source) for title, source in sources.items() if (directory / source).is_file()],
        )
    )
