"""Whether enough releases stand behind the rows of a table for it to be evidence of anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.channels import of_classes
from bench.report.analysis.entries import Group, Row
from bench.report.analysis.verdict import LEAST_CLASSES, LEAST_RELEASES


def releases(row: Row) -> int:
    """How many releases stand behind the worst case of a row; on channel ``model`` classes x seeds."""
    return 0 if row.worst is None else max(value.n_clusters for value in row.worst.scores.values())


def by_setting(groups: Iterable[Group]) -> dict[str, int]:
    """The releases of each setting's best measured row, by the setting's title."""
    return {group.title: max(map(releases, group.rows), default=0) for group in groups}


def caveat(settings: Mapping[str, int]) -> str:
    """A sentence where numbers are no evidence, because too few releases stand behind them; else empty.

    Args:
        settings: releases behind a row, by the title of the setting.
    """
    few = [title for title, count in settings.items() if count < _least(title)]
    if not few:
        return ""
    where = "" if len(few) == len(settings) else f" of {'; '.join(few)}"
    return (
        f"Not tested: fewer than {LEAST_RELEASES} releases (on channel model {LEAST_CLASSES} classes x "
        f"seeds) stand behind each row{where}. Such numbers show how the benchmark works, and decide nothing."
    )


def _least(title: str) -> int:
    """How many releases a setting needs: on channel ``model`` a release is a class of one seed."""
    return LEAST_CLASSES if of_classes(title) else LEAST_RELEASES
