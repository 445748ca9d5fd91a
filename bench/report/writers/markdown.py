"""The leaderboard as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report.analysis.entries import LIMITS, Group
from bench.report.analysis.generators import HEAD, cells_of, note, priors
from bench.report.analysis.verdict import INTERVAL, MEANING, Word
from bench.report.findings.answers import answer, sentence
from bench.report.findings.changes import Change, Key
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import BOUND, again, bounded, meaning, recovered
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.frames import Results
from bench.report.text import loss, markdown, number, shorten
from bench.report.writers.markdown_group import defense, failures, flags, section
from bench.report.writers.protocol import caption
from bench.report.writers.table import markdown_lines, markdown_table

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
    arrows = dict.fromkeys(group.terms.arrows for group in groups if group.terms.arrows)
    lines += [" ".join([ARROWS, *arrows]), "", "## At a glance", "", *_glance(groups)]
    if changes is not None:
        lines += ["", "## Changes against the baseline", "", *_changes(changes)]
    for group in groups:
        lines += ["", *section(group)]
    if found := priors(results.cells):
        table = markdown_lines(HEAD, map(cells_of, found), text=3)
        lines += ["", "## Generative priors", "", note(found), "", *table]
    return "\n".join(lines).rstrip() + "\n"


def warning(groups: tuple[Group, ...]) -> list[str]:
    """What stands on top of a page whose numbers are no evidence; nothing where they are."""
    found = caveat(by_setting(groups))
    return [f"> **{markdown(found)}**", ""] if found else []


def _glance(groups: tuple[Group, ...]) -> list[str]:
    lines: list[str] = []
    for limit in LIMITS:
        points = f"{limit:g} point{'s' if limit > 1 else ''}"
        lines += [f"**The best defense for at most {points} of accuracy:**", ""]
        lines += [*markdown_table((_glance_row(group, limit) for group in groups), text=6), ""]
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


def _glance_row(group: Group, limit: float) -> dict[str, str]:
    found = answer(group, limit)
    name, counted, cost, verdict = group.nobody, "–", "–", "–"
    if found.place is not None:
        row = found.place.row
        rivals = f" (tied with {', '.join(map(defense, found.tied))})" if found.tied else ""
        bold = f"**{defense(row)}**" if found.word is Word.HIDES else defense(row)
        head = f"**{found.nothing}**; fewest: " if found.nothing else ""
        name = f"{head}{bold} {flags(row.headline)}".rstrip() + rivals
        confirmed = again(found.confirmation, found.word, "; ", awaited=found.awaited)
        counted, cost = recovered(row, group) + confirmed, loss(row.loss)
        verdict = markdown(row.verdict.shown)
    return {
        "setting": markdown(group.title),
        "best defense": name,
        RECOVERED: counted,
        "undefended": recovered(group.baseline, group) if group.baseline else "–",
        "accuracy loss, points": cost,
        "verdict": verdict,
    }


def _not_done(groups: tuple[Group, ...]) -> list[str]:
    records = [
        {
            "group": markdown(group.title),
            "defense": defense(row),
            "attack": markdown(entry.name),
            "state": markdown(failures(entry)),
        }
        for group in groups
        for row in group.rows
        for entry in row.attacks
    ]
    return ["", *markdown_table(records, text=4)] if records else []


def _changes(changes: Mapping[Key, Change]) -> list[str]:
    moved = {key: change for key, change in changes.items() if change.kind != "same"}
    same = len(changes) - len(moved)
    table = markdown_table(
        (
            {
                "group": markdown(group.replace("|", " · ")),
                "defense": markdown(row),
                "worst case, ours minus baseline": change.text,
                "accuracy, points": number(change.accuracy, 1),
            }
            for (group, row), change in moved.items()
        ),
        text=3,
    )
    return [
        f"{same} of {len(changes)} rows are the same to the last digit.",
        *(["", *table] if table else []),
    ]
