"""The leaderboard as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report.analysis.entries import LIMITS, Group
from bench.report.analysis.generators import HEAD, NOTE, cells_of, priors
from bench.report.analysis.verdict import INTERVAL, MEANING, Word
from bench.report.findings.answers import answer, sentence
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import BOUND, again, bounded, meaning, recovered
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.frames import Results
from bench.report.text import loss, markdown, number, shorten
from bench.report.writers.changes import Change, Key
from bench.report.writers.markdown_group import defense, failures, flags, section, table
from bench.report.writers.protocol import caption

TITLE = "Leaderboard: what leaks at worst, and what the defense cost"
ARROWS = (
    "Arrows are the attacker's: **LPIPS ↓** lower means that more leaked, **recovered, SSIM, PSNR ↑** higher "
    "means that more leaked. A good defense lets few images be recovered and costs little accuracy."
)


def render(results: Results, groups: tuple[Group, ...], changes: Mapping[Key, Change] | None = None) -> str:
    """The whole page.

    Args:
        results: what was read.
        groups: the leaderboard.
        changes: against another results folder, if there is one to compare with.
    """
    lines = [f"# {TITLE}", "", *warning(groups)]
    lines += [" ".join(markdown(sentence) for sentence in caption(results, groups)), ""]
    for problem in results.problems:
        lines.append(f"> **Not used:** {markdown(shorten(problem, 300))}")
        lines.append("")
    if not any(entry.done for group in groups for row in group.rows for entry in row.attacks):
        return "\n".join([*lines, "**No cell is done yet.**", *_not_done(groups), ""])
    lines += [*(line for limit in LIMITS[:1] for line in (f"**{markdown(sentence(groups, limit))}**", ""))]
    lines += [_arrows(groups), "", "## At a glance", "", *_glance(groups)]
    if changes is not None:
        lines += ["", "## Changes against the baseline", "", *_changes(changes)]
    for group in groups:
        lines += ["", *section(group)]
    if found := priors(results.cells):
        head = ["", "## Generative priors", "", NOTE, ""]
        lines += [*head, *table(HEAD, map(cells_of, found), text=3)]
    return "\n".join(lines).rstrip() + "\n"


def warning(groups: tuple[Group, ...]) -> list[str]:
    """What stands on top of a page whose numbers are no evidence; nothing where they are."""
    found = caveat(by_setting(groups))
    return [f"> **{markdown(found)}**", ""] if found else []


def _arrows(groups: tuple[Group, ...]) -> str:
    if not any(group.terms.by_class for group in groups):
        return ARROWS
    return f"{ARROWS} On channel model classes are rebuilt, and **evaluator accuracy ↑** says how many."


def _glance(groups: tuple[Group, ...]) -> list[str]:
    lines: list[str] = []
    for limit in LIMITS:
        points = f"{limit:g} point{'s' if limit > 1 else ''}"
        lines += [f"**The best defense for at most {points} of accuracy:**", ""]
        head = ["setting", "best defense", RECOVERED, "undefended", "accuracy loss, points", "verdict"]
        lines += [*table(head, [_glance_row(group, limit) for group in groups], text=len(head)), ""]
    lines += [f"- **{word.value}**: {text}." for word, text in MEANING.items()]
    bounds = [f"{g.title}: {number(g.resolution, 1)}" for g in groups if g.bound(LIMITS[0]) > LIMITS[0]]
    coarse = (
        f" No loss below these points can be told from none: {markdown('; '.join(bounds))}." if bounds else ""
    )
    lines += [
        "",
        f"A name is bold where the word is *{Word.HIDES.value}*. {INTERVAL} A defense is admitted by the "
        "upper limit of its loss (t over the seeds, paired with the undefended victims); the bound is the "
        f"limit, or what a second undefended victim reaches where that is more.{coarse} {meaning(groups)}"
        f"{f' {BOUND}' if any(map(bounded, groups)) else ''}",
    ]
    return lines


def _glance_row(group: Group, limit: float) -> list[str]:
    found = answer(group, limit)
    if found.place is None:
        own = recovered(group.baseline, group) if group.baseline else "–"
        return [markdown(group.title), group.nobody, "–", own, "–", "–"]
    row = found.place.row
    rivals = f" (tied with {', '.join(map(defense, found.tied))})" if found.tied else ""
    name = f"**{defense(row)}**" if found.word is Word.HIDES else defense(row)
    head = f"**{found.nothing}**; fewest: " if found.nothing else ""
    return [
        markdown(group.title),
        f"{head}{name} {flags(row.headline)}".rstrip() + rivals,
        recovered(row, group) + again(found.confirmation, found.word, "; ", awaited=found.awaited),
        recovered(group.baseline, group) if group.baseline else "–",
        loss(row.loss),
        markdown(row.verdict.shown),
    ]


def _not_done(groups: tuple[Group, ...]) -> list[str]:
    items = [(group, row, entry) for group in groups for row in group.rows for entry in row.attacks]
    if not items:
        return []
    head = ["group", "defense", "attack", "state"]
    rows = [[markdown(g.title), defense(r), markdown(e.name), markdown(failures(e))] for g, r, e in items]
    return ["", *table(head, rows, text=4)]


def _changes(changes: Mapping[Key, Change]) -> list[str]:
    moved = {key: change for key, change in changes.items() if change.kind != "same"}
    same = len(changes) - len(moved)
    lines = [f"{same} of {len(changes)} rows are the same to the last digit.", ""]
    head = ["group", "defense", "worst case, ours minus baseline", "accuracy, points"]
    rows = [
        [markdown(group.replace("|", " · ")), markdown(row), change.text, number(change.accuracy, 1)]
        for (group, row), change in moved.items()
    ]
    return [*lines, *table(head, rows, text=3)] if rows else lines[:1]
