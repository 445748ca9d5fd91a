"""Whether a record says of its cell, beside the images, what a second measurement of it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from bench.api.cards import Kind
from bench.matrix.cells import Cell, Variant
from bench.matrix.expand import variant
from bench.records.record import Record
from bench.verify.agreement import ALIKE, SAME
from bench.verify.badges import Badge

_PARTS = {
    "stages", "seeds", "utility", "attack", "generator", "release", "means", "perturbed", "bound",
    "pool", "evaluator_accuracy",
}  # fmt: skip
"""All that was measured but time, memory and machine, which no second measurement can confirm."""
_SHARED = "release.shared_labels"
_MEANS = ("means", "perturbed", "bound")
_ACCURACY, _SHARE = (0.02, 0.0), (0.05, 0.0)
_AGAIN = {
    "evaluator_accuracy": _ACCURACY,
    "utility.accuracy": _ACCURACY,
    "utility.initial_accuracy": _SHARE,
    "utility.details": (0.02, 0.1),
    "attack.evaluations_mean": (0.0, 0.1),
    "attack.evaluations_max": (0.0, 0.1),
    "attack.cost_mean": (1e-3, 0.5),
    "attack.task_accuracy": _SHARE,
    "release.norm_mean": (0.0, 0.1),
    "generator.frechet": (0.05, 0.5),
    "generator.frechet_real": (0.02, 0.1),
    "generator.confident": (0.1, 0.0),
    "generator.confident_real": _SHARE,
    "generator.classes": (0.0, 0.1),
    "generator.diversity": (0.0, 0.1),
}
"""How far what is trained or searched anew may be from the record: absolute, and as a share of the larger
number. What is not named must be equal."""


def contradictions(record: Record, again: Record, badge: Badge) -> list[str]:
    """What the record says and a second measurement does not, each with its field and both values."""
    first, second = _compared(record, again)
    wrong = [
        f"{name} is {first.get(name)!r} in the record and {second.get(name)!r} now"
        for name in sorted(first.keys() | second.keys())
        if not _near(name, first.get(name), second.get(name), badge)
    ]
    return [*_mislabelled(record.asked), *wrong]


def equal(record: Record, again: Record) -> bool:
    """Whether both say the same to the last digit."""
    first, second = _compared(record, again)
    return first == second


def _compared(record: Record, again: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of both; but not how many labels are shared where the record is from before that."""
    first, second = (dict(_fields(item)) for item in (record, again))
    if first.get(_SHARED) is None:
        second.pop(_SHARED, None)
        first.pop(_SHARED, None)
    return first, second


def _fields(record: Record) -> Iterator[tuple[str, Any]]:
    measured = record.model_dump(include=_PARTS, exclude={"utility": {"signal"}})  # older records have none
    waiting = list(measured.items())
    for name, value in waiting:
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            yield name, value


def _near(name: str, first: Any, second: Any, badge: Badge) -> bool:
    if first == second:
        return True
    if isinstance(first, bool) or not isinstance(first, int | float) or not isinstance(second, int | float):
        return False
    absolute, relative = _tolerance(name, badge)
    return math.isclose(first, second, abs_tol=absolute, rel_tol=relative)


def _tolerance(name: str, badge: Badge) -> tuple[float, float]:
    part, _, metric = name.partition(".")
    if part in _MEANS:
        return (SAME if badge == "recomputed" else ALIKE)[metric], 0.0
    if badge == "recomputed":
        return 0.0, 0.0  # it is read from the cache, not measured again
    return _AGAIN.get(name, _AGAIN.get(".".join(name.split(".")[:2]), (0.0, 0.0)))


def _mislabelled(cell: Cell) -> Iterator[str]:
    """Labels and strengths, which tables show and no digest covers, are those of the parameters."""
    plugins: dict[Kind, Variant] = {"dataset": cell.dataset, "defense": cell.defense, "attack": cell.attack}
    for kind, chosen in plugins.items():
        honest = variant(kind, chosen.name, chosen.arguments())
        if (chosen.label, chosen.strength) != (honest.label, honest.strength):
            yield f"cell.{kind} is shown as {_shown(chosen)}, its parameters make it {_shown(honest)}"


def _shown(chosen: Variant) -> str:
    return chosen.label if chosen.strength is None else f"{chosen.label} = {chosen.strength:g}"
