"""How many private images were recovered, in words that stand beside every worst case."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bench.channels.shared.terms import MEANING
from bench.report.analysis.entries import Group, Row
from bench.report.analysis.verdict import Word
from bench.report.statistics import NOTHING, Interval
from bench.report.text import MISSING, bounds, number

HEAD = "recovered ↑"
UNION = "by any attack ↑ %"
DROP = "fewer than undefended, points"
IDENTIFIABLE = "re-identifiable ↑ %"
BOUND = (
    "Re-identifiable is a bound beside the attacks: whose release it was, chosen from a list of all private "
    "images. It rebuilds nothing, but what is not recovered is not hidden."
)


def meaning(groups: Iterable[Group]) -> str:
    """What is counted in these settings, in a sentence or two."""
    texts = {group.terms.meaning for group in groups} or {MEANING}
    return " ".join(sorted(texts, key=lambda text: text != MEANING))


def bounded(group: Group) -> bool:
    """Whether anything chose from a list of candidates here, so that there is a bound to show."""
    return any(row.verdict.identifiable.n_images for row in group.rows)


def count(value: Interval) -> str:
    """``25 of 33``: images recovered, and images that could be; ``n/a`` if nobody knows."""
    if math.isnan(value.mean):
        return MISSING
    return f"{round(value.mean * value.n_images)} of {value.n_images}"


def amount(value: Interval, group: Group) -> str:
    """The count; where it is a net share, which counts no whole images, per cent."""
    return f"{percents(value)[0]} %" if group.terms.net else count(value)


def percents(value: Interval) -> tuple[str, str]:
    """Mean and bounds in per cent, apart, without the sign."""
    if math.isnan(value.mean):
        return MISSING, ""
    return number(100 * value.mean, 0), bounds(100 * value.low, 100 * value.high, 0)


def percent(value: Interval) -> str:
    """``76 [58, 89]``."""
    return " ".join(percents(value)).strip()


def recovered(row: Row | None, group: Group) -> str:
    """The count of a row; on channel ``model`` the net share."""
    return MISSING if row is None or row.recovery is None else amount(row.verdict.recovered, group)


def levels(group: Group) -> dict[str, float]:
    """The shares that others are set beside: the undefended row's, and that of blind guesses together.

    The guesses' are taken on the same images; where shares are net of them, they are 0. NaN where unknown.
    """
    shown = NOTHING if group.baseline is None else group.baseline.verdict.recovered
    return {"undefended": shown.mean, "blind guess": 0.0 if group.terms.net else shown.mean - group.lead.mean}


def undefended(group: Group, before: str = "") -> str:
    """The undefended victim's: ``undefended 33 of 33``; empty where there is none."""
    return "" if group.baseline is None else f"{before}undefended {recovered(group.baseline, group)}"


def with_undefended(row: Row | None, group: Group) -> str:
    """The same beside the undefended victim's: ``25 of 33; undefended 33 of 33``."""
    return recovered(row, group) + undefended(group, "; ")


def identifiable(row: Row, before: str = "") -> str:
    """What a list of all private images gives away: ``20 % re-identifiable``; empty without a list."""
    found = row.verdict.identifiable
    return f"{before}{percents(found)[0]} % re-identifiable" if found.n_images else ""


def again(
    found: tuple[Group, Row] | None, word: Word | None, before: str = "", *, awaited: bool = False
) -> str:
    """What fresh seeds say: ``confirmed on 5 fresh seeds: 24 of 75``.

    Args:
        found: group and row on those seeds; None where it was not measured.
        word: what the row says; where the fresh seeds say another, that stands there with its undefended row.
        before: stands before the text.
        awaited: the matrix asks for fresh seeds. Without it, what was not measured gives an empty text.
    """
    if found is None:
        return f"{before}not yet confirmed on fresh seeds" if awaited else ""
    group, row = found
    seeds = f"{row.utility.seeds} fresh seed{'s' * (row.utility.seeds != 1)}"
    if row.verdict.word is word:
        return f"{before}confirmed on {seeds}: {recovered(row, group)}"
    return f"{before}on {seeds} {with_undefended(row, group)}: {row.verdict.shown}"


def share(row: Row, group: Group) -> str:
    """Count, per cent and interval, for the columns of a table: ``25 of 33, 76 [58, 89] %``."""
    value = row.verdict.recovered
    if math.isnan(value.mean):
        return MISSING
    return f"{'' if group.terms.net else f'{count(value)}, '}{percent(value)} %"
