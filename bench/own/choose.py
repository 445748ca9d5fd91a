"""Which attacks are run, as whom, and why others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.api.attack import BaseAttack
from bench.api.card_parts import Value
from bench.api.cards import AttackCard
from bench.api.defense import Defense
from bench.api.errors import UsageError
from bench.api.threat import Adversary, Channel
from bench.matrix.expand import variant
from bench.matrix.filters import parse_named
from bench.plugins import attack_card, build_attack, build_defense, defense_card, discover


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An attack that is to be tried.

    Attributes:
        name: how tables call it.
        card: None for an attack of the caller that has none.
        attack: None if it does not apply.
        reason: why it does not.
        parameters: with which it was built.
    """

    name: str
    card: AttackCard | None
    attack: BaseAttack[Any] | None
    reason: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)

    @property
    def bound(self) -> bool:
        """Whether it only chooses from a list that holds the private images."""
        return self.card is not None and self.card.receives_pool

    @property
    def generator(self) -> str:
        """The kind of generator that it searches; empty if it searches none."""
        if self.card is None or not self.card.needs_generator:
            return ""
        return str(self.parameters["generator"])

    def adversary(self, defense: ChosenDefense) -> Adversary:
        """Whoever can knows the defense."""
        able = self.card is None or Adversary.ADAPTIVE in self.card.adversaries
        return Adversary.ADAPTIVE if able and defense.known else Adversary.NAIVE


@dataclass(frozen=True, kw_only=True)
class ChosenDefense:
    """The defense of the call.

    Attributes:
        name: how tables call it.
        defense: its hooks.
        known: attackers know it, and there is something to adapt to.
    """

    name: str
    defense: Defense
    known: bool

    @property
    def words(self) -> str:
        """What the attacker knows of it."""
        if self.name == "none":
            return self.name
        return f"{self.name}, {'known' if self.known else 'not known'} to attackers who can adapt to it"


def choose_defense(given: str | Defense | None, channel: Channel, *, known: bool) -> ChosenDefense:
    """The defense that was named or given.

    Raises:
        UsageError: there is none of that name, or it does nothing to what leaves on the channel.
    """
    if given is None:
        return ChosenDefense(name="none", defense=Defense(), known=False)
    if not isinstance(given, str | Defense):
        raise UsageError(
            f"defense={given!r}: give a name such as 'noise[sigma=0.01]', or a bench.api.Defense"
        )
    if isinstance(given, Defense):
        chosen = ChosenDefense(name=type(given).__name__, defense=given, known=known)
    else:
        named = variant("defense", *parse_named("defense", given))
        strength = "" if named.strength is None else f"={named.strength:g}"
        chosen = ChosenDefense(
            name=f"{named.label}{strength}",
            defense=build_defense(named.name, named.arguments()),
            known=known and defense_card(named.name).adaptive_view,
        )
    if why := without_effect(chosen.defense, channel):
        raise UsageError(f"defense {chosen.name} {why}")
    return chosen


def without_effect(defense: Defense, channel: Channel) -> str:
    """Why a call cannot apply a defense; empty if it can."""
    changed = {hook for hook in vars(Defense) if getattr(type(defense), hook) is not getattr(Defense, hook)}
    if "model" in changed:
        return "changes the network: bench run and bench audit train one with it"
    if not changed & {"inputs", "smashed" if channel == Channel.SMASHED else "gradients"}:
        return (
            f"does nothing to what leaves on {channel}: if it acts in the training, give the model that was "
            "trained with it, and no defense"
        )
    return ""


def choose_attacks(
    given: str | Sequence[str | BaseAttack[Any]], channel: Channel, *, given_up: dict[str, str]
) -> list[Chosen]:
    """The attacks to be tried.

    Args:
        given: ``auto`` for all that look at releases of the channel, one name, or names and attacks.
        channel: what left.
        given_up: why attacks cannot be run whose card asks for such a field, by the field's name.

    Raises:
        UsageError: there is no such attack.
    """
    if given == "auto":
        cards = {name: attack_card(name) for name in discover("attack").plugins}
        given = [
            name for name, card in sorted(cards.items()) if channel in card.channels and card.observes_release
        ]
    alone = isinstance(given, str | BaseAttack) or not isinstance(given, Iterable)
    items: list[Any] = [given] if alone else list(given)
    if wrong := [item for item in items if not isinstance(item, str | BaseAttack)]:
        raise UsageError(f"attacks: {wrong[0]!r} is neither a name nor a bench.api attack")
    if not items:
        raise UsageError(
            "attacks: there is none; leave it at 'auto', or name one, such as 'inverting_gradients'"
        )
    return [_chosen(item, channel, given_up) for item in items]


def _chosen(item: str | BaseAttack[Any], channel: Channel, given_up: dict[str, str]) -> Chosen:
    if isinstance(item, BaseAttack):
        return Chosen(name=type(item).__name__, card=None, attack=item)
    named = variant("attack", *parse_named("attack", item))
    card = attack_card(named.name)
    reason = "" if channel in card.channels else f"it attacks {', '.join(card.channels)}, not {channel}"
    for need, why in given_up.items():
        reason = reason or (why if getattr(card, need) else "")
    attack = None if reason else build_attack(named.name, named.arguments())
    return Chosen(name=named.label, card=card, attack=attack, reason=reason, parameters=named.arguments())
