"""The leaderboard and the cells as CSV, for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from bench.channels.shared.terms import CLASS_METRICS, ORIGINAL, Terms
from bench.report.analysis.entries import LIMITS, NO_SCORES, SCORES, AttackEntry, Group, Row
from bench.report.flatten import OPTIONAL
from bench.report.frames import GROUP
from bench.report.statistics import NOTHING, Interval
from bench.report.writers.markdown_group import failures
from bench.report.writers.table import SHARES, csv, ends

WORST = "worst case"
_VERDICT = [
    *["verdict", "not_tested_because", "suite", "suite_attacks", "loss_upper"],
    *[f"admitted_{limit:g}" for limit in LIMITS],
    *[f"{name}{end}" for name in SHARES for end in ("", "_low", "_high")],
]
_NORMALISED = ("normalised_leakage", "normalised_leakage_ssim")


def leaderboard_csv(groups: tuple[Group, ...]) -> str:
    """Long form: one row per group, defense, strength, attack and adversary, and one ``worst case`` per row.

    Fractions, not per cent; ``role`` tells ``attack``, ``floor`` and ``worst case`` apart.
    """
    rows = [item for group in groups for row in group.rows for item in _rows(group, row)]
    return csv(pd.DataFrame(rows, columns=_columns(groups)))


def cells_csv(cells: pd.DataFrame) -> str:
    """One row per record, with everything that a record says, times and versions included.

    Columns of classes to rebuild, of generators and of what a defense changed are left out where no record
    has them.
    """
    cells = cells.assign(signal=[json.dumps(item) if item else "" for item in cells["signal"]])
    absent = [name for name in OPTIONAL if cells[name].isin(["", None]).all() or cells[name].isna().all()]
    internal = [*absent, "row", "entry", "attack_parameters", "defense_parameters", "dataset_parameters"]
    frame = cells.drop(columns=[*internal, "dataset_name"]).rename(columns={"accuracy": "utility"})
    frame["details"] = [json.dumps(item, sort_keys=True) if item else "" for item in frame["details"]]
    for name in ("converged", "dirty"):
        frame[name] = frame[name].map({0.0: "false", 1.0: "true", "True": "true", "False": "false"})
    return csv(frame)


def _columns(groups: tuple[Group, ...]) -> list[str]:
    measured = {name for group in groups for name in group.terms.metrics}
    spreads = [f"{name}{end}" for name in ("utility", "loss") for end in ("", "_low", "_high")]
    scores = [
        f"{name}{end}"
        for name in SCORES
        if name in measured or name not in CLASS_METRICS
        for end in ("", "_low", "_high", "_images")
    ]
    head = [*GROUP, "defense", "strength", "attack", "adversary", "role", "cells", "cells_done", "reason"]
    counts = ["releases", "images", "missing"]
    normalised = [f"{name}{end}" for name in _NORMALISED for end in ("", "_low", "_high")]
    ranks = [f"rank_{limit:g}{end}" for limit in LIMITS for end in ("", "_ties")]
    tail = ["evaluations", *normalised, "strongest_attack", "pareto", *ranks, "rank_metric", "badge", "flags"]
    tail += ["strongest_flags"]
    extra = ["reference"] if any(group.terms.reference != ORIGINAL for group in groups) else []
    return [*head, "seeds", *spreads, *_VERDICT, *counts, *scores, *extra, *tail]


def _rows(group: Group, row: Row) -> list[dict[str, object]]:
    base: dict[str, object] = {name: getattr(group, name) for name in GROUP}
    base |= {"defense": row.defense, "strength": row.strength, "seeds": row.utility.seeds}
    base |= ends("utility", row.utility) | ends("loss", row.loss) | {"rank_metric": group.rank}
    base |= {"reference": group.terms.reference}
    attacks = [entry for entry in row.attacks if not entry.floor]
    worst: dict[str, object] = {
        "attack": WORST,
        "adversary": "",
        "role": WORST,
        "cells": sum(entry.cells for entry in attacks),
        "cells_done": sum(entry.done for entry in attacks),
        "reason": "" if row.worst else "no image was scored by all done attacks",
        "strongest_attack": row.strongest.name if row.strongest else "",
        **ends(_NORMALISED[0], row.normalised),
        **ends(_NORMALISED[1], row.normalised_ssim),
        **_ranks(group, row),
        "badge": row.badge,
        "pareto": str(row.pareto).lower(),
        "flags": " ".join(row.flags),
        "strongest_flags": " ".join(row.strongest.flags) if row.strongest else "",
        **_scores(row.worst.scores if row.worst else NO_SCORES, group.terms),
        **_verdict(group, row),
    }
    return [base | worst, *(base | _attack(entry, group.terms) for entry in row.attacks)]


def _verdict(group: Group, row: Row) -> dict[str, object]:
    """The word and what it stands on."""
    found = row.verdict
    columns: dict[str, object] = {
        "verdict": found.word.value if found.word else "",
        "not_tested_because": "; ".join(found.reasons),
        "suite": group.suite,
        "suite_attacks": found.attacks,
        "loss_upper": row.loss.upper,
    }
    for limit in LIMITS:
        columns[f"admitted_{limit:g}"] = str(not row.baseline and group.admitted(row, limit)).lower()
    for name in SHARES:
        columns |= ends(name, getattr(found, name))
    return columns


def _attack(entry: AttackEntry, names: Terms) -> dict[str, object]:
    return {
        "attack": entry.attack,
        "adversary": entry.adversary,
        "role": "floor" if entry.floor else "attack",
        "cells": entry.cells,
        "cells_done": entry.done,
        "reason": failures(entry),
        "evaluations": entry.evaluations,
        **ends(_NORMALISED[0], entry.normalised),
        "badge": entry.badge if entry.done else "",
        "flags": " ".join(entry.flags),
        **_scores(entry.scores, names),
    }


def _ranks(group: Group, row: Row) -> dict[str, object]:
    """The row's place and tie groups within each limit, where it is its defense's best strength."""
    found: dict[str, object] = {}
    for limit in LIMITS:
        for place in group.places[limit]:
            if place.row.number == row.number:
                found |= {f"rank_{limit:g}": place.standing.rank}
                found |= {f"rank_{limit:g}_ties": place.standing.letters}
    return found


def _scores(scores: Mapping[str, Interval], names: Terms) -> dict[str, object]:
    lead = scores["psnr"]
    found: dict[str, object] = {
        "releases": lead.n_clusters,
        "images": lead.n_images,
        "missing": lead.n_missing,
    }
    for name in scores:
        value = scores[name] if name in names.metrics else NOTHING
        found |= {**ends(name, value), f"{name}_images": value.n_images}
    return found
