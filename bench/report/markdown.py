"""The leaderboard as a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.report.answers import answer
from bench.report.changes import Change, Key
from bench.report.entries import LIMITS, Group
from bench.report.evidence import by_setting, caveat
from bench.report.frames import Results
from bench.report.generators import HEAD, NOTE, cells_of, priors
from bench.report.markdown_group import defense, failures, flags, section, table
from bench.report.protocol import caption
from bench.report.recovered import HEAD as RECOVERED
from bench.report.recovered import LEAST_DROP, meaning, with_undefended
from bench.report.text import advantage, loss, markdown, number, score, shorten
from bench.report.visible import VISIBLE

TITLE = "Leaderboard: what leaks at worst, and what the defense cost"
ARROWS = (
    "Arrows are the attacker's: **LPIPS ↓** lower means that more leaked, **PSNR, SSIM, images recovered ↑** "
    "higher means that more leaked. A good defense has a high worst-case LPIPS and a small accuracy loss."
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


def no_scale(groups: tuple[Group, ...]) -> str:
    """Where nothing can be bold, because no floor tells how large a difference is; empty if nowhere."""
    defended = [group for group in groups if any(not row.baseline for row in group.rows)]
    titles = [group.title for group in defended if math.isnan(group.smallest_visible)]
    if not titles:
        return ""
    return (
        " Without a floor that leaks certainly less than the undefended victim nothing says how large a "
        f"difference is, and nothing is bold: {'; '.join(map(markdown, titles))}."
    )


def _arrows(groups: tuple[Group, ...]) -> str:
    if not any(group.terms.by_class for group in groups):
        return ARROWS
    return (
        f"{ARROWS} On channel model tables are ranked by **evaluator accuracy ↑**, and a good defense has a "
        "low worst-case one."
    )


def _glance(groups: tuple[Group, ...]) -> list[str]:
    lines: list[str] = []
    for limit in LIMITS:
        points = f"{limit:g} point{'s' if limit > 1 else ''}"
        lines += [f"**The least leak for at most {points} of accuracy:**", ""]
        head = ["group", "undefended", "leaks least", "worst case", RECOVERED, "accuracy loss",
                "strongest attack", "gain on undefended", "lead on the next"]  # fmt: skip
        lines += [*table(head, [_glance_row(group, limit) for group in groups], text=len(head)), ""]
    measures = sorted({group.terms.printed(group.rank) for group in groups})
    lines.append(
        f"Worst case, undefended, gain and lead are in {' or '.join(measures)}; gain and lead are paired "
        "differences on the same images, positive when the defense leaks less, **bold** when it certainly "
        f"and visibly does: their interval lies above zero, and they reach {VISIBLE:g} of the way from the "
        "undefended victim's worst case to the floor. What is certain and does not is *negligible*. A name "
        f"is bold only where its gain is, the share of images recovered lies {100 * LEAST_DROP:g} points "
        f"lower than without a defense, and not every attack ends below the floor. {meaning(groups)}"
        f"{no_scale(groups)} Accuracy losses are means over the seeds with their range; a "
        "defense is admitted by the mean, which is not certain where a seed lost more than the limit."
    )
    return lines


def _glance_row(group: Group, limit: float) -> list[str]:
    found = answer(group, limit)
    base, best = found.undefended, found.place
    undefended = score(group.rank, base.worst.scores[group.rank]) if base and base.worst else "n/a"
    if best is None:
        return [markdown(group.title), undefended, group.nobody, *["–"] * 6]
    rivals = f" (tied with {', '.join(map(defense, found.tied))})" if found.tied else ""
    head = f"**{found.nothing}**; least leak: " if found.nothing else ""
    name = f"**{defense(best.row)}**" if found.protects else defense(best.row)
    return [
        markdown(group.title),
        undefended,
        f"{head}{name} {flags(best.row.headline)}".rstrip() + rivals,
        score(group.rank, best.worst.scores[group.rank]),
        with_undefended(best.worst, group),
        loss(best.row.loss, limit),
        markdown(best.worst.strongest),
        advantage(group.rank, found.gain, group.smallest_visible),
        advantage(group.rank, found.lead, group.smallest_visible),
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
