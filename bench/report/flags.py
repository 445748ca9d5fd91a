"""Sanity flags: what a reader must know about a number before believing it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.api.cards import AttackCard, DefenseCard
from bench.report.entries import AttackEntry
from bench.report.frames import DONE, INCOMPATIBLE
from bench.report.statistics import certainly_positive
from bench.report.worst import paired

LEGEND = {
    "partial": "some cells of this row are not done: its worst case is over fewer images or attacks",
    "missing-attack": "an attack that worked on another row has no result here: the worst case may be "
    "too mild, so the row has no rank",
    "unconverged": "the training of at least one victim had not converged, so its accuracy is too low",
    "single-draw": "a random defense of which every victim released a single draw: its leak may be luck",
    "dead-release": "the release of at least one victim was zero or not finite",
    "below-prior": "certainly worse (LPIPS, paired) than the floor, an attack that never saw the release; "
    "of a row: every attack on it is, so that its leak and its gain tell of their failure, too",
    "psnr-only": "PSNR certainly better but LPIPS certainly worse than the floor",
    "budget": "its budget is not that of most attacks of the group, or it spent more than its budget",
    "below-card": "misses the PSNR that its card demands on the undefended victim: suspect implementation",
    "labels-given": "the attacker was given the private labels",
    "failures": "some of its cells failed; its means are over the others",
    "diverged": "some reconstructions have no score and are in no mean",
}
"""Flag -> the sentence printed below the table."""


def row_flags(
    cells: pd.DataFrame, victims: pd.DataFrame, group: pd.DataFrame, card: DefenseCard | None
) -> list[str]:
    """Flags of a defense row.

    Args:
        cells: the row's records.
        victims: its victims, see :func:`bench.report.utility.victims`.
        group: the records of all rows of its group; ``floor`` marks attacks that ignore the release.
        card: the defense's card, if it is installed.
    """
    question = ["attack", "adversary", "seed"]
    wanted = group[~group["floor"] & (group["status"] != INCOMPATIBLE)]
    settled = cells[cells["status"].isin([DONE, INCOMPATIBLE])]
    missing = _tuples(wanted, question) - _tuples(settled, question)
    working = wanted[wanted["status"] == DONE]
    unmet = _tuples(working, question[:2]) - _tuples(settled, question[:2])
    dead = (cells[["release_zero", "release_nonfinite"]].fillna(0) > 0).any(axis=None)
    found = {
        "partial": bool(missing),
        "missing-attack": bool(unmet),
        "unconverged": bool((victims["converged"] == 0).any()),
        "single-draw": card is not None and card.random and bool((cells["releases"] == 1).all()),
        "dead-release": bool(dead),
    }
    return [flag for flag, raised in found.items() if raised]


def _tuples(cells: pd.DataFrame, columns: list[str]) -> set[tuple[Any, ...]]:
    return set(cells[columns].itertuples(index=False, name=None))


def attack_flags(
    entry: AttackEntry, cells: pd.DataFrame, card: AttackCard | None, *, usual_budget: float, weak: bool
) -> list[str]:
    """Flags of one attack that its records and its card show.

    Args:
        entry: the attack's numbers.
        cells: its done records.
        card: its card, if it is installed.
        usual_budget: the budget of most cells of the group.
        weak: it missed its card's floor on the undefended victim.
    """
    overspent = cells["evaluations_max"] > cells["budget"]
    found = {
        "budget": bool((overspent | (cells["budget"] != usual_budget)).any()),
        "below-card": weak,
        "labels-given": card is not None and card.needs_labels,
        "failures": entry.done > 0 and any(f.status != INCOMPATIBLE for f in entry.failures),
        "diverged": entry.scores["psnr"].n_missing > 0,
    }
    return [flag for flag, raised in found.items() if raised]


def floor_flags(images: pd.DataFrame, floor: pd.DataFrame, key: str) -> list[str]:
    """Flags of an attack set beside the floor on the same images.

    Args:
        images: the attack's images.
        floor: the floor's images under the same defense.
        key: see :func:`bench.report.statistics.mean_cis`.
    """
    if not certainly_positive(paired(images, floor, "lpips", key)):
        return []
    better_psnr = certainly_positive(paired(images, floor, "psnr", key))
    return ["below-prior", "psnr-only"] if better_psnr else ["below-prior"]


def misses_card(
    entry: AttackEntry, card: AttackCard | None, model: str, checkpoint: str, batch_size: int
) -> bool:
    """Whether an attack on the undefended victim stays below the PSNR that its card promises (for B = 1)."""
    if card is None or card.floor is None or batch_size != 1 or not entry.done:
        return False
    applies = (card.floor.model, card.floor.checkpoint) == (model, checkpoint)
    return applies and entry.scores["psnr"].mean < card.floor.psnr
