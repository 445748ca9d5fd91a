"""``claims.md``: published figures beside ours, sorted by what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from bench.report.claims.claims import ORDER, Judged
from bench.report.claims.decision import Verdict
from bench.report.text import markdown
from bench.report.writers.table import markdown_table

MEANING = (
    "A claim is reproduced where the whole 95 % interval of every number lies within what it asks for, of a "
    "range at both ends; not reproduced where the interval of one lies wholly outside; undecided where an "
    "interval crosses a bound; not comparable where nothing here measures it. A small sample may refute a "
    "claim; to reproduce one of at least 95 or at most 5 % takes 72 releases that all agree. A published "
    "protection is tested, where it can be, against the paper's own attack and against the strongest that "
    "ran, adaptive ones included. It does not survive where one of its tests is not reproduced."
)
_TITLES: dict[tuple[Verdict, bool], str] = {
    ("not reproduced", True): "Protections that do not survive",
    ("not reproduced", False): "Other claims that are not reproduced",
    ("undecided", True): "Undecided",
    ("reproduced", True): "Reproduced",
    ("not comparable", True): "Not comparable",
}


def render(judged: Sequence[Judged]) -> str:
    """The whole file."""
    title = "# Claims: what the papers say, and what was measured here"
    return "\n".join([title, "", *verdicts(judged), ""])


def verdicts(judged: Sequence[Judged]) -> list[str]:
    """The headline, how many claims stand, and a table for each verdict."""
    lines = [f"**{markdown(headline(judged))}**", "", MEANING, "", f"{counts(judged)}.", ""]
    for title, items in sections(judged):
        lines += [f"### {title}", "", *markdown_table(map(_row, items), text=7), ""]
    return lines[:-1]


def headline(judged: Sequence[Judged]) -> str:
    """How many published protections do not survive.

    A claim that a defense protects counts once, however many tests it has: it does not survive where one of
    them is not reproduced.
    """
    tests: dict[tuple[str, int], set[Verdict]] = {}
    for item in judged:
        if item.protection:
            tests.setdefault((item.plugin, item.number), set()).add(item.verdict)
    words = {claim: next(word for word in ORDER if word in found) for claim, found in tests.items()}
    of = {word: [name for (name, _), own in words.items() if own == word] for word in ORDER}
    untested = len(of["not comparable"])
    tested = len(words) - untested
    if not tested:
        return "None of the published protections was tested here."
    lost = of["not reproduced"]
    text = f"{len(lost)} of {tested} published {_plural('protection', tested)} tested here"
    text += f" {'does' if len(lost) == 1 else 'do'} not survive" + _names(lost)
    others = [
        f"{len(of[word])} {'is' if len(of[word]) == 1 else 'are'} {word}{_names(of[word])}"
        for word in ("undecided", "reproduced")
        if of[word]
    ]
    others += [f"{untested} more cannot be compared"] if untested else []
    return "; ".join([text, *others]) + "."


def counts(judged: Sequence[Judged]) -> str:
    """How many tests ended in each verdict."""
    return ", ".join(f"{sum(item.verdict == word for item in judged)} {word}" for word in ORDER)


def sections(judged: Sequence[Judged]) -> list[tuple[str, list[Judged]]]:
    """The claims under the title of what they decide, in this order."""

    def title(item: Judged) -> str:
        return _TITLES.get((item.verdict, item.protection)) or _TITLES[item.verdict, True]

    return [(name, list(items)) for name, items in groupby(sorted(judged, key=lambda i: i.order), title)]


def _names(names: Sequence[str]) -> str:
    """Whose claims they are, each defense once."""
    return f" ({', '.join(dict.fromkeys(names))})" if names else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _row(item: Judged) -> dict[str, str]:
    texts = {
        "of": f"{item.kind} {item.plugin}",
        "claim": item.text,
        "source": item.source,
        "our setting": item.setting,
        "measured": item.measured,
    }
    texts = {title: markdown(text) for title, text in texts.items()}
    return {**texts, "verdict": f"**{item.verdict}**", "why": markdown(item.why)}
