"""Scores are confirmed by code of others, and an altered one is found."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import bench.datasets
from bench.cache.keys import forget_digests
from bench.cache.store import Store, Stored
from bench.cli.main import main
from bench.metrics.perceptual import Lpips
from bench.metrics.pixel import psnr
from bench.metrics.ssim import ssim
from bench.plugins import build_dataset, discover
from bench.records.outcome import Outcome
from bench.records.results import Results
from bench.records.rows import COLUMNS, PLACE
from bench.verify.independent import score_independently
from tests.world import World, build_world


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Releases of two images; of one attack those of the first release are not finite."""
    world = build_world(tmp_path_factory.mktemp("independent") / "world")
    matrix = world.matrix("guess", "some", checkpoints='["trained"]')
    matrix.write_text(matrix.read_text().replace("batch_sizes = [1]", "batch_sizes = [2]"))
    result = world.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return world


@pytest.fixture
def copy(finished: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(Path(shutil.copytree(finished.root, tmp_path / "copy")))
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(world.root / "plugins"))
    monkeypatch.setenv("BENCH_CACHE", str(world.cache))
    monkeypatch.setattr(bench.datasets, "__path__", [str(world.root / "plugins/datasets")])
    monkeypatch.delitem(sys.modules, "bench.datasets.tiny.dataset", raising=False)
    monkeypatch.delitem(sys.modules, "bench.datasets.tiny", raising=False)
    discover.cache_clear()
    forget_digests()
    yield world
    discover.cache_clear()
    forget_digests()


def _verify(world: World) -> Result:
    arguments = ["--independent", "--no-rescore", "--sample", "0", "--device", "cpu", "-j", "1"]
    return CliRunner().invoke(main, ["verify", str(world.out), *arguments])


def _alter(world: World, name: str, value: str) -> None:
    """Another value of the first image of a cell whose reconstructions are finite."""
    lines = world.rows()
    place = next(n for n, line in enumerate(lines) if ",done," in line and "act=some" not in line)
    fields = lines[place].split(",")
    fields[COLUMNS.index(name)] = value
    lines[place] = ",".join(fields)
    world.forge(lines)


def test_honest_results_agree_with_other_code(copy: World) -> None:
    result = _verify(copy)
    assert result.exit_code == 0, result.output
    assert "scored by scikit-image and lpips: 2 cells\n" in result.stdout
    for name, beyond in (("psnr", "0.01"), ("ssim", "0.001"), ("lpips", "0.001")):
        line = re.search(
            rf"^{name} +6 rows +largest difference (\S+) +0 beyond {beyond}$", result.stdout, re.M
        )
        assert line and float(line[1]) < 1e-4, result.stdout
    shutil.rmtree(copy.cache / "reconstruction")
    assert "scored by scikit-image and lpips: 0 cells; 2 are not in the cache" in _verify(copy).stdout


@pytest.mark.parametrize(("name", "value"), [("ssim", "0.5"), ("psnr", "31"), ("lpips", "")])
def test_an_altered_value_is_found(copy: World, name: str, value: str) -> None:
    _alter(copy, name, value)
    result = _verify(copy)
    assert result.exit_code == 1
    assert re.search(rf"^{name} .* 1 beyond", result.stdout, re.M)
    assert re.search(rf"^does not agree: toy.*: {name} {value or 'nan'} published, ", result.stdout, re.M)


def test_what_no_image_belongs_to_is_set_beside_the_image_that_the_scores_name(copy: World) -> None:
    outcome = next(o for o in Results(copy.out).outcomes() if "some" not in o.record.asked.title)
    cell, store = outcome.record.asked, Store(copy.cache)
    rebuilt = store.read("reconstruction", outcome.record.stages.reconstruction)
    assert rebuilt is not None
    nearest = torch.tensor([[3, 5], [5, 7]])
    store.drop("scores", outcome.record.key)
    store.get_or_compute("scores", outcome.record.key, lambda: Stored({"nearest": nearest}, {}))
    private = build_dataset(cell.dataset.name, cell.dataset.arguments()).splits(seed=cell.seed).private_train
    pair = private.images[nearest.flatten()], rebuilt.tensors["images"].flatten(0, 1)
    values = {"psnr": psnr(*pair), "ssim": ssim(*pair), "lpips": Lpips("alex").distance(*pair)}
    at = [COLUMNS.index(name) for name in PLACE]
    rows = []
    for row in outcome.rows:
        number = 2 * int(row[at[0]]) + int(row[at[1]])
        new = {name: f"{float(found[number]):.6g}" for name, found in values.items()}
        rows.append(tuple(new.get(name, old) for name, old in zip(COLUMNS, row, strict=True)))

    def compare(outcome: Outcome) -> float:
        found = score_independently([outcome], store, lambda text: None)
        assert [metric.rows for metric in found.metrics.values()] == [4, 4, 4]
        return max(metric.largest for metric in found.metrics.values())

    assert compare(replace(outcome, rows=tuple(rows))) < 1e-4
    assert compare(outcome) > 1e-2
    assert math.isinf(compare(replace(outcome, rows=tuple(rows[1:]))))
