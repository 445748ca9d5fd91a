"""Attacks on a few real releases, as often as the promises need it: one :class:`Trial` for each channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from bench.api import (
    Adversary,
    BaseAttack,
    Channel,
    Checkpoint,
    Defense,
    GradientObservation,
    ModelObservation,
    Reconstruction,
    Session,
    SmashedObservation,
)
from bench.api.cards import AttackCard, Value
from bench.cells.attack_process import AttackProcess
from bench.cells.determinism import make_deterministic
from bench.check.card import build
from bench.check.counters import Evaluations
from bench.check.materials import material
from bench.check.materials.generator import in_double as generator_in_double
from bench.check.place import Subject
from bench.engine.gradient_search import in_double
from bench.plugins import attack_card, build_attack, build_defense, defense_card, discover
from bench.victims.releases import Release

Seen = GradientObservation | ModelObservation | SmashedObservation
_LARGER_BATCH = 4


class Counter(Protocol):
    """Counts evaluations of a victim while an attack runs."""

    @property
    def total(self) -> float:
        """Evaluations over all releases."""

    def close(self) -> None:
        """Stops counting."""


class Clients(Session, Protocol):
    """The clients of an active attacker, who can start from round 0 again."""

    def anew(self) -> Clients:
        """The same clients at round 0."""


class Trial(ABC):
    """What attacks on one channel are tried on.

    Attributes:
        larger_batch: images of one release, beside the smallest number.
        channel: of the observations.
        release: what one of the N parts of an observation is called.
        releases: several of them.
        spending: what the counter counts, in words.
        split: whether its networks are cut in two.
    """

    larger_batch: int
    channel: Channel
    release = "release"
    releases = "releases"
    spending = "evaluated the victim's gradients"
    split = False

    def sizes(self, card: AttackCard) -> list[int]:
        """The batch sizes to try: the smallest, and a larger one if the card allows it."""
        most = card.max_batch_size
        return [size for size in (1, self.larger_batch) if most is None or size <= most]

    def views(self, card: AttackCard) -> Iterator[tuple[Adversary, str]]:
        """The naive attacker, and the adaptive ones with the name of the defense; that of none is empty."""
        if Adversary.NAIVE in card.adversaries:
            yield Adversary.NAIVE, ""
        if Adversary.ADAPTIVE in card.adversaries:
            for name in self.defenses():
                yield Adversary.ADAPTIVE, name

    def defenses(self) -> Iterator[str]:
        """Those of the channel and its networks that an attacker can adapt to."""
        for name in sorted(discover("defense").plugins):
            guard = defense_card(name)
            if (
                guard.adaptive_view
                and self.channel in guard.channels
                and (self.split or not guard.needs_split)
            ):
                yield name

    @abstractmethod
    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> Seen:
        """What the attack may see of releases of that many images through a defense."""

    @abstractmethod
    def exact(self, seen: Any) -> Any:
        """The same in float64."""

    @abstractmethod
    def shown(self, seen: Any) -> list[Tensor]:
        """The tensors of an observation that no attack may change."""

    @abstractmethod
    def counter(self, seen: Any) -> Counter:
        """Counts the evaluations of this observation's victim."""

    def at_floor(self, subject: Subject, model: str, checkpoint: Checkpoint) -> tuple[Any, Release]:
        """What it sees of the undefended victim of its card's floor, and what was released."""
        return material.at_floor(card_of(subject), model, checkpoint)

    def plain(self, subject: Subject, size: int = 1) -> Any:
        """The first admitted attacker's observation."""
        return self.seen(subject, size, *next(self.views(card_of(subject))))

    def plains(self, subject: Subject) -> Iterator[Any]:
        """The first admitted attacker's observation, for every batch size."""
        for size in self.sizes(card_of(subject)):
            yield self.plain(subject, size)

    def each(self, subject: Subject) -> Iterator[Any]:
        """Every batch size for the first attacker, and every other attacker at the smallest."""
        yield from self.plains(subject)
        card = card_of(subject)
        for adversary, defense in islice(self.views(card), 1, None):
            yield self.seen(subject, 1, adversary, defense)

    def counted(self, subject: Subject) -> Iterator[Any]:
        """Observations whose evaluations can be counted."""
        return self.plains(subject)

    def cases(self, subject: Subject) -> Iterator[Any]:
        """The observations of all admitted attackers, for every batch size."""
        card = card_of(subject)
        for size in self.sizes(card):
            for adversary, defense in self.views(card):
                yield self.seen(subject, size, adversary, defense)


