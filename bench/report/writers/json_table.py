"""The leaderboard as JSON, for programs that want its structure and not its layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.channels.shared.terms import ORIGINAL, Terms
from bench.report.analysis.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Row
from bench.report.analysis.flags import legend
from bench.report.analysis.generators import PriorRow, priors
from bench.report.findings.answers import answer, sentence
from bench.report.findings.changes import Change, Key
from bench.report.findings.evidence import by_setting, caveat
from bench.report.frames import GROUP, Results
from bench.report.statistics import Interval, Place
from bench.report.writers.protocol import caption
from bench.report.writers.table import SHARES, json_text

FORMAT = 2


def render(results: Results, groups: tuple[Group, ...], changes: Mapping[Key, Change] | None = None) -> str:
    """Fractions, not per cent; null for what is missing; a field that changes its meaning raises ``format``.

    Args:
        results: what was read.
        groups: the leaderboard.
        changes: against another results folder, if there is one to compare with.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "caption": caption(results, groups),
        "problems": list(results.problems),
        "no_evidence": caveat(by_setting(groups)),
        "result": {f"{limit:g}": sentence(groups, limit) for limit in LIMITS},
        "flags": dict(legend(groups)),
        "hypervolume_reference": {"loss_points": HYPERVOLUME_LIMIT, "protection": 0.0},
        "groups": [_group(group) for group in groups],
    }
    if changes is not None:
        document["changes"] = [
            {"group": group, "row": row, "kind": change.kind, "difference": change.difference}
            for (group, row), change in changes.items()
        ]
    if found := priors(results.cells):
        document["generators"] = [_prior(row) for row in found]
    return json_text(document)


def _fields(item: object, *names: str) -> dict[str, Any]:
    """What a document calls by the name that it has here."""
    return {name: getattr(item, name) for name in names}


def _prior(row: PriorRow) -> dict[str, Any]:
    return _fields(row, "dataset", "kind", "seeds") | {**row.values, "flags": row.flags}


def _group(group: Group) -> dict[str, Any]:
    reference = group.terms.reference
    return {
        **_fields(group, *GROUP),
        "rank_metric": group.rank,
        **({"lpips_at_pixels": group.lpips_side} if group.lpips_side else {}),
        "smallest_visible_difference": group.smallest_visible,
        "suite": group.suite,
        "suite_attacks": group.attacked,
        "resolution_points": group.resolution,
        "undefended_above_blind_guesses": group.lead,
        **({"reference": reference} if reference != ORIGINAL else {}),
        "answers": [_answer(group, limit) for limit in LIMITS],
        "places": {
            f"{limit:g}": [
                {"row": place.row.name, **_standing(place.standing)} for place in group.places[limit]
            ]
            for limit in LIMITS
        },
        "attacks": [
            {"attack": place.name, **_fields(place, "floor", "leak", "blocks"), **_standing(place.standing)}
            for place in group.attacks
        ],
        "hypervolumes": group.areas,
        "rows": [_row(row, group.terms) for row in group.rows],
    }


def _answer(group: Group, limit: float) -> dict[str, Any]:
    found = answer(group, limit)
    row = found.place.row if found.place else None
    return {
        "limit": limit,
        "bound": group.bound(limit),
        "defense": row and row.name,
        "word": found.word,
        "protects": found.protects,
        "tied": [other.name for other in found.tied],
        "loss_points": row and row.loss,
        "recovered": row and row.verdict.recovered,
        "recovered_undefended": found.undefended and found.undefended.verdict.recovered,
        "lead": found.lead,
        **({"confirmation": _confirmation(*found.confirmation)} if found.confirmation else {}),
    }


def _confirmation(group: Group, row: Row) -> dict[str, Any]:
    return {
        "seeds": row.utility.seeds,
        "verdict": _verdict(row),
        "loss_points": row.loss,
        "recovered_undefended": group.baseline and group.baseline.verdict.recovered,
    }


def _verdict(row: Row) -> dict[str, Any]:
    found = row.verdict
    words = _fields(found, "word", "reasons", "remarks")
    return {**words, "suite_attacks": found.attacks, **_fields(found, *SHARES)}


def _standing(standing: Place) -> dict[str, Any]:
    return {**_fields(standing, "first", "last"), "ties": standing.letters}


def _row(row: Row, names: Terms) -> dict[str, Any]:
    scores = row.worst and {"attacks": row.worst.attacks, "scores": _scores(row.worst.scores, names)}
    return {
        **_fields(row, "defense", "strength"),
        "undefended": row.baseline,
        "accuracy": row.utility,
        "loss_points": row.loss,
        "strongest_attack": row.strongest and row.strongest.name,
        "worst_case": scores,
        "verdict": _verdict(row),
        "normalised_leakage": row.normalised,
        "normalised_leakage_ssim": row.normalised_ssim,
        "pareto": row.pareto,
        "cells": row.coverage,
        **_fields(row, "badge", "flags"),
        "flags_of_strongest": row.strongest.flags if row.strongest else (),
        "attacks": [_attack(entry, names) for entry in row.attacks],
    }


def _scores(scores: Mapping[str, Interval], names: Terms) -> dict[str, Interval]:
    return {name: value for name, value in scores.items() if name in names.metrics}


def _attack(entry: AttackEntry, names: Terms) -> dict[str, Any]:
    return {
        **_fields(entry, "attack", "adversary", "floor", "cells", "done", "failures"),
        "scores": _scores(entry.scores, names),
        "evaluations": entry.evaluations,
        "normalised_leakage": entry.normalised,
        "badge": entry.badge if entry.done else None,
        "flags": entry.flags,
    }
