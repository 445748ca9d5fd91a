"""Sanity flags: what a reader must know about a number before believing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.api.cards import AttackCard, DefenseCard
from bench.channels import terms
from bench.channels.shared.terms import LOWER_LEAKS, Terms, direction
from bench.report.analysis.entries import AttackEntry, Group
from bench.report.analysis.generators import FAR, UNSURE, weak
from bench.report.analysis.worst import paired
from bench.report.frames import DONE, INCOMPATIBLE
from bench.report.statistics import certainly_positive

APART = 0.1
"""Shares of recognised and of identified images that are further apart than this are flagged."""
LEGEND = {
    "partial": "some cells of this row are not done: its worst case is over fewer images or attacks",
    "missing-attack": "an attack of the suite that this row owes (where its matrix names no suite: one that "
    "worked on another row) has no result here: the worst case may be too mild, so the row has no rank",
    "unconverged": "the training of at least one victim had not converged, so its accuracy is too low",
    "single-draw": "a random defense of which every victim released a single draw: its leak may be luck",
    "dead-release": "the release of at least one victim was zero or not finite",
    "below-prior": "certainly worse (LPIPS, paired) than the floor, an attack that never saw the release; "
    "of a row: every attack on it is, so that it says nothing of its defense",
    "psnr-only": "PSNR certainly better but LPIPS certainly worse than the floor",
    "budget": "its budget is not that of most attacks of the group, or it spent more than its budget",
    "under-budget": "it ended after the same number of evaluations on every image of every row, less than "
    "half of its budget, and did not rebuild them all: its schedule is short, and a longer one may find more",
    "below-card": "misses the PSNR that its card demands on the undefended victim: suspect implementation",
    "labels-given": "the attacker was given the private labels",
    "failures": "some of its cells failed; its means are over the others",
    "weak-generator": "its prior is poor: a better generator may leak more. Samples of at least one lie more "
    f"than {FAR:g} times as far from auxiliary images as test images do (Frechet distance), or the evaluator "
    f"is sure of less than {UNSURE:g} times as many of them",
    "unknown-generator": "its records do not say which generator it searched: neither how good it is, nor "
    "that it was trained apart from the private images",
    "evaluators-disagree": f"the two evaluators are more than {100 * APART:g} % of the images apart: what "
    "was rebuilt may please one network rather than show a person",
    "diverged": "some reconstructions have no score and are in no mean",
}
"""Flag -> the sentence printed below the table."""


def legend(groups: Iterable[Group]) -> Mapping[str, str]:
    """The flags that some groups may carry, and what they mean there."""
    groups = list(groups)
    own = {group.channel: group.terms.flags for group in groups}
    twice = any(group.terms.by_class and "identified" in group.terms.metrics for group in groups)
    known = {code: text for code, text in LEGEND.items() if twice or code != "evaluators-disagree"}
    other = {channel: words for channel, words in own.items() if words}
    changed = {code: text for words in other.values() for code, text in words.items()}
    if other and len(other) == len(own):
        return {code: text for code, text in (known | changed).items() if text}
    both = {
        code: f"{LEGEND[code]}. On channel {channel}: {text}"
        for channel, words in other.items()
        for code, text in words.items()
        if text
    }
    return known | both


def row_flags(
    cells: pd.DataFrame,
    victims: pd.DataFrame,
    group: pd.DataFrame,
    card: DefenseCard | None,
    owed: Sequence[str] | None,
) -> list[str]:
    """Flags of a defense row.

    Args:
        cells: the row's records.
        victims: its victims, see :func:`bench.report.analysis.utility.victims`.
        group: the records of all rows of its group; ``floor`` marks attacks that ignore the release.
        card: the defense's card, if it is installed.
        owed: attacks of the suite that the row lacks; None where there is no suite, and then an attack is
            missing that worked on another row.
    """
    question = ["attack", "adversary"]
    completed = cells[cells["status"].isin([DONE, INCOMPATIBLE])]
    seeds = len(set(group["seed"]))
    partial = (completed.groupby(question)["seed"].nunique() < seeds).any() or len(completed) < len(cells)
    working = group[~group["floor"] & (group["status"] == DONE)]
    unmet = _tuples(working, question) - _tuples(completed, question) if owed is None else owed
    dead = (cells[["release_zero", "release_nonfinite"]].fillna(0) > 0).any(axis=None)
    found = {
        "partial": bool(partial),
        "missing-attack": bool(unmet),
        "unconverged": bool((victims["converged"] == 0).any()),
        "single-draw": card is not None and card.random and bool((cells["releases"] == 1).all()),
        "dead-release": bool(dead),
    }
    return [flag for flag, raised in found.items() if raised]


def _tuples(cells: pd.DataFrame, columns: list[str]) -> set[tuple[Any, ...]]:
    return set(cells[columns].itertuples(index=False, name=None))


def attack_flags(
    entry: AttackEntry,
    cells: pd.DataFrame,
    card: AttackCard | None,
    *,
    usual_budget: float,
    broken: bool,
    scheduled: bool,
) -> list[str]:
    """Flags of one attack that its records and its card show.

    Args:
        entry: the attack's numbers.
        cells: its done records.
        card: its card, if it is installed.
        usual_budget: the budget of most cells of the group.
        broken: it missed its card's floor on the undefended victim.
        scheduled: how long it takes does not depend on what it sees, see :func:`scheduled`.
    """
    overspent = cells["evaluations_max"] > cells["budget"]
    found = {
        "budget": bool((overspent | (cells["budget"] != usual_budget)).any()),
        "under-budget": scheduled and _ends_early(entry, cells),
        "below-card": broken,
        "labels-given": card is not None and card.needs_labels,
        "failures": entry.done > 0 and any(f.status != INCOMPATIBLE for f in entry.failures),
        "weak-generator": bool(weak(cells).any()),
        "unknown-generator": card is not None
        and card.needs_generator
        and bool((cells["generator_kind"] == "").any()),
        "evaluators-disagree": _disagree(entry, cells),
        "diverged": entry.scores["psnr"].n_missing > 0,
    }
    return [flag for flag, raised in found.items() if raised]


def scheduled(group: pd.DataFrame) -> set[str]:
    """Labels of attacks that spent the same number of evaluations on every image of a group.

    A schedule ended them: success and plateaus come at another time on other images or under other defenses.
    """
    done = group[~group["floor"] & (group["status"] == DONE)]
    spent = done.groupby("attack")[["evaluations_mean", "evaluations_max"]].agg(["min", "max"])
    same = spent.nunique(axis=1, dropna=False) == 1
    return set(same.index[same])


def _ends_early(entry: AttackEntry, cells: pd.DataFrame) -> bool:
    """Whether a schedule leaves more than half of the budget, and images that are not rebuilt."""
    if cells.empty:
        return False
    goal = entry.scores[terms(str(cells["channel"].iloc[0])).goal]
    return 0 < 2 * entry.evaluations < cells["budget"].min() and goal.mean < 1


def _disagree(entry: AttackEntry, cells: pd.DataFrame) -> bool:
    """Whether two evaluators of classes are far apart; a share that is not there says nothing."""
    if cells.empty or not terms(str(cells["channel"].iloc[0])).by_class:
        return False
    return abs(entry.scores["recognised"].mean - entry.scores["identified"].mean) > APART


def floor_flags(images: pd.DataFrame, floor: pd.DataFrame, words: Terms, key: str) -> list[str]:
    """Flags of an attack set beside the floor on the same images.

    Args:
        images: the attack's images.
        floor: the floor's images under the same defense.
        words: of the channel.
        key: see :func:`bench.report.statistics.mean_cis`.
    """
    metric = words.ranks[0]
    first, second = (floor, images) if direction(metric) > 0 else (images, floor)
    if not certainly_positive(paired(first, second, metric, key)):
        return []
    if metric not in LOWER_LEAKS:
        return ["below-prior"]
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