class ReleaseTrial(Trial):
    """A trial of N releases that differ, so that one of them may be spoiled."""

    @abstractmethod
    def spoiled(self, seen: Any, victim: int, value: float) -> Any:
        """The same, but all that left that victim is one value."""


class GradientTrial(ReleaseTrial):
    """Gradients of three clients, of a network at round 0."""

    larger_batch = _LARGER_BATCH
    channel = Channel.GRADIENTS

    def defenses(self) -> Iterator[str]:
        """One for each kind of view that a defense can give."""
        kinds = set()
        for name in super().defenses():
            view = build_defense(name, {}).known()
            if view:
                kind = tuple(
                    getattr(view, part) is None
                    for part in ("negative_log_likelihood", "transmitted", "transmit")
                )
                if kind not in kinds:
                    kinds.add(kind)
                    yield name

    def seen(self, subject: Subject, size: int, adversary: Adversary, defense: str) -> GradientObservation:
        """Through the default strength of the defense."""
        hooks, card = build_defense(defense, {}) if defense else Defense(), card_of(subject)
        model = material.network_of(card)
        released = material.release(hooks, batch_size=size, model=model)
        return material.observation(card, released, adversary=adversary, defense=hooks, model=model)

    def exact(self, seen: GradientObservation) -> GradientObservation:
        """What the attacker brings is in float64 as well."""
        return replace(in_double(seen), generator=generator_in_double(seen.generator))

    def shown(self, seen: GradientObservation) -> list[Tensor]:
        """The release, the weights and the ids."""
        weights = seen.model.state_dict().values()
        return [*seen.gradients.values(), *seen.parameters.values(), *weights, seen.ids]

    def spoiled(self, seen: GradientObservation, victim: int, value: float) -> GradientObservation:
        """All its gradients are that value."""
        broken = {name: tensor.clone() for name, tensor in seen.gradients.items()}
        for tensor in broken.values():
            tensor[victim] = value
        return replace(seen, gradients=broken)

    def counter(self, seen: GradientObservation) -> Counter:
        """Gradients of the victim's weights."""
        return Evaluations(seen)


GRADIENTS = GradientTrial()


def card_of(subject: Subject) -> AttackCard:
    """The attack's card, with the values under test as its defaults."""
    card = attack_card(subject.name)
    own = {
        key: item.model_copy(update={"default": subject.parameters.get(key, item.default)})
        for key, item in card.parameters.items()
    }
    return card.model_copy(update={"parameters": own})


def run(
    subject: Subject, seen: Seen, *, budget: int = material.BUDGET, seed: int = 0, chance: int = 0
) -> Reconstruction:
    """One attack, from a known global random state: only two promises ask what that does."""
    attack = cast("BaseAttack[Any]", build(subject))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(chance)
        return attack.reconstruct(fresh(seen), budget=budget, seed=seed)


def run_apart(subject: Subject, seen: Seen, *, budget: int) -> Reconstruction:
    """The same in a process that holds this observation and nothing else, as in a run."""
    given = fresh(seen)
    stays = [getattr(given, name, None) for name in ("session", "query")]
    process = AttackProcess.served(material.CPU)
    found = process.run(_reconstructed, subject.name, subject.parameters, given, budget, stays=stays)
    return Reconstruction(**found.value)


def _reconstructed(name: str, parameters: dict[str, Value], seen: Seen, budget: int) -> dict[str, Any]:
    make_deterministic(material.CPU)
    return vars(build_attack(name, parameters).reconstruct(seen, budget=budget, seed=0))


def fresh(seen: Seen) -> Seen:
    """The same observation for one more attack: the clients of an active attacker start again."""
    if isinstance(seen, ModelObservation) or seen.session is None:
        return seen
    return cast("Seen", replace(cast("Any", seen), session=cast("Any", seen.session).anew()))
