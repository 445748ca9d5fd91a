"""From records to the leaderboard, by the ranking rule: worst case per image beside accuracy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from bench.channels import terms
from bench.channels.shared.terms import METRICS, Rank, Terms
from bench.matrix import load_matrix
from bench.matrix.suites import Suite
from bench.report.analysis.attacks import rank_attacks
from bench.report.analysis.entries import LIMITS, NO_SCORES, AttackEntry, Group, Row
from bench.report.analysis.flags import attack_flags, floor_flags, misses_card, row_flags, scheduled
from bench.report.analysis.leakage import areas, attacks_normalised, with_normalised, with_pareto
from bench.report.analysis.owed import coverage, missing
from bench.report.analysis.recovery import best_of
from bench.report.analysis.reproduce import matrix_of, order_of
from bench.report.analysis.summary import within
from bench.report.analysis.utility import VICTIM, accuracy_loss, baseline_rows, spread, victims
from bench.report.analysis.verdicts import with_verdicts
from bench.report.analysis.worst import scores, strongest, strongest_alone, worst_case
from bench.report.badges import least
from bench.report.cards import Cards
from bench.report.frames import DONE, GROUP, KEYS, NAIVE, Results
from bench.report.tallies import Failure, Spread

_USED = [
    *KEYS, *["attack_name", "defense_name", "budget", "status", "reason", "accuracy", "converged"],
    *["evaluations_mean", "evaluations_max", "release_zero", "release_nonfinite", "releases"],
    *["generator_kind", "generator_frechet", "generator_frechet_real"],
    *["generator_confident", "generator_confident_real", "row", "entry", "badge"],
    *["lpips_side", "single_share", "honest_share"],
]  # fmt: skip
"""The columns that decide a table; to copy the others hundreds of times would take most of the time."""


@dataclass(frozen=True)
class _Context:
    """What the rows of one group share."""

    key: str
    words: Terms
    rank: Rank
    cells: pd.DataFrame
    images: dict[int, pd.DataFrame]
    victims: pd.DataFrame
    baseline: set[int]
    cards: Cards
    usual_budget: float
    suite: Suite | None
    bounds: pd.DataFrame
    """Records of bounds that chose from a list of candidates: they are no attacks."""

    def images_of(self, entries: Iterable[int]) -> pd.DataFrame:
        found = [self.images[entry] for entry in entries if entry in self.images]
        return pd.concat(found) if found else pd.DataFrame(columns=["entry"])

    @cached_property
    def scheduled(self) -> set[str]:
        return scheduled(self.cells)

    @cached_property
    def guesses(self) -> tuple[pd.DataFrame, ...]:
        """The images of every attack that never sees a release, each once.

        What it guesses is the same whatever the defense, so that one row is enough: the undefended one. Every
        draw of a guess is a guess of its own, and comes after the first draws of all kinds.
        """
        blind = self.cells[self.cells["floor"]].drop_duplicates("entry")
        further = blind["attack"].str.contains(r"[\[,]draw=", regex=True)
        blind = blind.assign(defended=~blind["row"].isin(self.baseline), further=further)
        first = blind.sort_values(["defended", "further", "attack", "row"]).drop_duplicates("attack")
        return tuple(self.images[entry] for entry in first["entry"] if entry in self.images)

    @cached_property
    def floors(self) -> dict[int, pd.DataFrame]:
        """Per row the images of the best attack among those that never see the release."""
        blind = self.cells[self.cells["floor"]].groupby("row")["entry"].unique()
        shared = strongest_alone(pd.concat(self.guesses), self.rank) if self.guesses else pd.DataFrame()
        found = {int(row): shared for row in self.cells["row"].unique()}
        for row, entries in blind.items():
            found[int(str(row))] = strongest_alone(self.images_of(entries), self.rank)
        return found

    def fair_floor(self, row: Row) -> pd.DataFrame:
        """The best of as many blind guesses as a row has attacks; empty where there is none."""
        attacks = sum(entry.done > 0 and not entry.floor for entry in row.attacks)
        guesses = self.guesses[: max(attacks, 1)]
        return best_of(guesses, self.rank) if guesses else pd.DataFrame()


def build(results: Results, cards: Cards | None = None, *, matrix: str | None = None) -> tuple[Group, ...]:
    """The leaderboard of a results folder, whole or partial.

    Args:
        results: what was read.
        cards: where attack and defense cards come from; the installed plug-ins by default.
        matrix: ``name@version`` of the matrix whose suites judge; by default the one whose cells these are.
    """
    cards = cards or Cards()
    named = matrix_of(results) if matrix is None and len(results.cells) else matrix or ""
    suites = cards.suites(named) if len(results.cells) else {}
    cells = results.cells[_USED]
    names = cells["attack_name"].unique()
    observing = {name: cards.observes_release(name) for name in names}
    cells = cells.assign(floor=~cells["attack_name"].map(observing).astype(bool))
    holding = cells["attack_name"].isin([name for name in names if cards.holds_answer(name)])
    bounds, cells = cells[holding], cells[~holding]
    images = {int(str(entry)): frame for entry, frame in results.images.groupby("entry")}
    everyone, baseline = victims(cells), baseline_rows(cells, cards)
    groups = []
    for _, group in cells.groupby(GROUP):
        first = group.iloc[0]
        words = terms(str(first["channel"]))
        mine = (everyone[VICTIM] == first[VICTIM]).all(axis=1)
        scored = [images[entry] for entry in group["entry"].unique() if entry in images]
        context = _Context(
            key="|".join(str(first[name]) for name in GROUP),
            words=words,
            rank=next((m for m in words.ranks if any(f[m].notna().any() for f in scored)), words.ranks[-1]),
            cells=group,
            images=images,
            victims=everyone[mine],
            baseline=baseline,
            cards=cards,
            usual_budget=float(group["budget"].mode().max()),
            suite=suites.get(str(first["channel"])),
            bounds=bounds[(bounds[GROUP] == first[GROUP]).all(axis=1)],
        )
        groups.append(_group(first, context))
    order, asks = order_of(named), bool(named and load_matrix(named).confirmation)
    groups = [replace(group, confirmable=asks) for group in groups]
    return tuple(sorted(groups, key=lambda group: order.get(group.setting, len(order))))


def _group(first: pd.Series[Any], context: _Context) -> Group:
    weak = _weak_attacks(context)
    rows = [_row(cells, weak, context) for _, cells in context.cells.groupby("row")]
    rows.sort(key=lambda row: (not math.isnan(row.strength), not row.baseline, row.defense, row.strength))
    fair = {row.number: context.fair_floor(row) for row in rows}
    rows = with_normalised(rows, fair, context.words, context.key)
    rows = with_pareto(attacks_normalised(rows, context.images, context.words, context.key), context.rank)
    floor = context.cells.drop_duplicates("entry").set_index("entry")["floor"]
    scored = [
        context.images[int(str(entry))].assign(floor=blind)
        for entry, blind in floor.items()
        if int(str(entry)) in context.images
    ]
    group = Group(
        channel=str(first["channel"]),
        dataset=str(first["dataset"]),
        model=str(first["model"]),
        checkpoint=str(first["checkpoint"]),
        batch_size=int(str(first["batch_size"])),
        rank=context.rank,
        rows=tuple(rows),
        attacks=rank_attacks(scored, context.rank, context.key),
        areas=areas(rows, context.rank, context.key),
        lpips_side=int(context.cells["lpips_side"].fillna(0).max()),
        unmeasured=frozenset(METRICS).difference(*map(_measured, scored)),
    )
    group = with_verdicts(group, context, fair)
    return replace(group, places={limit: within(group, limit) for limit in LIMITS})


def _measured(images: pd.DataFrame) -> set[str]:
    """Metrics that some image has."""
    return {name for name in METRICS if name in images and images[name].notna().any()}


def _entry(cells: pd.DataFrame, context: _Context) -> AttackEntry:
    """One attack's numbers, before its flags."""
    first, done = cells.iloc[0], cells[cells["status"] == DONE]
    images = context.images.get(int(first["entry"]))
    failed = cells[cells["status"] != DONE]
    reasons = Counter(zip(failed["status"].astype(str), failed["reason"].astype(str), strict=True))
    return AttackEntry(
        number=int(first["entry"]),
        attack=str(first["attack"]),
        adversary=str(first["adversary"]),
        floor=bool(first["floor"]),
        cells=len(cells),
        done=len(done),
        failures=tuple(Failure(status, reason, n) for (status, reason), n in sorted(reasons.items())),
        scores=NO_SCORES if images is None else scores(images, context.key),
        evaluations=float(done["evaluations_mean"].median()) if len(done) else math.nan,
        generator=str(done["generator_kind"].iloc[0]) if len(done) else "",
        shares=(float(done["single_share"].median()), float(done["honest_share"].median())),
        badge=least(done["badge"]),
    )


