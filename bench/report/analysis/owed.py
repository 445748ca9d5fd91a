"""Which attacks of its suite a row owes and lacks, and how much of what it asks for was measured."""

from __future__ import annotations

import pandas as pd

from bench.api.cards import AttackCard
from bench.matrix.suites import Suite
from bench.report.cards import Cards
from bench.report.frames import ATTACK, DONE, INCOMPATIBLE, NAIVE
from bench.report.tallies import Coverage

ADAPTIVE = "adaptive"


def missing(suite: Suite, cells: pd.DataFrame, group: pd.DataFrame, cards: Cards) -> tuple[str, ...]:
    """Names of the attacks that a row owes and was not attacked by, on every seed.

    What a setting owes follows from the cards: every attack of the suite that is made for the channel and for
    batches of this size, in its adaptive form where the defense gives it something to adapt to. A cell that
    cannot be, for a reason that its record gives, counts as met. Attacks that never see the release are owed
    once by the setting.

    Args:
        suite: of the channel.
        cells: the row's records, with ``attack_name`` and ``defense_name``.
        group: the records of all rows of the setting.
        cards: of the plug-ins.
    """
    channel, seeds = str(cells["channel"].iloc[0]), set(group["seed"])
    batch_size = int(cells["batch_size"].iloc[0])
    adaptable = cards.adaptable(str(cells["defense_name"].iloc[0])) is not False
    found = []
    for name in suite.attacks:
        card = cards.attack(name)
        if card is not None and (channel not in card.channels or _too_many(card, batch_size)):
            continue
        place = group if card is not None and not card.observes_release else cells
        mine = place[(place["attack_name"] == name) & place["status"].isin([DONE, INCOMPATIBLE])]
        mine = mine[mine["adversary"] == _adversary(card, adaptable, place is group)]
        if not seeds <= set(mine["seed"]):
            found.append(name)
    return tuple(found)


def _too_many(card: AttackCard, batch_size: int) -> bool:
    """Whether releases have more images than the attack is made for."""
    return card.max_batch_size is not None and batch_size > card.max_batch_size


def _adversary(card: AttackCard | None, adaptable: bool, blind: bool) -> str:
    """In which form a row owes an attack."""
    knows = card is None or ADAPTIVE in card.adversaries
    return ADAPTIVE if adaptable and knows and not blind else NAIVE


def coverage(cells: pd.DataFrame, group: pd.DataFrame) -> Coverage:
    """Cells of one row against all that its attacks, its adversaries and the group's seeds ask for.

    Args:
        cells: the row's records.
        group: the records of all rows of its group.
    """
    asked = len(cells[ATTACK].drop_duplicates()) * group["seed"].nunique()
    status = cells["status"]
    incompatible = int((status == INCOMPATIBLE).sum())
    return Coverage(done=int((status == DONE).sum()), wanted=asked - incompatible, incompatible=incompatible)
