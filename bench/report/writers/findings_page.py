"""``README.md`` of a results folder: the answers, defense by defense, and what each victim says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from bench.report.writers.markdown_group import defense, flags, table

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
    rank = group.terms.heads[group.rank]
    head = [
        "defense", "accuracy %", "loss, points", "verdict", RECOVERED, "naive attackers ↑ %", DROP,
        "strongest attack", f"worst {rank}", "gain on undefended", "rival of equal cost",
        "lead on it, points",
    ]  # fmt: skip
    yield from table(head, map(_row, found))
    yield ""
    yield (
        f"The rival is the other defense that protects best among those that cost at most {EQUAL_COST:g} "
        "points more accuracy."
    )
    yield from _details(group, found, cells)
    yield from _shown(group, found, cells)


def _row(item: Finding) -> list[str]:
    rank, row, found = item.group.rank, item.row, item.row.verdict
    return [
        f"{defense(row)} {flags(row.headline)}".rstrip(),
        percent(row.utility.mean),
        loss(row.loss),
        markdown(found.shown),
        counted(row, item.group),
        share(found.naive),
        "–" if row.baseline else share(found.drop),
        markdown(row.strongest.name) if row.strongest else "–",
        score(rank, row.worst.scores[rank]) if row.worst else "–",
        advantage(rank, item.gain, item.group.smallest_visible),
        defense(item.rival) if item.rival else "–",
        "–" if item.lead is None else share(item.lead),
    ]


def _details(group: Group, found: Sequence[Finding], cells: pd.DataFrame) -> Iterator[str]:
    """A table for each defense that measures something of its victims."""
    frame = details(cells, group)
    if frame.empty:
        return
    rows = {item.row.number: item for item in found if item.row.number in frame.index}
    for name in dict.fromkeys(item.row.defense for item in rows.values()):
        mine = frame.loc[[number for number, item in rows.items() if item.row.defense == name]]
        mine = mine.dropna(axis=1, how="all")
        if mine.empty or not len(mine.columns):
            continue
        yield ""
        yield f"What the victims of {markdown(name)} say of themselves (`private_test`, mean of the seeds):"
        yield ""
        head = ["", *(defense(rows[int(str(number))].row) for number in mine.index)]
        body = [
            [markdown(str(column).replace("_", " ")), *(number(value, 3) for value in mine[column])]
            for column in mine.columns
        ]
        yield from table(head, body)


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
    heads = group.terms.heads
    head = [
        "defense",
        "attack",
        *(f"{heads[name]} to original" for name in _PAIR),
        "recognised ↑ %",
        *(f"{heads[name]} to changed" for name in _PAIR),
    ]
    yield from table(head, list(_shown_rows(found, frame)), text=2)


_PAIR = ("psnr", "ssim", "lpips")


def _shown_rows(found: Sequence[Finding], frame: pd.DataFrame) -> Iterator[list[str]]:
    for item in found:
        if item.row.number not in frame.index.get_level_values("row"):
            continue
        mine = frame.loc[item.row.number]
        bound = [_value(name, float(str(mine[f"bound_{name}"].iloc[0]))) for name in _PAIR]
        seen = percent(float(str(mine["bound_recognised"].iloc[0])))
        yield [defense(item.row), "the changed image (bound)", *bound, seen, *["–"] * 3]
        for entry in item.row.attacks:
            if entry.number in mine.index:
                scores = mine.loc[entry.number]
                original, changed = (
                    [_value(name, float(str(scores[f"{part}_{name}"]))) for name in _PAIR]
                    for part in ("mean", "perturbed")
                )
                seen = percent(float(str(scores["mean_recognised"])))
                yield [defense(item.row), markdown(entry.name), *original, seen, *changed]


def _value(name: str, value: float) -> str:
    return number(value, 1 if name == "psnr" else 3)
