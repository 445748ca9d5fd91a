"""Results folders made of numbers, so that the report can be tested without running anything."""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api.cards import AttackCard, DefenseCard
from bench.api.threat import Adversary, Channel, Checkpoint
from bench.matrix.cells import Cell, Variant
from bench.matrix.suites import Suite
from bench.records.record import SCHEMA
from bench.report.cards import Cards
from tests.report.browser import Browser, chromium

COLUMNS = [
    "dataset", "model", "checkpoint", "channel", "batch_size", "attack", "adversary", "defense", "strength",
    "seed", "budget", "release", "image", "psnr", "ssim", "lpips", "identified", "label_correct",
    "recognised", "recognised5", "feature_distance", "diversity", "status", "reason",
]  # fmt: skip
STAGES = ["victim", "evaluator", "release", "reconstruction"]
CLASS_COLUMNS = ["recognised5", "feature_distance", "diversity"]
"""Of channel ``model`` alone."""


def attack_card(**fields: Any) -> AttackCard:
    common = {"kind": "attack", "title": "t", "paper": "p", "authors": "a", "year": 2020, "notes": "n"}
    return AttackCard.model_validate(
        common | {"channels": ["gradients"], "adversaries": ["naive", "adaptive"]} | fields
    )


def defense_card(**fields: Any) -> DefenseCard:
    common = {"kind": "defense", "title": "t", "paper": "p", "authors": "a", "year": 2020, "notes": "n"}
    return DefenseCard.model_validate(common | {"channels": ["gradients"]} | fields)


SUITES = (
    Suite(title="toy@1", channels=(Channel.GRADIENTS,), attacks=("blind", "strong")),
    Suite(title="classes@1", channels=(Channel.MODEL,), attacks=("inverter",)),
)
JUDGING = {str(channel): suite for suite in SUITES for channel in suite.channels}
OWED = {str(channel): [*suite.attacks] for suite in SUITES for channel in suite.channels}
"""The same as the recomputation takes them."""


class FakeCards(Cards):
    """Cards of the plug-ins that the synthetic folders speak of."""

    def __init__(self) -> None:
        self.attacks = {
            "blind": attack_card(observes_release=False),
            "strong": attack_card(floor={"model": "lenet", "checkpoint": "initial", "psnr": 25.0}),
            "given": attack_card(needs_labels=True),
            "inverter": attack_card(
                channels=["model"],
                needs_generator=True,
                parameters={"generator": {"default": "gan", "choices": ["gan"], "description": "which"}},
            ),
            "other_class": attack_card(channels=["model"], observes_release=False),
        }
        self.defenses = {"none": defense_card(adaptive_view=False)}
        self.judging: Mapping[str, Suite] = {}
        """The suites that judge; none unless a test sets them."""

    def attack(self, name: str) -> AttackCard | None:
        return self.attacks.get(name)

    def defense(self, name: str) -> DefenseCard | None:
        return self.defenses.get(name)

    def classes(self, dataset: str) -> int | None:
        return 10

    def suites(self, matrix: str) -> Mapping[str, Suite]:
        return self.judging


