"""How many private images were recovered, in words that stand beside every worst case."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bench.report.entries import Group, WorstCase
from bench.report.statistics import Interval
from bench.report.text import MISSING, score

METRIC = "identified"
"""What the records call it."""
HEAD = "images recovered ↑"
MEANING = (
    "An image is recovered when the nearest image to its reconstruction, of all in the pool, is its original."
)
_CLASSES = "On channel model, where classes are rebuilt, an image counts that the evaluator recognises."
LEAST_DROP = 0.1
"""The share of images by which a defense must lower what is recovered before its name is set in bold."""


def meaning(groups: Iterable[Group]) -> str:
    """What is counted in these settings, in a sentence or two."""
    kinds = {group.terms.by_class for group in groups}
    return " ".join(([MEANING] if kinds != {True} else []) + ([_CLASSES] if True in kinds else []))


def count(value: Interval) -> str:
    """``25 of 33``: images recovered, and images that could be; ``n/a`` if nobody knows."""
    if math.isnan(value.mean):
        return MISSING
    return f"{round(value.mean * value.n_images)} of {value.n_images}"


def recovered(worst: WorstCase | None, group: Group) -> str:
    """The count of a worst case; a dash on channel ``model``, whose reconstructions have no original."""
    if group.terms.by_class:
        return "–"
    return MISSING if worst is None else count(worst.scores[METRIC])


def with_undefended(worst: WorstCase | None, group: Group) -> str:
    """The same beside the undefended victim's: ``25 of 33; undefended 33 of 33``."""
    base = group.baseline.worst if group.baseline else None
    own = recovered(worst, group)
    return own if group.terms.by_class or base is None else f"{own}; undefended {recovered(base, group)}"


def share(value: Interval) -> str:
    """Count, per cent and interval, for the columns of a table: ``25 of 33, 76 [61, 91] %``."""
    return MISSING if math.isnan(value.mean) else f"{count(value)}, {score(METRIC, value)} %"


def fewer(worst: WorstCase, base: WorstCase, group: Group) -> bool:
    """Whether clearly fewer images are recovered than without a defense; classes recognised on ``model``."""
    metric = "recognised" if group.terms.by_class else METRIC
    return base.scores[metric].mean - worst.scores[metric].mean >= LEAST_DROP - 1e-9  # False for NaN
