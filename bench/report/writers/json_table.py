"""The leaderboard as JSON, for programs that want its structure and not its layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from bench.channels.shared.terms import NEAREST_PRIVATE, Terms
from bench.report.analysis.entries import (
    HYPERVOLUME_LIMIT,
    LIMITS,
    AttackEntry,
    Group,
    Place,
    Row,
    WorstCase,
)
from bench.report.analysis.flags import legend
from bench.report.analysis.generators import PriorRow, priors
from bench.report.findings.answers import answer, sentence
from bench.report.findings.evidence import by_setting, caveat
from bench.report.frames import Results
from bench.report.statistics import Interval
from bench.report.tallies import Spread
from bench.report.writers.changes import Change, Key
from bench.report.writers.protocol import caption

FORMAT = 2
_DECIMALS = 6


def render(results: Results, groups: tuple[Group, ...], changes: Mapping[Key, Change] | None = None) -> str:
    """Fractions, not per cent; null for what is missing; a field that changes its meaning raises ``format``.

    Args:
        results: what was read.
        groups: the leaderboard.
        changes: against another results folder, if there is one to compare with.
    """
    document = {
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
            {"group": group, "row": row, "kind": change.kind, "difference": _interval(change.difference)}
            for (group, row), change in changes.items()
        ]
    if found := priors(results.cells):
        document["generators"] = [_prior(row) for row in found]
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _number(value: float) -> float | None:
    return round(value, _DECIMALS) + 0.0 if math.isfinite(value) else None


def _interval(value: Interval | None) -> dict[str, Any] | None:
    if value is None or math.isnan(value.mean):
        return None
    ends = {"mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high)}
    return ends | {"releases": value.n_clusters, "images": value.n_images, "missing": value.n_missing}


def _spread(value: Spread) -> dict[str, Any]:
    return {name: _number(getattr(value, name)) for name in ("mean", "low", "high", "upper")}


def _scores(scores: Mapping[str, Interval], names: Terms) -> dict[str, Any]:
    return {name: _interval(value) for name, value in scores.items() if name in names.metrics}


def _prior(row: PriorRow) -> dict[str, Any]:
    values = {name: _spread(value) for name, value in row.values.items()}
    return {
        "dataset": row.dataset,
        "kind": row.kind,
        "seeds": list(row.seeds),
        **values,
        "flags": [*row.flags],
    }


def _group(group: Group) -> dict[str, Any]:
    names = ("channel", "dataset", "model", "checkpoint", "batch_size")
    return {
        **{name: getattr(group, name) for name in names},
        "rank_metric": group.rank,
        **({"lpips_at_pixels": group.lpips_side} if group.lpips_side else {}),
        "smallest_visible_difference": _number(group.smallest_visible),
        "suite": group.suite,
        "suite_attacks": group.attacked,
        "resolution_points": _number(group.resolution),
        "undefended_above_blind_guesses": _interval(group.lead),
        **({"reference": NEAREST_PRIVATE} if group.terms.by_class else {}),
        "answers": [_answer(group, limit) for limit in LIMITS],
        "places": {f"{limit:g}": [_place(place) for place in group.places[limit]] for limit in LIMITS},
        "attacks": [
            {
                "attack": place.name,
                "floor": place.floor,
                "leak": _interval(place.leak),
                "blocks": place.blocks,
                "first": place.standing.first,
                "last": place.standing.last,
                "ties": place.standing.letters,
            }
            for place in group.attacks
        ],
        "hypervolumes": {name: _interval(area) for name, area in group.areas.items()},
        "rows": [_row(row, group.terms) for row in group.rows],
    }


def _answer(group: Group, limit: float) -> dict[str, Any]:
    found = answer(group, limit)
    row = found.place.row if found.place else None
    return {
        "limit": limit,
        "bound": _number(group.bound(limit)),
        "defense": row.name if row else None,
        "word": found.word,
        "protects": found.protects,
        "tied": [other.name for other in found.tied],
        "loss_points": _spread(row.loss) if row else None,
        "recovered": _interval(row.verdict.recovered) if row else None,
        "recovered_undefended": _interval(found.undefended.verdict.recovered) if found.undefended else None,
        "lead": _interval(found.lead),
        **({"confirmation": _confirmation(found.confirmation)} if found.confirmation else {}),
    }


def _confirmation(found: tuple[Group, Row]) -> dict[str, Any]:
    group, row = found
    base = group.baseline
    return {
        "seeds": row.utility.seeds,
        "verdict": _verdict(row),
        "loss_points": _spread(row.loss),
        "recovered_undefended": _interval(base.verdict.recovered) if base else None,
    }


def _verdict(row: Row) -> dict[str, Any]:
    found = row.verdict
    shares = ("recovered", "union", "drop", "naive", "identifiable")
    return {
        "word": found.word,
        "reasons": list(found.reasons),
        "remarks": list(found.remarks),
        "suite_attacks": found.attacks,
        **{name: _interval(getattr(found, name)) for name in shares},
    }


def _place(place: Place) -> dict[str, Any]:
    standing = place.standing
    return {
        "row": place.row.name,
        "first": standing.first,
        "last": standing.last,
        "ties": standing.letters,
    }


def _row(row: Row, names: Terms) -> dict[str, Any]:
    return {
        "defense": row.defense,
        "strength": _number(row.strength),
        "undefended": row.baseline,
        "accuracy": _spread(row.utility),
        "loss_points": _spread(row.loss),
        "strongest_attack": row.strongest.name if row.strongest else None,
        "worst_case": _worst(row.worst, names),
        "verdict": _verdict(row),
        "normalised_leakage": _interval(row.normalised),
        "normalised_leakage_ssim": _interval(row.normalised_ssim),
        "pareto": row.pareto,
        "cells": {
            "done": row.coverage.done,
            "wanted": row.coverage.wanted,
            "incompatible": row.coverage.incompatible,
        },
        "badge": row.badge,
        "flags": list(row.flags),
        "flags_of_strongest": list(row.strongest.flags) if row.strongest else [],
        "attacks": [_attack(entry, names) for entry in row.attacks],
    }


def _worst(worst: WorstCase | None, names: Terms) -> dict[str, Any] | None:
    if worst is None:
        return None
    return {"attacks": worst.attacks, "scores": _scores(worst.scores, names)}


def _attack(entry: AttackEntry, names: Terms) -> dict[str, Any]:
    return {
        "attack": entry.attack,
        "adversary": entry.adversary,
        "floor": entry.floor,
        "cells": entry.cells,
        "done": entry.done,
        "failures": [
            {"status": item.status, "reason": item.reason, "cells": item.cells} for item in entry.failures
        ],
        "scores": _scores(entry.scores, names),
        "evaluations": _number(entry.evaluations),
        "normalised_leakage": _interval(entry.normalised),
        "badge": entry.badge if entry.done else None,
        "flags": list(entry.flags),
    }