@dataclass
class Folder:
    """Collects records and image rows, then writes them in any order."""

    records: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        attack: str,
        defense: str = "none",
        strength: float | None = None,
        /,
        *,
        seed: int = 0,
        adversary: str = "naive",
        lpips: Iterable[float] = (),
        psnr: Iterable[float] | None = None,
        ssim: Iterable[float] | None = None,
        batch_size: int = 1,
        status: str = "done",
        reason: str = "",
        accuracy: float | None = 0.9,
        **changes: Any,
    ) -> None:
        """One cell; its image ``i`` is image ``i % batch_size`` of release ``i // batch_size``."""
        lpips = list(lpips)
        cell = Cell(
            dataset=variant("digits"),
            model=changes.pop("model", "lenet"),
            checkpoint=Checkpoint(changes.pop("checkpoint", "initial")),
            channel=Channel(changes.pop("channel", "gradients")),
            batch_size=batch_size,
            releases=changes.pop("releases", max(len(lpips) // batch_size, 1)),
            epochs=None,
            defense=variant(defense, strength),
            attack=variant(attack),
            adversary=Adversary(adversary),
            seed=seed,
            budget=changes.pop("budget", 100),
        )
        classes = {
            name: list(changes.pop(name))
            for name in ["identified", "recognised", *CLASS_COLUMNS]
            if name in changes
        }
        written = record(cell, status, reason, accuracy)
        changes["stages"] = written["stages"] | changes.pop("stages", {})
        self.records.append(written | changes)
        key = {name: "" for name in COLUMNS} | keys(cell) | {"status": status, "reason": reason}
        if status != "done":
            self.images.append(key)
            return
        psnr = [20.0] * len(lpips) if psnr is None else list(psnr)
        ssim = [0.5] * len(lpips) if ssim is None else list(ssim)
        for i, values in enumerate(zip(psnr, ssim, lpips, strict=True)):
            scores = {
                k: "" if np.isnan(v) else v for k, v in zip(("psnr", "ssim", "lpips"), values, strict=True)
            }
            place = {"release": i // batch_size, "image": i % batch_size}
            known = {"identified": int(values[2] < 0.3), "label_correct": "", "recognised": 1}
            if classes:
                known = {name: values[i] for name, values in classes.items()}
            self.images.append(key | place | scores | known)

    def write(self, directory: Path, *, shuffle: int | None = None) -> Path:
        """Writes the folder; with ``shuffle`` in another order."""
        records, images = list(self.records), list(self.images)
        if shuffle is not None:
            generator = np.random.default_rng(shuffle)
            records = [records[i] for i in generator.permutation(len(records))]
            images = [images[i] for i in generator.permutation(len(images))]
        (directory / "records").mkdir(parents=True, exist_ok=True)
        for item in records:
            (directory / "records" / f"{item['id']}.json").write_text(json.dumps(item))
        with gzip.open(directory / "images.csv.gz", "wt", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(images)
        return directory


def variant(label: str, strength: float | None = None) -> Variant:
    """A plug-in by its label; its parameters are made up."""
    parameters: tuple[tuple[str, Any], ...] = (("label", label), ("strength", strength or 0.0))
    return Variant(name=label.split("[")[0], parameters=parameters, label=label, strength=strength)


def keys(cell: Cell) -> dict[str, Any]:
    """The columns that name a cell."""
    return {
        "dataset": cell.dataset.label,
        "model": cell.model,
        "checkpoint": str(cell.checkpoint),
        "channel": str(cell.channel),
        "batch_size": cell.batch_size,
        "attack": cell.attack.label,
        "adversary": str(cell.adversary),
        "defense": cell.defense.label,
        "strength": "" if cell.strength is None else f"{cell.strength:.6g}",
        "seed": cell.seed,
        "budget": cell.budget,
    }


def record(cell: Cell, status: str, reason: str, accuracy: float | None) -> dict[str, Any]:
    """A record as the runner writes it."""
    done = status == "done"
    utility = {"accuracy": accuracy, "initial_accuracy": 0.1, "converged": True, "rounds": 50}
    return {
        "schema": SCHEMA,
        "id": cell.id,
        "key": "0" * 64,
        "stages": {"generator": ""} | dict.fromkeys(STAGES, "1" * 64),
        "seeds": {"attack": 1, "pool": 2},
        "cell": cell.to_json(),
        "status": status,
        "reason": reason,
        "traceback": "",
        "utility": utility if accuracy is not None else None,
        "attack": {"evaluations_mean": 100.0, "evaluations_max": 100, "cost_mean": 0.1} if done else None,
        "release": {"zero": 0, "nonfinite": 0, "norm_mean": 1.0} if done else None,
        "means": dict.fromkeys(["psnr", "ssim", "lpips"], 1.0) if done else None,
        "evaluator_accuracy": 0.95,
        "lpips_status": "alex",
        "seconds": {"victim": 1.0, "release": 0.1, "reconstruction": 3.0, "scores": 0.2},
        "peak_memory_mb": 512.0,
        "provenance": {
            "commit": "0123456789abcdef", "dirty": False, "python": "3.11", "torch": "2.9.0",
            "torchvision": "0.24.0", "numpy": "2.0", "scipy": "1", "cma": "4", "lpips": "0.1.4",
            "bench": "0.1.0", "device": "cpu", "threads": 1, "platform": "linux",
            "finished": f"2030-01-01T00:00:{cell.seed:02d}",
        },
    }  # fmt: skip


DEFENSES: dict[str, list[float | None]] = {
    "none": [None],
    "noise": [0.0001, 0.001, 0.01],
    "noise[distribution=laplace]": [0.0001, 0.001, 0.01],
    "clip": [1.0, 4.0, 16.0],
    "prune": [0.5, 0.9, 0.99],
    "mixup": [1.0, 2.0, 4.0],
}
ATTACKS = {"strong": 0.05, "weak": 0.2, "sly[tv=0.01]": 0.1, "blind": 0.62}


def plausible(
    *,
    seeds: int = 3,
    releases: int = 8,
    checkpoints: tuple[str, ...] = ("initial", "trained"),
    batches: tuple[int, ...] = (1,),
    defenses: Iterable[str] = tuple(DEFENSES),
) -> Folder:
    """A whole matrix: more strength leaks less and costs more; one image in fifty diverges."""
    folder = Folder()
    generator = np.random.default_rng(7)
    places = [
        (c, b, d, i, s)
        for c in checkpoints
        for b in batches
        for d in defenses
        for i, s in enumerate(DEFENSES[d])
    ]
    for place, (checkpoint, batch, defense, i, strength) in enumerate(places):
        hardness = (
            (0.0 if strength is None else 0.1 + 0.12 * i)
            + 0.03 * (checkpoint == "trained")
            + 0.002 * (place % 5)
        )
        for seed in range(seeds):
            accuracy = 0.94 - (0.0 if strength is None else 0.003 * 4**i) + 0.002 * seed
            for attack, base in ATTACKS.items():
                for adversary in ("naive", "adaptive"):
                    if attack == "blind" and adversary == "adaptive":
                        continue
                    common: dict[str, Any] = {"seed": seed, "adversary": adversary, "accuracy": accuracy}
                    common |= {"checkpoint": checkpoint, "batch_size": batch}
                    if defense == "none" and adversary == "adaptive":
                        folder.add(
                            attack,
                            defense,
                            strength,
                            status="incompatible",
                            reason="nothing to adapt to",
                            releases=releases,
                            **common,
                        )
                        continue
                    ease = 0.05 * (adversary == "adaptive")
                    mean = base if attack == "blind" else min(base + hardness - ease + 0.02 * batch, 0.7)
                    lpips = np.clip(generator.normal(mean, 0.08, releases * batch), 0.001, 0.9)
                    lpips[generator.random(len(lpips)) < 0.02] = np.nan
                    folder.add(
                        attack, defense, strength, lpips=lpips, psnr=32 - 30 * lpips, ssim=1 - lpips, **common
                    )
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium, once for all tests."""
    if chromium() is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def folder() -> Folder:
    """An empty results folder to fill."""
    return Folder()


@pytest.fixture
def cards() -> Cards:
    """Cards of the synthetic plug-ins: ``blind`` is a floor, ``none`` the undefended victim."""
    return FakeCards()


@pytest.fixture
def matrix() -> Callable[..., Folder]:
    """A plausible whole matrix."""
    return plausible
