from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from bench.execute.options import RunOptions
from bench.execute.shards import Shard
from bench.matrix import Filters, expand, load_matrix
from tests.api.plugin_folders import BLOCK, Folders
from tests.world import bench

DEFAULTS: dict[str, Any] = {"filters": Filters(), "options": RunOptions()}


class Recorder:
    """Stands in for the runner: keeps what it was asked and answers with an exit code."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.exit_code = 0

    def __call__(self, matrix: str, **options: Any) -> SimpleNamespace:
        self.asked.append((matrix, options))
        return SimpleNamespace(exit_code=self.exit_code)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder, module = Recorder(), ModuleType("bench.confirm")
    module.run_confirmed = recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.confirm", module)
    return recorder


def run(*arguments: object) -> Result:
    return bench("run", *arguments)


def test_options_that_are_not_given_restrict_nothing(folders: Folders, runner: Recorder) -> None:
    path = folders.matrix()
    assert run("--matrix", path).exit_code == 0
    assert runner.asked == [(str(path), {**DEFAULTS, "out": Path("runs/mine")})]


def test_every_option_arrives(runner: Recorder) -> None:
    options = "-a guess[steps=3] -a other -d blur -D dots -m lenet --seeds 3,1,3 --limit 5 --out there"
    more = "--device cuda:0,1 -j 2 --timeout 1.5 --retry-failed --force --dry-run --display json"
    where = "--channel smashed --channel model --checkpoint trained"
    scale = "--engine ray --address 10.0.0.1:6379 --budget 1h30m --memory 1.5G --shard 2/8"
    assert (
        run("--matrix", "mine", *options.split(), *more.split(), *where.split(), *scale.split()).exit_code
        == 0
    )
    filters = Filters(
        attacks=("guess[steps=3]", "other"),
        defenses=("blur",),
        datasets=("dots",),
        models=("lenet",),
        channels=("smashed", "model"),
        checkpoints=("trained",),
        seeds=(3, 1),
        limit=5,
    )
    how = RunOptions(
        device="cuda:0,1",
        engine="ray",
        address="10.0.0.1:6379",
        workers=2,
        timeout=1.5,
        budget=5400.0,
        memory=3 * 2**29,
        shard=Shard(2, 8),
        retry_failed=True,
        force=True,
        display="json",
        dry_run=True,
    )
    expected = {"out": Path("there"), "filters": filters, "options": how}
    assert runner.asked == [("mine", expected)]


def test_a_shard_has_a_folder_of_its_own(folders: Folders, runner: Recorder) -> None:
    assert run("--matrix", folders.matrix(), "--shard", "0/2").exit_code == 0
    assert runner.asked[0][1]["out"] == Path("runs/mine.shard-0-of-2")


def test_an_address_is_for_a_cluster(runner: Recorder) -> None:
    result = run("--matrix", "mine", "--out", "there", "--address", "10.0.0.1:6379")
    assert result.exit_code == 2
    assert "--engine ray" in result.stderr
    assert not runner.asked


@pytest.mark.parametrize("code", [0, 1, 130])
def test_the_exit_code_is_the_run_s(runner: Recorder, code: int) -> None:
    runner.exit_code = code
    assert run("--matrix", "mine", "--out", "there").exit_code == code


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seeds", "one"),
        ("--seeds", ""),
        ("--seeds", "1,,2"),
        ("--seeds", "-1"),
        ("--seeds", str(2**32)),
        ("--seeds", "9" * 5000),
        ("--limit", "0"),
        ("-j", "0"),
        ("--timeout", "0"),
        ("--display", "loud"),
        ("--engine", "spark"),
        ("--budget", "20"),
        ("--shard", "8/8"),
        ("--out", __file__),
    ],
)
def test_a_value_that_cannot_be_is_2(runner: Recorder, option: str, value: str) -> None:
    result = run("--matrix", "mine", "--out", "there", option, value)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr
    assert not runner.asked


@pytest.mark.parametrize(
    ("option", "value", "fact"),
    [
        ("-a", "gess", "'guess'"),
        ("-d", "blur[", ""),
        ("--channel", "smashd", "'smashed'"),
        ("--device", "tpu", "cuda"),
    ],
)
def test_a_filter_that_selects_nothing_there_is_is_one_clear_message(
    folders: Folders, tmp_path: Path, option: str, value: str, fact: str
) -> None:
    result = run("--matrix", folders.matrix(), "--out", tmp_path / "out", "--dry-run", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"error: .*'{re.escape(value)}'.*{fact}.*\n", result.stderr)


def test_all_errors_of_a_matrix_file_are_one_message(folders: Folders, tmp_path: Path) -> None:
    path = folders.matrix({"seeds": [], "block": [{**BLOCK, "budget": 0}, {**BLOCK, "relaeses": 3}]})
    result = run("--matrix", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    lines = result.stderr.removeprefix("error: ").splitlines()
    assert sorted(line.split(": ")[:2] for line in lines) == [
        [str(path), "block.0.budget.0"],
        [str(path), "block.1.relaeses"],
        [str(path), "seeds"],
    ]


def test_a_broken_card_stops_the_run_before_it_starts(folders: Folders, tmp_path: Path) -> None:
    folder = folders.add("attack", "guess", {"year": "then", "colour": "red"}, without=("title",))
    result = run("--matrix", folders.matrix(), "--out", tmp_path / "out")
    assert result.exit_code == 2
    card = folder / "card.toml"
    assert all(f"{card}: {field}: " in result.stderr for field in ("title", "year", "colour"))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_run_and_writes_nothing(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("--matrix", folders.matrix(), "--out", out, "--dry-run", "--seeds", 4, "--device", "cpu")
    assert result.exit_code == 0
    (cell,) = expand(load_matrix(str(folders.matrix())), Filters(seeds=(4,)))
    assert cell.title in result.stdout
    assert not out.exists()


@pytest.mark.parametrize("text", ["2", "two", "0G", "-1G", "2T", ""])
def test_a_size_without_its_unit_is_a_clear_error(folders: Folders, tmp_path: Path, text: str) -> None:
    result = run("--matrix", folders.matrix(), "--out", tmp_path / "out", f"--memory={text}")
    assert result.exit_code == 2
    assert f"memory {text!r}" in result.stderr
