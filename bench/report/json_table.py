"""The leaderboard as JSON, for programs that want its structure and not its layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from bench.report.answers import answer
from bench.report.changes import Change, Key
from bench.report.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Place, Row, WorstCase
from bench.report.flags import LEGEND
from bench.report.frames import Results
from bench.report.protocol import caption
from bench.report.statistics import Interval
from bench.report.tallies import Spread

FORMAT = 1
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
        "flags": LEGEND,
        "hypervolume_reference": {"loss_points": HYPERVOLUME_LIMIT, "protection": 0.0},
        "groups": [_group(group) for group in groups],
    }
    if changes is not None:
        document["changes"] = [
            {"group": group, "row": row, "kind": change.kind, "difference": _interval(change.difference)}
            for (group, row), change in changes.items()
        ]
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _number(value: float) -> float | None:
    return round(value, _DECIMALS) + 0.0 if math.isfinite(value) else None


def _interval(value: Interval | None) -> dict[str, Any] | None:
    if value is None or math.isnan(value.mean):
        return None
    ends = {"mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high)}
    return ends | {"releases": value.n_clusters, "images": value.n_images, "missing": value.n_missing}


def _spread(value: Spread) -> dict[str, Any]:
    return {"mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high)}


def _scores(scores: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: _interval(value) for name, value in scores.items()}


def _group(group: Group) -> dict[str, Any]:
    names = ("channel", "dataset", "model", "checkpoint", "batch_size")
    return {
        **{name: getattr(group, name) for name in names},
        "rank_metric": group.rank,
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
        "rows": [_row(row) for row in group.rows],
    }


def _answer(group: Group, limit: float) -> dict[str, Any]:
    found = answer(group, limit)
    return {
        "limit": limit,
        "defense": found.place.row.name if found.place else None,
        "tied": [row.name for row in found.tied],
        "gain": _interval(found.gain),
        "lead": _interval(found.lead),
    }


def _place(place: Place) -> dict[str, Any]:
    standing = place.standing
    return {
        "row": place.row.name,
        "first": standing.first,
        "last": standing.last,
        "ties": standing.letters,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "defense": row.defense,
        "strength": _number(row.strength),
        "undefended": row.baseline,
        "accuracy": _spread(row.utility),
        "loss_points": _spread(row.loss),
        "worst_case": _worst(row.worst),
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
        "attacks": [_attack(entry) for entry in row.attacks],
    }


def _worst(worst: WorstCase | None) -> dict[str, Any] | None:
    if worst is None:
        return None
    return {"strongest": worst.strongest, "attacks": worst.attacks, "scores": _scores(worst.scores)}


def _attack(entry: AttackEntry) -> dict[str, Any]:
    return {
        "attack": entry.attack,
        "adversary": entry.adversary,
        "floor": entry.floor,
        "cells": entry.cells,
        "done": entry.done,
        "failures": [
            {"status": item.status, "reason": item.reason, "cells": item.cells} for item in entry.failures
        ],
        "scores": _scores(entry.scores),
        "evaluations": _number(entry.evaluations),
        "badge": entry.badge if entry.done else None,
        "flags": list(entry.flags),
    }
