"""Runs every promise of a kind and writes the checklist."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.api.cards import Card, Kind
from bench.api.errors import BenchError
from bench.api.threat import Channel
from bench.check import (
    attack,
    attack_limits,
    card,
    dataset,
    defense,
    defense_effect,
    device,
    split_attack,
    split_defense,
)
from bench.check.findings import Checklist, Finding, Item, Verdict
from bench.check.place import Subject
from bench.plugins import find

Check = Callable[[Subject], str]

_FIRST: dict[str, Check] = {
    "card": card.valid_card,
    "imports": card.imports,
    "constructor": card.constructor,
}
_GATES = (*_FIRST, "shapes")
"""Without these there is nothing more to try: the list ends at the first that is broken."""
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
    },
    "defense": {
        "values": card.every_value,
        "shapes": defense.shapes,
        "changes": defense_effect.changes,
        "determinism": defense.deterministic,
        "randomness": defense.global_state,
        "clients": defense.clients_apart,
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
        "shapes": split_attack.shapes,
        "observation": split_attack.observes_only,
        "access": split_attack.access,
        "determinism": split_attack.deterministic,
        "randomness": split_attack.global_state,
        "budget": split_attack.budget,
        "floor": split_attack.floor,
    },
    "defense": {
        "values": card.every_value,
        "shapes": split_defense.shapes,
        "changes": split_defense.changes,
        "determinism": split_defense.deterministic,
        "randomness": split_defense.global_state,
        "clients": split_defense.clients_apart,
        "view": split_defense.view,
        "utility": split_defense.utility,
    },
}
"""Promises of plug-ins that are made for split learning alone."""


def promises(kind: Kind, card: Card | None = None) -> dict[str, Check]:
    """All promises of a plug-in by name, in the order in which they are tried.

    Args:
        kind: of the plug-in.
        card: its own, which says whether it is made for split learning; None: it is not.
    """
    federal = Channel.GRADIENTS in getattr(card, "channels", (Channel.GRADIENTS,))
    split = kind in _SPLIT and (getattr(card, "needs_split", False) or not federal)
    return {**_FIRST, **(_SPLIT if split else _PROMISES)[kind]}


def _of(subject: Subject) -> dict[str, Check]:
    """The promises of a plug-in by its card; of any of its kind if the card cannot be read."""
    try:
        declared = find(subject.kind, subject.name).card
    except BenchError:
        return promises(subject.kind)
    return promises(subject.kind, declared)


def check(
    subject: Subject, *, without: Iterable[str] = (), tell: Callable[[str], None] = lambda name: None
) -> Checklist:
    """Tries every promise of a plug-in on small real data.

    Args:
        subject: the plug-in.
        without: promises to leave out.
        tell: is told the name of each promise before it is tried.
    """
    return Checklist(
        kind=subject.kind,
        name=subject.name,
        folder=str(subject.folder),
        items=tuple(_items(subject, set(without), tell)),
    )


def _items(subject: Subject, without: set[str], tell: Callable[[str], None]) -> Iterator[Item]:
    for name, promise in _of(subject).items():
        if name in without:
            continue
        tell(name)
        item = _try(name, promise, subject)
        yield item
        if item.verdict is Verdict.BROKEN and name in _GATES:
            return


def try_promise(name: str, subject: Subject) -> Item:
    """Tries one promise of a plug-in.

    Args:
        name: one of :func:`promises`.
        subject: the plug-in.
    """
    return _try(name, _of(subject)[name], subject)


def _try(name: str, promise: Check, subject: Subject) -> Item:
    start = time.perf_counter()
    verdict, message, fix = Verdict.OK, "", ""
    try:
        message = promise(subject)
    except Finding as finding:
        verdict, message, fix = finding.verdict, finding.message, finding.fix
    except BenchError as error:
        verdict, message = Verdict.BROKEN, str(error)
        fix = f"an error of the project's own: {type(error).__name__}"
    except (Exception, SystemExit) as error:
        verdict, message = Verdict.BROKEN, f"raises {type(error).__name__}: {error}".rstrip(": ")
        fix = _where(error, subject)
    return Item(
        promise=name,
        means=" ".join((promise.__doc__ or "").split()),
        verdict=verdict,
        message=" ".join(message.split()),
        fix=fix,
        seconds=time.perf_counter() - start,
    )


def _where(error: BaseException, subject: Subject) -> str:
    """The last line of the plug-in itself that the error passed."""
    home = subject.folder.resolve()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(home)
    ]
    if not frames:
        return "no line of the plug-in is in the traceback"
    return f"look at {Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"
