"""One point of the matrix, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Self

from bench.api.cards import Value
from bench.api.threat import Adversary, Channel, Checkpoint


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A plug-in with all its parameters.

    Attributes:
        name: the plug-in's folder.
        parameters: every parameter, sorted by name.
        label: how tables call it: the name and the parameters that are not at their default, e.g.
            ``noise[distribution=laplace]``. A defense's strength is not part of its label. An attack with its
            paper's parameters is ``dlg@published``, however they were given.
        strength: the value of the swept parameter of a defense; None for everything else.
    """

    name: str
    parameters: tuple[tuple[str, Value], ...]
    label: str
    strength: float | None = None

    def arguments(self) -> dict[str, Value]:
        """The parameters as keyword arguments."""
        return dict(self.parameters)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One experiment: N = ``releases`` victims' releases under one defense, attacked by one attack.

    Attributes:
        dataset: where the private images come from.
        model: the victim's architecture.
        checkpoint: when the release was made.
        channel: what leaks.
        batch_size: B, private images per release, and per client and round in the training.
        releases: N, independent releases in this cell.
        epochs: passes over the private training split; None is the architecture's own schedule.
        defense: trained in and applied at release.
        attack: who attacks.
        adversary: whether it knows the defense.
        seed: of the split, the weights, the training, the releases and the attack.
        budget: matching-gradient evaluations per release.
        incompatible: why this cell cannot be measured; empty if it can.
    """

    dataset: Variant
    model: str
    checkpoint: Checkpoint
    channel: Channel
    batch_size: int
    releases: int
    epochs: float | None
    defense: Variant
    attack: Variant
    adversary: Adversary
    seed: int
    budget: int
    incompatible: str = ""

    @property
    def strength(self) -> float | None:
        """The defense's strength; None for a defense without one."""
        return self.defense.strength

    @cached_property
    def id(self) -> str:
        """A short stable name of the question asked, whatever code answers it.

        What follows from the question and the cards (labels, strength, the reason of an ``n/a``) is no part.
        """
        question = {field.name: getattr(self, field.name) for field in fields(self)}
        del question["incompatible"]
        for role in ("dataset", "defense", "attack"):
            question[role] = [question[role].name, question[role].parameters]
        canonical = json.dumps(question, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """One line for progress displays and messages."""
        strength = "" if self.strength is None else f"={self.strength:g}"
        return (
            f"{self.attack.label}/{self.adversary} vs {self.defense.label}{strength} on {self.dataset.label} "
            f"{self.model}@{self.checkpoint} {self.channel} B={self.batch_size} budget={self.budget} "
            f"seed={self.seed}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``from_json`` gives the same cell back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuilds a cell from ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: the data are not a cell's.
        """
        values = dict(data)
        for role in ("dataset", "defense", "attack"):
            raw = dict(values[role])
            raw["parameters"] = tuple((str(k), v) for k, v in raw["parameters"])
            values[role] = Variant(**raw)
        values["checkpoint"] = Checkpoint(values["checkpoint"])
        values["channel"] = Channel(values["channel"])
        values["adversary"] = Adversary(values["adversary"])
        return cls(**values)
