"""One attack on a few real releases, as often as the promises need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from bench.api import Adversary, Attack, Channel, Defense, GradientObservation, Reconstruction
from bench.api.cards import AttackCard
from bench.check import material
from bench.check.card import build
from bench.check.place import Subject
from bench.plugins import attack_card, build_defense, defense_card, discover

_LARGER_BATCH = 4


def card_of(subject: Subject) -> AttackCard:
    """The attack's card."""
    return attack_card(subject.name)


def sizes(card: AttackCard) -> list[int]:
    """The batch sizes to try: the smallest, and a larger one if the card allows it."""
    return [size for size in (1, _LARGER_BATCH) if card.max_batch_size is None or size <= card.max_batch_size]


def views(card: AttackCard) -> Iterator[tuple[Adversary, Defense]]:
    """The naive attacker, and the adaptive one before each kind of view that a defense can give."""
    if Adversary.NAIVE in card.adversaries:
        yield Adversary.NAIVE, Defense()
    if Adversary.ADAPTIVE not in card.adversaries:
        return
    kinds = set()
    for name in sorted(discover("defense").plugins):
        guard = defense_card(name)
        usable = guard.adaptive_view and Channel.GRADIENTS in guard.channels and not guard.needs_split
        defense = build_defense(name, {}) if usable else None
        view = defense.view() if defense else None
        if defense and view:
            kind = (view.negative_log_likelihood is None, view.transmitted is None)
            if kind not in kinds:
                kinds.add(kind)
                yield Adversary.ADAPTIVE, defense


def seen_by(card: AttackCard, size: int = 1) -> GradientObservation:
    """The first admitted attacker's observation of undefended or defended clients."""
    adversary, defense = next(views(card))
    released = material.release(defense, batch_size=size)
    return material.observation(card, released, adversary=adversary, defense=defense)


def run(
    subject: Subject,
    seen: GradientObservation,
    *,
    budget: int = material.BUDGET,
    seed: int = 0,
    chance: int = 0,
) -> Reconstruction:
    """One attack, from a known global random state: only two promises ask what that does."""
    attack = cast("Attack", build(subject))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        return attack.reconstruct(seen, budget=budget, seed=seed)
