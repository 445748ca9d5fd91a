"""``claims.md``: published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.claims import Judged
from bench.report.markdown_group import table
from bench.report.text import markdown

_INTRO = """# Claims: what the papers say, and what was measured here

A claim is **reproduced** where the whole 95 % interval of every number lies within what it asks for, **not
reproduced** where an interval lies wholly outside, **undecided** where an interval crosses the bound, and
**not comparable** where nothing here measures it. A published protection is tested twice where it can be:
against the paper's own attack, and in the worst case over the attacks that ran, adaptive ones included."""


def render(judged: Sequence[Judged]) -> str:
    """The whole file."""
    return "\n".join([_INTRO, "", *verdicts(judged), ""])


def verdicts(judged: Sequence[Judged]) -> list[str]:
    """How many claims stand, and a table for each plug-in."""
    counts = {name: sum(item.verdict == name for item in judged) for name in _ORDER}
    lines = [", ".join(f"{count} {name}" for name, count in counts.items()) + ".", ""]
    head = ["claim", "source", "our setting", "measured", "verdict", "why"]
    for kind, plugin in dict.fromkeys((item.kind, item.plugin) for item in judged):
        rows = [_row(item) for item in judged if (item.kind, item.plugin) == (kind, plugin)]
        lines += [f"### {kind} {markdown(plugin)}", "", *table(head, rows, text=len(head)), ""]
    return lines[:-1]


_ORDER = ("reproduced", "not reproduced", "undecided", "not comparable")


def _row(item: Judged) -> list[str]:
    texts = (item.text, item.source, item.setting, item.measured)
    return [*map(markdown, texts), f"**{item.verdict}**", markdown(item.why)]
