"""A small world for running matrices: tiny plug-ins and matrices, a results folder and a cache of its own."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from bench.api.errors import BenchError
from bench.cache.keys import forget_digests
from bench.cli.main import main
from bench.execute.options import RunOptions
from bench.execute.refresh import Refresher
from bench.execute.run import run_matrix
from bench.execute.shards import parse_shard
from bench.matrix import Cell, expand, load_matrix
from bench.plugins import discover
from bench.report.refresh import refresh

DATASET = """
import torch
from bench.api import Dataset, ImageSet, Splits


class Tiny(Dataset):
    num_classes = 3
    image_shape = (1, 32, 32)

    def splits(self, *, seed: int) -> Splits:
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(272, 1, 32, 32, generator=generator)
        labels = torch.arange(272) % 3
        parts = [ImageSet(images[a:b], labels[a:b]) for a, b in ((0, 160), (160, 200), (200, 272))]
        return Splits(private_train=parts[0], private_test=parts[1], auxiliary=parts[2])
"""

ATTACK = """
import os
import resource
import subprocess
import time
import zlib
from pathlib import Path

import torch
from bench.api import Attack, IncompatibleError, Reconstruction


class Toy(Attack):
    def __init__(self, *, act: str = "guess", pause: float = 0.0) -> None:
        self.act, self.pause = act, pause

    def reconstruct(self, observation, *, budget, seed):
        time.sleep(self.pause)
        if mark := os.environ.get("BENCH_TEST_CALLS"):
            with open(mark, "a") as file:
                file.write(self.act + chr(10))
        n, b = observation.victims, observation.batch_size
        # Order and alignment of what is observed decide the result, as they do for real kernels.
        layout = [(name, g.data_ptr() % 64) for name, g in observation.gradients.items()]
        layout += [(name, p.data_ptr() % 64) for name, p in observation.parameters.items()]
        generator = torch.Generator().manual_seed(seed + zlib.crc32(repr(layout).encode()))
        images = torch.rand(n, b, *observation.image_shape, generator=generator)
        match self.act:
            case "raise":
                raise RuntimeError("broken toy")
            case "exit":
                os._exit(7)
            case "memory":
                raise MemoryError
            case "killed":
                os.kill(os.getpid(), 9)
            case "killed_once":
                if Path(mark).read_text().count("killed_once") == 1:
                    os.kill(os.getpid(), 9)
            case "hang":
                time.sleep(3600)
            case "impossible":
                raise IncompatibleError("no toys")
            case "shape":
                images = images[:, :, :, :16]
            case "device":
                images = images.to("meta")
            case "greedy":
                hoard = []
                while True:
                    hoard.append(torch.ones(64 * 2**20 // 4))
            case "garbage":
                for path in Path(os.environ["BENCH_CACHE"]).rglob("tensors.safetensors"):
                    path.write_bytes(b"garbage")
            case "nan":
                images = images * float("nan")
            case "some":
                images[0] = float("nan")
            case "double":
                torch.set_default_dtype(torch.float64)
            case "limit":
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            case "patch":
                torch.nn.functional.cross_entropy = None
            case "fork":
                subprocess.Popen(["sleep", "301"])
        return Reconstruction(
            images=images, cost=torch.ones(n), evaluations=torch.full((n,), budget), labels=None
        )
"""

CARD = """
kind = "{kind}"
title = "{name}"
paper = "none"
authors = "nobody"
year = 2026
notes = "for the tests"
"""
DATASET_CARD = f"""
licence = "none"
source = "none"
num_classes = 3
image_shape = [1, 32, 32]
sha256 = "{"0" * 64}"
"""
ATTACK_CARD = """
channels = ["gradients"]
adversaries = ["naive", "adaptive"]
[parameters.act]
default = "guess"
description = "what it does"
[parameters.pause]
default = 0.0
description = "seconds before it does it"
"""

MATRIX = """
name = "tiny"
version = 1
description = "for the tests"
seeds = {seeds}
[[block]]
datasets = ["tiny"]
models = ["lenet"]
checkpoints = {checkpoints}
batch_sizes = [1]
releases = {releases}
budget = {budget}
epochs = 0.2
attacks = {attacks}
adversaries = ["naive"]
defenses = ["none"]
"""
FIELDS = {"seeds": "[0]", "budget": "4", "releases": "2", "checkpoints": '["initial", "trained"]'}

RUN = """
import json, sys
from pathlib import Path
from bench.execute.options import RunOptions
from bench.execute.run import run_matrix
from bench.execute.shards import parse_shard
a = json.loads(sys.argv[1])
shard = parse_shard(a.pop("shard")) if "shard" in a else None
matrix, out = a.pop("matrix"), Path(a.pop("out"))
sys.exit(run_matrix(matrix, out=out, options=RunOptions(device="cpu", shard=shard, **a)).exit_code)
"""


def _run_here(*, matrix: str, out: str, shard: str = "", **options: Any) -> int:
    """The same in this process; its exit code."""
    part = parse_shard(shard) if shard else None
    how = RunOptions(device="cpu", shard=part, **options)
    return run_matrix(matrix, out=Path(out), options=how).exit_code


def _final(self: Refresher) -> str:
    """The last tables, written here and not in a process of their own."""
    self.stop()
    try:
        refresh(self.table.parent, final=True)
    except BenchError as error:
        return f"the tables could not be written: {error}"
    return ""


def bench(*arguments: object, answer: str = "") -> Result:
    """What a command prints and how it ends."""
    return CliRunner().invoke(main, list(map(str, arguments)), input=answer)


@dataclass
class World:
    """One user with plug-ins, a matrix, a results folder and a cache."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def plugin(self, kind: str, name: str, code: str, card: str) -> Path:
        folder = self.root / "plugins" / f"{kind}s" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}.py").write_text(code)
        (folder / "card.toml").write_text(CARD.format(kind=kind, name=name) + card)
        return folder

    def matrix(self, *attacks: str, **fields: str) -> Path:
        """Writes the matrix; an attack is an act of the toy, or a TOML table."""
        entries = [item if item.startswith("{") else f'{{name = "toy", act = "{item}"}}' for item in attacks]
        path = self.root / "tiny.toml"
        path.write_text(MATRIX.format(**{**FIELDS, "attacks": f"[{', '.join(entries)}]", **fields}))
        return path

    def _asked(self, **arguments: Any) -> tuple[dict[str, Any], dict[str, str]]:
        options = {
            "matrix": str(self.root / "tiny.toml"),
            "out": str(self.out),
            "display": "plain",
            "workers": 2,
        }
        environment = {
            "BENCH_CACHE": str(self.cache),
            "BENCH_PLUGIN_PATH": str(self.root / "plugins"),
            "BENCH_TEST_CALLS": str(self.root / "calls"),
        }
        return options | arguments, environment | self.environment

    def command(self, **arguments: Any) -> tuple[list[str], dict[str, str]]:
        options, environment = self._asked(**arguments)
        return [sys.executable, "-c", RUN, json.dumps(options)], {**os.environ, **environment}

    def run(self, **arguments: Any) -> subprocess.CompletedProcess[str]:
        """Runs the matrix from this process: all tests of it share one server of workers."""
        options, environment = self._asked(**arguments)
        out, err = io.StringIO(), io.StringIO()
        discover.cache_clear()
        forget_digests()
        try:
            with (
                patch.dict(os.environ, environment),
                patch.object(Refresher, "final", _final),
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                code = _run_here(**options)
        except BenchError:
            code = 1
            err.write(traceback.format_exc())
        finally:
            discover.cache_clear()
            forget_digests()
        return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())

    def process(self, **arguments: Any) -> subprocess.CompletedProcess[str]:
        """Runs the matrix in a process of its own, as a user does."""
        command, environment = self.command(**arguments)
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def start(self, **arguments: Any) -> subprocess.Popen[str]:
        command, environment = self.command(**arguments)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.out.glob("records/*.json"))]

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Per act of the toy: status and reason (of the trained checkpoint)."""
        return {
            dict(record["cell"]["attack"]["parameters"])["act"]: (record["status"], record["reason"])
            for record in self.records()
            if record["cell"]["checkpoint"] == "trained"
        }

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().split() if path.exists() else []

    def images(self) -> bytes:
        return (self.out / "images.csv.gz").read_bytes()

    def forge(self, lines: list[str]) -> None:
        """Other rows, and records that hold no checksum of them."""
        (self.out / "images.csv.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
        for path in self.out.glob("records/*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"rows_sha256": ""}))

    def rows(self) -> list[str]:
        return gzip.decompress(self.images()).decode().splitlines()


def build_world(root: Path) -> World:
    """A world with the tiny plug-ins and nothing run."""
    root.mkdir()
    world = World(root)
    world.plugin("dataset", "tiny", DATASET, DATASET_CARD)
    world.plugin("attack", "toy", ATTACK, ATTACK_CARD)
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path / "world")


@pytest.fixture
def cells(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Cell]]:
    """Two attacks on two seeds at two checkpoints."""
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(world.root / "plugins"))
    monkeypatch.setenv("BENCH_CACHE", str(world.cache))
    world.plugin("attack", "other", ATTACK.replace("Toy", "Other"), ATTACK_CARD)
    discover.cache_clear()
    forget_digests()
    yield expand(load_matrix(str(world.matrix("guess", "{name = 'other'}", seeds="[0, 1]"))))
    discover.cache_clear()
    forget_digests()
