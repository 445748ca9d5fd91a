"""Watches what a plug-in touches: undeclared fields, files, global random state, the victim's network."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Adversary, GradientObservation
from bench.api.cards import AttackCard
from bench.check.findings import Broken

_CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".pth", ".json", ".toml", ".h", ".zip")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc")


def guarded(seen: GradientObservation, card: AttackCard) -> GradientObservation:
    """The same observation, which raises when a field is read that the card does not declare."""
    forbidden: dict[str, str] = {}
    if not card.needs_labels:
        forbidden["labels"] = "needs_labels = true"
    if not card.needs_auxiliary:
        forbidden["auxiliary"] = "needs_auxiliary = true"
    if Adversary.ADAPTIVE not in card.adversaries:
        forbidden["defense"] = 'adversaries = ["naive", "adaptive"]'

    class Guarded(_Guarded):
        _forbidden = forbidden

    return Guarded(**{item.name: getattr(seen, item.name) for item in fields(seen)})


class _Guarded(GradientObservation):
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
            raise Broken(
                f"reads observation.{name}: no attacker sees that",
                "use the fields of GradientObservation in bench/api/observation.py",
            )
        raise AttributeError(name)


def _copying() -> bool:
    """Whether ``select`` or dataclasses.replace is at work: they hand fields on without using them."""
    return sys._getframe(2).f_globals.get("__name__") in ("dataclasses", "bench.api.observation")


_opened: list[str] | None = None
_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str):
        _opened.append(arguments[0])


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
    own = (*map(str, folders), *_SYSTEM)
    others = [name for name in seen if not name.startswith(own) and not name.endswith(_CODE)]
    others = [name for name in others if ".dist-info" not in name and not Path(name).is_dir()]
    if others:
        raise Broken(
            f"opens {others[0]} while it attacks",
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


class Evaluations:
    """Counts how often the gradients of the victim's weights are evaluated, release by release.

    A forward pass with weights that nobody differentiates, such as a look at the architecture, is free.
    """

    def __init__(self, seen: GradientObservation) -> None:
        self._own = {id(value) for value in seen.model.parameters()}
        self._size = int(torch.Size(seen.image_shape).numel()) * seen.batch_size
        self._images = 0.0
        self._handle = seen.model.register_forward_pre_hook(self._count)

    @property
    def total(self) -> float:
        """Evaluations over all releases."""
        return self._images

    def close(self) -> None:
        """Stops counting."""
        self._handle.remove()

    def _count(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and any(map(self._differentiated, model.parameters())):
            self._images += _physical(arguments[0]).numel() / self._size

    def _differentiated(self, weight: Tensor) -> bool:
        """Whether a weight that stands in for one of the model's own is tracked by grad or autograd."""
        if torch._C._functorch.is_gradtrackingtensor(weight):
            return True
        return torch.is_grad_enabled() and weight.requires_grad and id(weight) not in self._own


def _physical(value: Tensor) -> Tensor:
    """The tensor below all levels of vmap and grad."""
    inner = torch._C._functorch
    while inner.is_functorch_wrapped_tensor(value):
        value = inner.get_unwrapped(value)
    return value
