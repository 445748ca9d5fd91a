"""Watches what a plug-in touches: undeclared fields, files, global random state."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from bench.api import Adversary, GradientObservation, ModelObservation, SmashedObservation
from bench.api.cards import AttackCard
from bench.check.findings import Broken

_CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".pth", ".json", ".toml", ".h", ".zip")
_COPIERS = ("dataclasses", "bench.api.observation", "bench.api.released", "bench.api.smashed")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc")

ObservationT = TypeVar("ObservationT", GradientObservation, ModelObservation, SmashedObservation)


def guarded(seen: ObservationT, card: AttackCard) -> ObservationT:
    """The same observation, which raises when a field is read that the card does not declare."""
    forbidden: dict[str, str] = {}
    if not card.needs_labels:
        forbidden["labels"] = "needs_labels = true"
    if not card.needs_generator:
        forbidden["generator"] = "needs_generator = true"
        if not card.needs_auxiliary and not seen.threat.auxiliary:
            forbidden |= dict.fromkeys(("auxiliary", "images"), "needs_auxiliary = true")
    if not card.receives_pool:
        forbidden["pool"] = "receives_pool = true"
    if Adversary.ADAPTIVE not in card.adversaries:
        forbidden["defense"] = 'adversaries = ["naive", "adaptive"]'
    own = {item.name: getattr(seen, item.name) for item in fields(seen)}
    told = {name: field for name, field in forbidden.items() if name in own}
    kind: Any = type(f"Guarded{type(seen).__name__}", (_Guarded, type(seen)), {"_forbidden": told})
    guard: ObservationT = kind(**own)
    return guard


class _Guarded:
    """An observation that knows which of its fields may be read."""

    _forbidden: ClassVar[dict[str, str]] = {}

    def __getattribute__(self, name: str) -> Any:
        if name in type(self)._forbidden and not _copying():
            raise Broken(
                f"reads observation.{name}, which its card does not declare",
                f"leave it alone, or write {type(self)._forbidden[name]} in card.toml: every table shows it",
            )
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            kind = type(self).__mro__[2]
            raise Broken(
                f"reads observation.{name}: no attacker sees that",
                f"use the fields of {kind.__name__} in {kind.__module__.replace('.', '/')}.py",
            )
        raise AttributeError(name)


def _copying() -> bool:
    """Whether ``select`` or dataclasses.replace is at work: they hand fields on without using them."""
    return sys._getframe(2).f_globals.get("__name__") in _COPIERS


_opened: list[str] | None = None
_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened.append(os.path.abspath(os.fsdecode(arguments[0])))


@contextmanager
def no_files(*folders: Path) -> Iterator[None]:
    """Raises if data files outside the plug-in's own folder are opened meanwhile.

    Args:
        folders: the plug-in's folder, under every name that it has.

    Raises:
        Broken: naming the first.
    """
    global _opened, _hooked
    if not _hooked:  # an audit hook stays for the life of the process
        sys.addaudithook(_audit)
        _hooked = True
    _opened = []
    try:
        yield
        seen = list(_opened)
    finally:
        _opened = None
    own = tuple(f"{os.path.abspath(folder)}{os.sep}" for folder in (*folders, *map(Path, _SYSTEM)))
    others = [name for name in seen if not name.startswith(own) and not name.endswith(_CODE)]
    others = [name for name in others if ".dist-info" not in name and not Path(name).is_dir()]
    if others:
        raise Broken(
            f"opens {others[0]}, at import or while it attacks",
            "an attack sees its observation and nothing else; weights of its own lie in its folder",
        )


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """Raises if the random state of torch, numpy or Python moves meanwhile."""
    before = _states()
    yield
    moved = [name for name, state in _states().items() if state != before[name]]
    if moved:
        raise Broken(
            f"draws from the global random state of {' and '.join(moved)}",
            "draw from torch.Generator().manual_seed(seed) or from context.generator, and pass generator=...",
        )


def _states() -> dict[str, object]:
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": (np.random.get_state(legacy=False)["state"]["key"].tobytes(), _position()),
        "random": random.getstate(),
    }


def _position() -> int:
    return int(np.random.get_state(legacy=False)["state"]["pos"])
