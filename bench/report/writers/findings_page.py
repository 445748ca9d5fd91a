"""``README.md`` of a results folder: the answers, defense by defense, and what each victim says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.report.analysis.entries import LIMITS, Group
from bench.report.claims.claims import Judged
from bench.report.findings.answers import sentence
from bench.report.findings.findings import EQUAL_COST, Finding, details, shown
from bench.report.findings.recovered import DROP, meaning
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.findings.recovered import percent as share
from bench.report.findings.recovered import share as counted
from bench.report.text import advantage, loss, markdown, number, percent, score
from bench.report.visible import VISIBLE
from bench.report.writers.claims_page import verdicts
from bench.report.writers.markdown import warning
from bench.report.writers.markdown_group import defense, flags
from bench.report.writers.table import markdown_table

_INTRO = """# Findings: what each defense protects, and from whom

Every number is computed by `bench report` from the records beside this file. **Naive** attackers ignore that
there is a defense; all other numbers are over all attackers, adaptive ones included, who know the defense
and its parameters. Differences are paired, on the same images; positive means that the defense on the left
protects more. {recovered} A gain by the ranking metric is *negligible* below {visible:g} of the way from the
undefended victim's worst case to the best of as many blind guesses. The files `leaderboard.md` (every
attack, what the words mean), `claims.md` and `index.html` hold the rest."""


def render(found: Sequence[Finding], judged: Sequence[Judged], cells: pd.DataFrame) -> str:
    """The whole file."""
    groups = tuple({item.group.key: item.group for item in found}.values())
    intro = _INTRO.format(visible=VISIBLE, recovered=meaning(groups))
    title, _, rest = intro.partition("\n\n")
    lines = [title, "", *warning(groups), f"**{markdown(sentence(groups, LIMITS[0]))}**", "", rest]
    for group in dict.fromkeys(item.group.key for item in found):
        mine = [item for item in found if item.group.key == group]
        lines += ["", *_section(mine[0].group, mine, cells)]
    return "\n".join([*lines, "", "## Claims", "", *verdicts(judged)]).rstrip() + "\n"


def _section(group: Group, found: Sequence[Finding], cells: pd.DataFrame) -> Iterator[str]:
    yield f"## {markdown(group.title)}"
    yield ""
    yield from markdown_table(map(_row, found))
    yield ""
    yield (
        f"The rival is the other defense that protects best among those that cost at most {EQUAL_COST:g} "
        "points more accuracy."
    )
    yield from _details(group, found, cells)
    yield from _shown(group, found, cells)


def _row(item: Finding) -> dict[str, str]:
    rank, row, found = item.group.rank, item.row, item.row.verdict
    return {
        "defense": f"{defense(row)} {flags(row.headline)}".rstrip(),
        "accuracy %": percent(row.utility.mean),
        "loss, points": loss(row.loss),
        "verdict": markdown(found.shown),
        RECOVERED: counted(row, item.group),
        "naive attackers ↑ %": share(found.naive),
        DROP: "–" if row.baseline else share(found.drop),
        "strongest attack": markdown(row.strongest.name) if row.strongest else "–",
        f"worst {item.group.terms.heads[rank]}": score(rank, row.worst.scores[rank]) if row.worst else "–",
        "gain on undefended": advantage(rank, item.gain, item.group.smallest_visible),
        "rival of equal cost": defense(item.rival) if item.rival else "–",
        "lead on it, points": "–" if item.lead is None else share(item.lead),
    }


def _details(group: Group, found: Sequence[Finding], cells: pd.DataFrame) -> Iterator[str]:
    """A table for each defense that measures something of its victims."""
    frame = details(cells, group)
    if frame.empty:
        return
    rows = {item.row.number: item for item in found if item.row.number in frame.index}
    for name in dict.fromkeys(item.row.defense for item in rows.values()):
        mine = frame.loc[[number for number, item in rows.items() if item.row.defense == name]]
        mine = mine.dropna(axis=1, how="all")
        if mine.empty:
            continue
        yield ""
        yield f"What the victims of {markdown(name)} say of themselves (`private_test`, mean of the seeds):"
        yield ""
        names = [defense(rows[int(str(number))].row) for number in mine.index]
        yield from markdown_table(
            {
                "": markdown(str(column).replace("_", " ")),
                **{name: number(value, 3) for name, value in zip(names, mine[column], strict=True)},
            }
            for column in mine.columns
        )


def _shown(group: Group, found: Sequence[Finding], cells: pd.DataFrame) -> Iterator[str]:
    """Attacks against the original and against what the clients made of it."""
    frame = shown(cells, group)
    if frame.empty:
        return
    yield ""
    yield (
        "Where the clients change their images before they compute, the same reconstructions against the "
        "original and against the changed image (means of the seeds; the bound is the changed image). "
        "Adaptive attackers learned the way back on images of others, which attackers of undefended rows did "
        "not have. **Recognised** is the accuracy of a plain model, the evaluator, trained on unchanged "
        f"images of others; on unchanged test images it has {percent(frame['evaluator_accuracy'].mean())} %:"
    )
    yield ""
    yield from markdown_table(_shown_rows(group, found, frame), text=2)


_PAIR = ("psnr", "ssim", "lpips")


def _shown_rows(group: Group, found: Sequence[Finding], frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    for item in found:
        if item.row.number not in frame.index.get_level_values("row"):
            continue
        mine = frame.loc[item.row.number]
        start = {"defense": defense(item.row), "attack": "the changed image (bound)"}
        yield start | _seen(group, mine.iloc[0], "bound")
        for entry in item.row.attacks:
            if entry.number in mine.index:
                yield start | {"attack": markdown(entry.name)} | _seen(group, mine.loc[entry.number], "mean")


def _seen(group: Group, scores: Any, part: str) -> dict[str, str]:
    """What the images of a part of the record are, seen from the original and from the changed image."""
    heads, changed = group.terms.heads, part == "bound"
    return {
        **{f"{heads[name]} to original": _value(name, scores[f"{part}_{name}"]) for name in _PAIR},
        "recognised ↑ %": percent(float(scores[f"{part}_recognised"])),
        **{
            f"{heads[name]} to changed": "–" if changed else _value(name, scores[f"perturbed_{name}"])
            for name in _PAIR
        },
    }


def _value(name: str, value: float) -> str:
    return number(float(value), 1 if name == "psnr" else 3)
