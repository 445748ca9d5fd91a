"""Plug-in folders and matrix files for tests, apart from those of the project."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import bench.attacks
import bench.datasets
import bench.defenses
from bench.api.cards import Kind
from bench.plugins import FOLDERS, discover
from bench.search_path import search_path

SOURCE = {"title": "A title", "paper": "A paper", "authors": "A. Author", "year": 2020, "notes": "None."}
STEPS = {"default": 10, "description": "Iterations.", "minimum": 1, "maximum": 1000}
SCALE = {"default": 0.5, "description": "Of the noise.", "minimum": 0.0, "published": 1.0}
SHAPE = {"default": "flat", "description": "Of the noise.", "choices": ["flat", "peaked"]}

CARDS: dict[Kind, dict[str, Any]] = {
    "attack": {
        **SOURCE,
        "kind": "attack",
        "channels": ["gradients"],
        "adversaries": ["naive", "adaptive"],
        "parameters": {"steps": STEPS},
    },
    "defense": {
        **SOURCE,
        "kind": "defense",
        "channels": ["gradients"],
        "strength": "scale",
        "parameters": {"scale": SCALE, "shape": SHAPE},
    },
    "dataset": {
        **SOURCE,
        "kind": "dataset",
        "licence": "CC0",
        "source": "Drawn by hand.",
        "num_classes": 2,
        "image_shape": [1, 16, 16],
        "sha256": "0" * 64,
    },
}
CODE: dict[Kind, str] = {
    "attack": """
from bench.api import Attack

class Mine(Attack):
    def __init__(self, *, steps=10):
        self.steps = steps

    def reconstruct(self, observation, *, budget, seed):
        raise NotImplementedError
""",
    "defense": """
from bench.api import Defense

class Mine(Defense):
    def __init__(self, *, scale=0.5, shape="flat"):
        self.scale, self.shape = scale, shape
""",
    "dataset": """
import torch
from bench.api import Dataset, ImageSet, Splits

class Mine(Dataset):
    num_classes, image_shape = 2, (1, 16, 16)

    def splits(self, *, seed):
        part = ImageSet(torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64))
        return Splits(private_train=part, private_test=part, auxiliary=part)
""",
}
BLOCK: dict[str, Any] = {
    "datasets": ["dots"],
    "models": ["lenet"],
    "checkpoints": ["initial"],
    "batch_sizes": [1],
    "releases": 4,
    "budget": 100,
    "attacks": ["guess"],
    "adversaries": ["naive"],
    "defenses": ["blur"],
}
MATRIX: dict[str, Any] = {
    "name": "mine",
    "version": 1,
    "description": "A small matrix.",
    "seeds": [0, 1],
    "block": [BLOCK],
}


def toml(value: object) -> str:
    """A TOML value; tables are inline."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.isoformat() if isinstance(value, date) else json.dumps(value)


def toml_file(table: Mapping[str, object]) -> str:
    """A TOML document."""
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in table.items())


class Folders:
    """A place for plug-in folders and matrix files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        kind: Kind,
        name: str,
        changes: Mapping[str, object] | None = None,
        *,
        without: tuple[str, ...] = (),
        card: str | None = None,
        code: str | None = None,
    ) -> Path:
        """Writes a sound plug-in, with the card's fields changed or left out, or other files."""
        folder = self.root / FOLDERS[kind] / name
        folder.mkdir(parents=True, exist_ok=True)
        fields = {k: v for k, v in {**CARDS[kind], **(changes or {})}.items() if k not in without}
        (folder / "card.toml").write_text(toml_file(fields) if card is None else card, encoding="utf-8")
        (folder / f"{kind}.py").write_text(CODE[kind] if code is None else code, encoding="utf-8")
        discover.cache_clear()
        importlib.invalidate_caches()
        return folder

    def matrix(self, changes: Mapping[str, object] | None = None, *, text: str | None = None) -> Path:
        """Writes a matrix file, with fields changed."""
        path = self.root / "mine.toml"
        content = toml_file({**MATRIX, **(changes or {})}) if text is None else text
        path.write_text(content, encoding="utf-8")
        return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    """An empty place that hides the project's own plug-ins; what it held is forgotten afterwards."""
    root = tmp_path / "plugins"
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True)
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(root))
    monkeypatch.setattr("bench.search_path._is_checkout", lambda _: False)
    monkeypatch.setattr("bench.search_path.working_folder", lambda kind: None)
    for package in (bench.attacks, bench.defenses, bench.datasets):
        monkeypatch.setattr(package, "__path__", search_path(package.__name__.rpartition(".")[2]))
    before = _modules()
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    discover.cache_clear()
    yield Folders(root)
    for name in _modules():
        del sys.modules[name]
    discover.cache_clear()


def _modules() -> list[str]:
    prefixes = tuple(f"bench.{folder}." for folder in FOLDERS.values())
    return [name for name in sys.modules if name.startswith(prefixes)]


@pytest.fixture
def folders(bare: Folders) -> Folders:
    """One sound plug-in of each kind: the attack guess, the defense blur, the data set dots."""
    bare.add("attack", "guess")
    bare.add("defense", "blur")
    bare.add("dataset", "dots")
    return bare
