"""The words of the site: shown where the mouse rests on one, and all of them as the table of the method."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.report.analysis.entries import LIMITS, Group
from bench.report.analysis.flags import legend
from bench.report.analysis.verdict import INTERVAL, MEANING, Word
from bench.report.badges import MEANING as BADGES
from bench.report.findings.recovered import BOUND, bounded, meaning

_ABOUT = (
    "The words of all tables and pages. Written by `python -m bench.report.site.glossary docs/glossary.md`.",
)
_SETTING = (
    "What leaks (the channel), from which data and which network, when (initial: before training; trained: "
    "after it), and how many images at once (B). Only the rows of one setting may be compared."
)
_DEFENSE = "A method at one strength. Every victim trains and releases under it."
_UNDEFENDED = "The same network trained without a defense and attacked alike; compared on the same images."
_BLIND = (
    "What guesses that never see a release recover together, as many as the suite has attacks. Where shares "
    "are net of it, it is 0."
)
_LOST = (
    "Points of test accuracy, seed by seed against the undefended victim; in brackets the upper limit of "
    "the mean over the seeds. Below 0 is a gain."
)
_STRONGEST = (
    "The one attack that recovers most, of a versioned suite and whatever else ran. An adaptive attack knows "
    "the defense and its parameters, a naive one does not. It is a lower bound of what leaks."
)
_BEST = (
    f"The one that protects best among those whose upper limit of the accuracy lost is at most {LIMITS[0]:g} "
    "point, or what a second undefended victim reaches where that is more."
)
_FRESH = "The best of many rows is partly luck: it is measured again on seeds that had no part in the choice."
_REPEAT = "Measures the row, and the undefended victim beside it, in a folder of its own."


def glossary(groups: Iterable[Group]) -> Mapping[str, str]:
    """What each column head and word means, in the order of the table of the method."""
    groups = tuple(groups)
    return {
        "Setting": _SETTING,
        "Defense": _DEFENSE,
        "Best defense": _BEST,
        "Verdict": f"One of {len(Word)} words for a defended row, in units of harm. Only the first is green.",
        **{word.value: f"{text}." for word, text in MEANING.items()},
        "Recovered": meaning(groups),
        "Interval": INTERVAL,
        "Undefended": _UNDEFENDED,
        "Blind floor": _BLIND,
        "Accuracy lost": _LOST,
        "Strongest attack": _STRONGEST,
        **({"Re-identifiable, %": BOUND} if any(map(bounded, groups)) else {}),
        "Fresh seeds": _FRESH,
        "Repeat": _REPEAT,
        **{badge: f"{text}." for badge, text in BADGES.items()},
    }


def flags(groups: Iterable[Group]) -> Mapping[str, str]:
    """What the flags mean that some row here carries."""
    groups = tuple(groups)
    used = {flag for group in groups for row in group.rows for flag in row.headline}
    return {code: text for code, text in legend(groups).items() if code in used}


def markdown() -> str:
    """The glossary as a page of the documentation."""
    rows = [f"| {word} | {text.replace('|', chr(92) + '|')} |" for word, text in glossary(()).items()]
    return "\n".join(["# Glossary", "", *_ABOUT, "", "| word | meaning |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(markdown(), encoding="utf-8")
