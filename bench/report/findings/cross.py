"""The cross of a setting: every attack against every defense, in private images recovered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.analysis.entries import AttackEntry, Group, Row
from bench.report.findings.recovered import amount, recovered
from bench.report.frames import INCOMPATIBLE, NAIVE
from bench.report.statistics import Interval
from bench.report.text import MISSING, loss, mean, percent

NOTE = (
    "By the stronger of an attack's naive and adaptive forms; in brackets the naive one, where it is the "
    "weaker. A dash: not tried. LPIPS, SSIM and PSNR are of the best reconstruction of each image by any "
    "attack."
)


def cross(group: Group) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a defense at its strength, its cost, a column for each attack, the worst case.

    Args:
        group: its rows have been judged.

    Returns:
        Texts that are not escaped. No row where no attack is done.
    """
    entries = [entry for row in group.rows for entry in row.attacks if not entry.floor]
    tried = sorted((e for e in entries if e.done or _failed(e)), key=lambda entry: not entry.done)
    names = list(dict.fromkeys(entry.attack for entry in tried))
    heads = [group.terms.heads[name] for name in group.terms.worst if name != group.terms.goal]
    head = ["defense", "accuracy %", "loss, points", *names, "strongest", *heads]
    done = any(entry.done for entry in entries)
    return head, [_row(group, row, names) for row in group.rows] if done else []


def _failed(entry: AttackEntry) -> bool:
    """Whether a cell has no result that could have had one."""
    return any(failure.status != INCOMPATIBLE for failure in entry.failures)


def _row(group: Group, row: Row, names: Sequence[str]) -> list[str]:
    worst = [name for name in group.terms.worst if name != group.terms.goal]
    return [
        row.name,
        percent(row.utility.mean),
        "–" if row.baseline else loss(row.loss),
        *(_cell(group, row, [entry for entry in row.attacks if entry.attack == name]) for name in names),
        recovered(row, group),
        *(mean(name, row.worst.scores[name].mean) if row.worst else MISSING for name in worst),
    ]


def _cell(group: Group, row: Row, entries: Sequence[AttackEntry]) -> str:
    """What one attack recovered of one row; a dash where it was not tried, and why there is no number."""
    column = group.terms.recovery
    known = [entry for entry in entries if entry.done and not math.isnan(entry.scores[column].mean)]
    if not known:
        states = {failure.status for entry in entries for failure in entry.failures}
        return " and ".join(sorted("n/a" if state == INCOMPATIBLE else state for state in states)) or "–"
    best = max(known, key=lambda entry: entry.scores[column].mean)
    naive = next((entry for entry in known if entry.adversary == NAIVE), best)
    most = row.verdict.recovered.n_images
    found, weaker = (_found(group, entry.scores[column], most) for entry in (best, naive))
    return found if found == weaker else f"{found} ({weaker})"


def _found(group: Group, value: Interval, most: int) -> str:
    """A count, with the number of images where an attack met fewer than its row's strongest one."""
    found = amount(value, group)
    return found if value.n_images != most else found.partition(" of ")[0]
