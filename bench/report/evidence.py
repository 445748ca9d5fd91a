"""Whether enough releases stand behind the rows of a table for it to be evidence of anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.report.entries import Group, Row

LEAST_RELEASES = 20
"""Releases (clusters, over all seeds) behind a row; fewer say nothing of a defense."""


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
    few = [title for title, count in settings.items() if count < LEAST_RELEASES]
    if not few:
        return ""
    where = "" if len(few) == len(settings) else f" of {'; '.join(few)}"
    return (
        f"No evidence: fewer than {LEAST_RELEASES} releases stand behind each row{where}. Such numbers show "
        "how the benchmark works, and nothing of what a defense protects."
    )
