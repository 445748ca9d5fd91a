"""The verdict as a Markdown and an HTML page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from bench.audit.verdict import MEANING as MEANINGS
from bench.audit.verdict import Judged, headline
from bench.check.findings import Checklist
from bench.report.evidence import by_setting, caveat
from bench.report.figures import slug
from bench.report.files import replace_file
from bench.report.recovered import HEAD as RECOVERED
from bench.report.recovered import MEANING, with_undefended
from bench.report.statistics import Interval
from bench.report.text import markdown
from bench.report.visible import Grade, grade

HEAD = ("setting", "strength", "verdict", "worst case", RECOVERED, "less than undefended by", "accuracy",
        "loss, points", "strongest attack", "flags")  # fmt: skip
_TEMPLATE = Path(__file__).with_name("verdict.html.j2")
_NOTE = (
    "The worst case takes, image by image, the best reconstruction over all attacks of the suite, naive and "
    "adaptive; differences are paired on the same images; brackets are 95 % intervals. An audit shows what "
    f"these attacks can do: a stronger one may come. {MEANING} All numbers are in leaderboard.md beside this "
    "page."
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is known about one defense.

    Attributes:
        name: of the defense.
        checklist: its contract.
        judged: every strength in every setting.
    """

    name: str
    checklist: Checklist
    judged: tuple[Judged, ...]

    @property
    def headline(self) -> str:
        """The verdict in a sentence; a broken contract comes first."""
        if not self.checklist.sound:
            return f"{self.name} breaks its contract, so its numbers mean nothing yet."
        return headline(self.judged, self.name)

    @property
    def warning(self) -> str:
        """That the numbers are no evidence, where too few releases stand behind them; else empty."""
        return caveat(by_setting({item.group.title: item.group for item in self.judged}.values()))


def write(audit: Audit, directory: Path) -> tuple[Path, Path]:
    """Writes ``verdict.md`` and ``verdict.html`` beside the leaderboard.

    Returns:
        Both paths.
    """
    paths = directory / "verdict.md", directory / "verdict.html"
    replace_file(paths[0], _markdown(audit).encode())
    replace_file(paths[1], _html(audit, directory).encode())
    return paths


def _promises(checklist: Checklist) -> str:
    tried = len(checklist.items)
    if checklist.sound:
        return f"bench check: none of {tried} promises is broken."
    return f"bench check: {len(checklist.broken)} of {tried} promises are broken."


def _rows(audit: Audit) -> list[list[str]]:
    return [
        [
            item.group.title,
            "–" if math.isnan(item.row.strength) else f"{item.row.strength:g}",
            _word(item),
            f"{_interval(item.leak)} {item.group.terms.name(item.group.rank)}" if item.leak else "n/a",
            with_undefended(item.row.worst, item.group),
            _gain(item),
            f"{item.row.utility.mean:.1%}",
            "n/a" if math.isnan(item.row.loss.mean) else f"{item.row.loss.mean:.1f}",
            item.row.worst.strongest if item.row.worst else "n/a",
            " ".join(item.row.flags),
        ]
        for item in audit.judged
    ]


def _word(item: Judged) -> str:
    """The verdict, with what explains or limits it in brackets."""
    beside = [*item.reasons, *item.remarks]
    return item.word.value + (f" ({'; '.join(beside)})" if beside else "")


def _gain(item: Judged) -> str:
    if item.gain is None:
        return "n/a"
    found = grade(item.gain, item.group.smallest_visible)
    return _interval(item.gain) + (f" {found.value}" if found is Grade.NEGLIGIBLE else "")


def _interval(value: Interval | None) -> str:
    if value is None or math.isnan(value.mean):
        return "n/a"
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _markdown(audit: Audit) -> str:
    rows = [[markdown(cell) for cell in row] for row in _rows(audit)]
    lines = [f"# Audit of {markdown(audit.name)}", "", f"**{markdown(audit.headline)}**", ""]
    lines += [f"**{markdown(audit.warning)}**", ""] if audit.warning else []
    lines += [markdown(_promises(audit.checklist)), ""]
    lines += [f"- **{item.promise}**: {markdown(item.message)}" for item in audit.checklist.broken]
    lines += ["", *(f"| {' | '.join(cells)} |" for cells in [HEAD, ["---"] * len(HEAD), *rows]), ""]
    lines += [f"- **{word.value}**: {markdown(meaning)}." for word, meaning in MEANINGS.items()]
    return "\n".join([*lines, "", markdown(_NOTE), ""])


def _html(audit: Audit, directory: Path) -> str:
    sources = {item.group.title: f"figures/worst-{slug(item.group)}.png" for item in audit.judged}
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
            rows=[(item.word.style, row) for item, row in zip(audit.judged, _rows(audit), strict=True)],
            words=[(word.value, meaning) for word, meaning in MEANINGS.items()],
            note=_NOTE,
            pictures=[(title, source) for title, source in sources.items() if (directory / source).is_file()],
        )
    )
