"""Which promises a plug-in keeps: those of its kind, on every channel that it is made for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from bench.api.cards import Card, Kind
from bench.api.errors import BenchError
from bench.api.threat import Channel
from bench.check import card, dataset, device
from bench.check.attacks import decoys
from bench.check.attacks import limits as attack_limits
from bench.check.attacks import promises as attack
from bench.check.attacks import released as released_attack
from bench.check.attacks import split as split_attack
from bench.check.defenses import alike
from bench.check.defenses import effect as defense_effect
from bench.check.defenses import promises as defense
from bench.check.defenses import released as released_defense
from bench.check.defenses import split as split_defense
from bench.check.materials.leaked_trial import LEAKED
from bench.check.materials.malicious_trial import MALICIOUS
from bench.check.materials.released_material import RELEASED
from bench.check.materials.split_trial import SMASHED
from bench.check.materials.trial import Trial
from bench.check.place import Subject
from bench.plugins import find

Check = Callable[[Subject], str]


def _on(trial: Trial, promise: Callable[[Subject, Trial], str]) -> Check:
    """A promise of attacks, tried on that channel."""

    @wraps(promise)
    def tried(subject: Subject) -> str:
        return promise(subject, trial)

    return tried


_FIRST: dict[str, Check] = {
    "card": card.valid_card,
    "imports": card.imports,
    "constructor": card.constructor,
}
GATES = (*_FIRST, "shapes")
"""Without these there is nothing more to try: the list ends at the first that is broken."""
_ONCE = ("values", "architecture", "view")
"""They ask the same on every channel."""
_PROMISES: dict[Kind, dict[str, Check]] = {
    "attack": {
        "values": card.every_value,
        "shapes": attack.shapes,
        "range": attack.values,
        "observation": attack.observes_only,
        "determinism": attack.deterministic,
        "randomness": attack.global_state,
        "device": device.attack_stays,
        "budget": attack_limits.budget,
        "batching": attack_limits.batched_is_single,
        "useless": attack_limits.useless_releases,
        "incompatible": attack_limits.incompatibilities,
        "floor": attack_limits.floor,
        "decoys": decoys.follows_decoys,
    },
    "defense": {
        "values": card.every_value,
        "shapes": defense.shapes,
        "changes": defense_effect.changes,
        "determinism": defense.deterministic,
        "randomness": defense.global_state,
        "clients": defense.clients_apart,
        "crowd": alike.crowd,
        "device": device.defense_stays,
        "architecture": defense_effect.architecture,
        "view": defense_effect.view,
        "utility": defense_effect.utility,
    },
    "dataset": {
        "facts": dataset.card_is_true,
        "shapes": dataset.shapes,
        "range": dataset.values,
        "disjoint": dataset.disjoint,
        "determinism": dataset.deterministic,
    },
}


_SPLIT: dict[Kind, dict[str, Check]] = {
    "attack": {
        "values": card.every_value,
        "shapes": _on(SMASHED, attack.shapes),
        "range": _on(SMASHED, attack.values),
        "observation": _on(SMASHED, attack.observes_only),
        "access": split_attack.access,
        "determinism": _on(SMASHED, attack.deterministic),
        "randomness": _on(SMASHED, attack.global_state),
        "device": _on(SMASHED, device.attack_stays),
        "budget": _on(SMASHED, attack_limits.budget),
        "batching": split_attack.batching,
        "useless": split_attack.useless,
        "incompatible": _on(SMASHED, attack_limits.incompatibilities),
        "floor": split_attack.floor,
        "decoys": decoys.follows_split_decoys,
    },
    "defense": {
        "values": card.every_value,
        "shapes": split_defense.shapes,
        "changes": split_defense.changes,
        "determinism": split_defense.deterministic,
        "randomness": split_defense.global_state,
        "clients": split_defense.clients_apart,
        "crowd": alike.split_crowd,
        "view": split_defense.view,
        "utility": split_defense.utility,
    },
}
"""Promises in split learning."""
_LEAKED: dict[Kind, dict[str, Check]] = {
    "attack": {
        "shapes": _on(LEAKED, attack.shapes),
        "range": _on(LEAKED, attack.values),
        "determinism": _on(LEAKED, attack.deterministic),
        "budget": _on(LEAKED, attack_limits.budget),
        "batching": _on(LEAKED, attack_limits.batched_is_single),
        "incompatible": _on(LEAKED, attack_limits.incompatibilities),
    },
    "defense": {},
}
"""Further promises on gradients that leak from split learning."""
_RELEASED: dict[Kind, dict[str, Check]] = {
    "attack": {
        "values": card.every_value,
        "shapes": _on(RELEASED, attack.shapes),
        "range": _on(RELEASED, attack.values),
        "observation": _on(RELEASED, attack.observes_only),
        "determinism": _on(RELEASED, attack.deterministic),
        "randomness": _on(RELEASED, attack.global_state),
        "device": _on(RELEASED, device.attack_stays),
        "budget": _on(RELEASED, attack_limits.budget),
        "batching": _on(RELEASED, attack_limits.batched_is_single),
        "incompatible": _on(RELEASED, attack_limits.incompatibilities),
        "aim": released_attack.aim,
    },
    "defense": {
        "values": card.every_value,
        "shapes": released_defense.shapes,
        "changes": released_defense.changes,
        "determinism": released_defense.deterministic,
        "randomness": released_defense.global_state,
        "device": released_defense.device_stays,
        "architecture": defense_effect.architecture,
        "view": split_defense.view,
        "utility": released_defense.utility,
        "rebuilds": released_defense.rebuilds,
    },
}
"""Promises on released classifiers."""


_MALICIOUS: dict[str, Check] = {
    "values": card.every_value,
    "shapes": _on(MALICIOUS, attack.shapes),
    "range": _on(MALICIOUS, attack.values),
    "observation": _on(MALICIOUS, attack.observes_only),
    "determinism": _on(MALICIOUS, attack.deterministic),
    "randomness": _on(MALICIOUS, attack.global_state),
    "budget": _on(MALICIOUS, attack_limits.budget),
    "incompatible": _on(MALICIOUS, attack_limits.incompatibilities),
    "floor": _on(MALICIOUS, attack_limits.floor),
}
"""Promises of a malicious server."""


def promises(kind: Kind, card: Card | None = None) -> dict[str, Check]:
    """All promises of a plug-in by name, in the order in which they are tried.

    One that serves several channels keeps the promises of each: those of the first have plain names, those of
    the others begin with the channel, as in ``model.shapes``.

    Args:
        kind: of the plug-in.
        card: its own, which says what it is made for; None: for gradients.
    """
    found = dict(_FIRST)
    for place, (channel, own) in enumerate(_served(kind, card).items()):
        for name, promise in own.items():
            if place == 0:
                found[name] = promise
            elif name not in _ONCE:
                found[f"{channel}.{name}"] = promise
    return found


def plain(name: str) -> str:
    """The name of a promise without its channel."""
    return name.rpartition(".")[2]


def _served(kind: Kind, card: Card | None) -> dict[str, dict[str, Check]]:
    """The promises on each channel that a plug-in is made for."""
    if kind == "dataset":
        return {"": _PROMISES[kind]}
    channels = getattr(card, "channels", (Channel.GRADIENTS,))
    leaked = kind == "attack" and Channel.CLIENT_GRADIENTS in channels
    federal = leaked or (Channel.GRADIENTS in channels and not getattr(card, "needs_split", False))
    active = Channel.MALICIOUS in channels and getattr(card, "observes_release", False)
    split = Channel.SMASHED in channels or not (federal or active or Channel.MODEL in channels)
    served = {
        Channel.GRADIENTS: _PROMISES[kind] if federal else {},
        Channel.CLIENT_GRADIENTS: _LEAKED[kind] if leaked else {},
        Channel.MALICIOUS: _MALICIOUS if active else {},
        Channel.SMASHED: _SPLIT[kind] if split else {},
        Channel.MODEL: _RELEASED[kind] if Channel.MODEL in channels else {},
    }
    return {str(channel): own for channel, own in served.items() if own}


def promises_of(subject: Subject) -> dict[str, Check]:
    """The promises of a plug-in by its card; of any of its kind if the card cannot be read."""
    try:
        declared = find(subject.kind, subject.name).card
    except BenchError:
        return promises(subject.kind)
    return promises(subject.kind, declared)