def _weak_attacks(context: _Context) -> set[str]:
    """Labels of the attacks that miss their card's floor on the undefended victim."""
    weak = set()
    undefended = context.cells[context.cells["row"].isin(context.baseline)]
    for _, cells in undefended.groupby("entry"):
        first = cells.iloc[0]
        card = context.cards.attack(str(first["attack_name"]))
        where = str(first["model"]), str(first["checkpoint"]), int(first["batch_size"])
        if misses_card(_entry(cells, context), card, *where):
            weak.add(str(first["attack"]))
    return weak


def _row(cells: pd.DataFrame, weak: set[str], context: _Context) -> Row:
    first = cells.iloc[0]
    own = _victims_of(context.victims, str(first["defense"]), float(first["strength"]))
    seeing = cells.loc[~cells["floor"], "entry"].unique()
    floor = context.floors[int(first["row"])]
    card = context.cards.defense(str(first["defense_name"]))
    entries = [_flagged(attempts, floor, weak, context) for _, attempts in cells.groupby("entry")]
    entries.sort(key=lambda e: (e.floor, e.attack, e.adversary))
    seen = [entry for entry in entries if entry.done and not entry.floor]
    owed = missing(context.suite, cells, context.cells, context.cards) if context.suite else None
    flags = row_flags(cells, own, context.cells, card, owed)
    if seen and all("below-prior" in entry.flags for entry in seen):
        flags.append("below-prior")
    images = context.images_of(seeing)
    naive = images[images["adversary"] == NAIVE] if len(images) else images
    return Row(
        number=int(first["row"]),
        defense=str(first["defense"]),
        strength=float(first["strength"]),
        baseline=int(first["row"]) in context.baseline,
        utility=spread(own["accuracy"]),
        loss=_loss(own, context),
        worst=worst_case(images, context.rank, context.key),
        naive=worst_case(naive, context.rank, context.key),
        recovery=strongest(seen, context.images, context.words.recovery, context.rank),
        attacks=tuple(entries),
        flags=tuple(flags),
        coverage=coverage(cells, context.cells),
    )


def _flagged(cells: pd.DataFrame, floor: pd.DataFrame, weak: set[str], context: _Context) -> AttackEntry:
    """One attack of a row, with what to distrust."""
    entry = _entry(cells, context)
    raised = attack_flags(
        entry,
        cells[cells["status"] == DONE],
        context.cards.attack(str(cells["attack_name"].iloc[0])),
        usual_budget=context.usual_budget,
        broken=entry.attack in weak,
        scheduled=entry.attack in context.scheduled,
    )
    own = context.images.get(entry.number)
    if own is not None and not floor.empty and not entry.floor:
        raised += floor_flags(own, floor, context.words, context.key)
    return replace(entry, flags=tuple(raised))


def _victims_of(everyone: pd.DataFrame, defense: str, strength: float) -> pd.DataFrame:
    same = everyone["strength"].isna() if math.isnan(strength) else everyone["strength"] == strength
    return everyone[(everyone["defense"] == defense) & same]


def _loss(own: pd.DataFrame, context: _Context) -> Spread:
    undefended = context.cells[context.cells["row"].isin(context.baseline)]
    if undefended.empty:
        return Spread()
    first = undefended.iloc[0]
    return accuracy_loss(own, _victims_of(context.victims, str(first["defense"]), float(first["strength"])))
