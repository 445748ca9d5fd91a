"""One record as one row of the table of cells."""

from __future__ import annotations

import json
import math
from typing import Any

from bench.channels.shared.terms import CLASS_METRICS, METRICS
from bench.matrix.cells import Cell, Variant
from bench.records.record import Record
from bench.text import clean

QUALITY = ["frechet", "frechet_real", "confident", "confident_real", "classes", "diversity"]
"""What a record says of the generator that its attack searched."""
_NUMBERS = {
    "utility": ["accuracy", "initial_accuracy", "converged", "rounds"],
    "attack": [
        "evaluations_mean",
        "evaluations_max",
        "cost_mean",
        "task_accuracy",
        "single_share",
        "honest_share",
    ],
    "release": ["zero", "nonfinite", "norm_mean", "shared_labels"],
    "means": METRICS,
    "perturbed": ["psnr", "ssim", "lpips"],
    "bound": ["psnr", "ssim", "lpips", "recognised"],
    "generator": QUALITY,
    "seconds": ["victim", "generator", "release", "reconstruction", "scores"],
}
_PREFIX = {
    "utility": "", "attack": "", "release": "release_", "means": "mean_", "perturbed": "perturbed_",
    "bound": "bound_", "generator": "generator_", "seconds": "seconds_",
}  # fmt: skip
_PROVENANCE = [
    "commit", "dirty", "python", "torch", "torchvision", "numpy", "lpips", "bench", "device", "threads",
    "platform", "finished",
]  # fmt: skip
TYPES: dict[str, type] = {
    **dict.fromkeys(["id", "key", "channel", "dataset", "model", "checkpoint"], str),
    "batch_size": int,
    "defense": str,
    "strength": float,
    "attack": str,
    "adversary": str,
    "seed": int,
    **dict.fromkeys(["attack_name", "defense_name", "dataset_name"], str),
    **dict.fromkeys(["attack_parameters", "defense_parameters", "dataset_parameters"], str),
    **dict.fromkeys(["releases", "budget"], int),
    "epochs": float,
    **dict.fromkeys(["status", "reason"], str),
    **{_PREFIX[part] + name: float for part, names in _NUMBERS.items() for name in names},
    **dict.fromkeys(["generator_kind", "generator_key"], str),
    "details": object,
    "signal": object,
    "pool": float,
    "evaluator_accuracy": float,
    "lpips_status": str,
    "lpips_side": float,
    "peak_memory_mb": float,
    **dict.fromkeys(_PROVENANCE, str),
}
"""Columns of the table of cells and what they hold."""
OPTIONAL = [
    *(f"mean_{name}" for name in CLASS_METRICS),
    *(f"generator_{name}" for name in [*QUALITY, "kind", "key"]),
    "seconds_generator",
    "signal",
    "release_shared_labels",
    "pool",
    "lpips_side",
    *("single_share", "honest_share"),
]
"""Columns that a folder does without where no record has anything in them."""


def flatten(record: Record) -> dict[str, Any]:
    """The row of one record; texts are cleaned, what is not there is NaN."""
    content = record.model_dump(mode="json")
    row = _asked(record.asked) | {name: clean(content[name]) for name in ("id", "key", "status", "reason")}
    for part, names in _NUMBERS.items():
        values = content[part] or {}
        row |= {_PREFIX[part] + name: _number(values.get(name)) for name in names}
    utility, release = content["utility"] or {}, content["release"] or {}
    row["generator_kind"] = clean((content["generator"] or {}).get("kind", ""))
    row["generator_key"] = content["stages"]["generator"]
    row["details"] = {clean(name): _number(value) for name, value in utility.get("details", {}).items()}
    row["signal"] = [_number(value) for value in release.get("signal") or []]
    for name in ("pool", "evaluator_accuracy", "peak_memory_mb"):
        row[name] = _number(content[name])
    row["lpips_status"] = clean(content["lpips_status"])
    row["lpips_side"] = _number(content["lpips_side"] or None)
    return row | {name: clean(content["provenance"][name]) for name in _PROVENANCE}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _asked(cell: Cell) -> dict[str, Any]:
    """The question."""
    return {
        "channel": str(cell.channel),
        "dataset": clean(cell.dataset.label),
        "model": clean(cell.model),
        "checkpoint": str(cell.checkpoint),
        "batch_size": int(cell.batch_size),
        "defense": clean(cell.defense.label),
        "strength": float(f"{_number(cell.strength):.6g}"),  # the digits of images.csv.gz
        "attack": clean(cell.attack.label),
        "adversary": str(cell.adversary),
        "seed": int(cell.seed),
        "attack_name": clean(cell.attack.name),
        "defense_name": clean(cell.defense.name),
        "dataset_name": clean(cell.dataset.name),
        "attack_parameters": _parameters(cell.attack),
        "defense_parameters": _parameters(cell.defense),
        "dataset_parameters": _parameters(cell.dataset),
        "releases": int(cell.releases),
        "budget": int(cell.budget),
        "epochs": _number(cell.epochs),
    }


def _parameters(variant: Variant) -> str:
    """All parameters as a JSON object; a value that is none of a parameter's becomes its text."""
    return json.dumps(variant.arguments(), sort_keys=True, default=str)
