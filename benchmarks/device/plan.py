"""What is to be measured, in the order of its value, and what cannot be, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

ATTACKS = ("dlg", "idlg", "inverting_gradients", "ggl", "rmle")
CHEAP = ("lenet", "splitnet", "convnet")
DEAR = ("resnet18",)
"""Measured last: one evaluation costs as much as hundreds on the small networks."""
BUDGETS = {
    ("lenet", "ggl"): 120,
    ("lenet", "inverting_gradients"): 240,
    ("lenet", ""): 300,
    ("convnet", ""): 120,
    ("resnet18", ""): 20,
    ("splitnet", ""): 125,
}
"""Evaluations of each victim, for the engine and for the plain loop; "" stands for every other attack."""
SIZES = (64, 512, 1)
LOOPED = 2
"""Victims of the plain loop; one is enough where a row is dear."""
CUDA_WORKERS = 2
"""Of the smoke run on the GPU: they share one."""
ROW_SECONDS = 45.0
"""What one measurement may take before it is stopped."""


@dataclass(frozen=True)
class Case:
    """One row of the speed table: an attack on so many victims, by the engine or by the plain loop."""

    attack: str
    model: str
    way: str
    victims: int
    budget: int

    @property
    def key(self) -> str:
        """Names the row in the results and on the command line."""
        return f"{self.attack}:{self.model}:{self.way}:{self.victims}:{self.budget}"

    @classmethod
    def of(cls, key: str) -> Case:
        """The case that has this key."""
        attack, model, way, victims, budget = key.split(":")
        return cls(attack, model, way, int(victims), int(budget))

    @property
    def dear(self) -> bool:
        """Whether it belongs to the last stage."""
        return self.model in DEAR

    def row(self) -> dict[str, object]:
        """What the results hold of it before it is measured."""
        asked = {"attack": self.attack, "model": self.model, "way": self.way}
        return {"key": self.key, **asked, "victims": self.victims, "budget": self.budget}


def not_applicable(attack: str, model: str) -> str:
    """Why the attack does not meet the network; empty where it does."""
    if attack == "rmle" and model != "splitnet":
        return (
            f"rmle inverts the activations of a network that is cut in two, and {model} is not: see splitnet"
        )
    if attack != "rmle" and model == "splitnet":
        return "attacks on gradients are measured on networks that are not cut"
    return ""


def cases(*, quick: bool) -> list[Case]:
    """Every row, those of the small networks first; combinations that cannot be are among them."""
    if quick:
        small = (("dlg", "lenet"), ("rmle", "splitnet"))
        return [case for attack, model in small for case in _ways(attack, model, (4, 1), 12)]
    found = []
    for model in (*CHEAP, *DEAR):
        for attack in ("rmle",) if model == "splitnet" else ATTACKS:
            budget = BUDGETS.get((model, attack)) or BUDGETS[model, ""]
            found += _ways(attack, model, SIZES, budget)
    return found


def _ways(attack: str, model: str, sizes: tuple[int, ...], budget: int) -> list[Case]:
    looped = 1 if model in DEAR else LOOPED
    engine = [Case(attack, model, "engine", size, budget) for size in sizes]
    return [Case(attack, model, "loop", looped, budget), *engine]


def smoke_filters(digits: str) -> dict[str, tuple[str, ...]]:
    """What the smoke run is restricted to when the script itself is tried, on a folder of few images."""
    return {
        "attacks": ("dlg", "prior"),
        "defenses": ("none",),
        "datasets": (f"folder[path={digits},channels=1]",),
        "models": ("lenet",),
        "channels": ("gradients",),
    }
