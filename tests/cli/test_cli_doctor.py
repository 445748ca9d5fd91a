from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from bench.cli import doctor
from bench.metrics.lpips_weights import FIX
from bench.models.weights import Shipped
from tests.api.plugin_folders import CODE, Folders
from tests.world import bench


def bench_doctor() -> tuple[Result, dict[str, tuple[str, str]]]:
    """The command's result, and its level and text for each thing that it looked at."""
    result = bench("doctor")
    form = re.compile(r"(ok|optional|warn|FAIL) +(.+?): (.*)", re.DOTALL)
    found = filter(None, map(form.match, re.split(r"\n(?=\S)", result.stdout)))
    return result, {match[2]: (match[1], match[3]) for match in found}


@pytest.fixture(autouse=True)
def cache(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; LPIPS weights are there, and no weights of a generator are asked for."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr("bench.metrics.lpips_weights.weights_status", lambda net: f"lpips {net}: ok (file)")
    for name in ("GENERATORS", "EMBEDDERS"):
        monkeypatch.setattr(f"bench.models.weights.{name}", {})
    return tmp_path / "cache"


def test_a_sound_machine_is_all_ok(cache: Path) -> None:
    result, found = bench_doctor()
    assert result.exit_code == 0
    parts = {"python", "torch", "torchvision", "threads", "LPIPS weights", "attacks", "dataset dots", "cache"}
    assert parts <= {what for what, (level, _) in found.items() if level == "ok"}
    assert [what for what, (level, _) in found.items() if level != "ok"] == ["data folder"]
    assert any(what.startswith("device c") for what in found)
    assert found["data folder"][0] == "optional"
    assert re.findall(r"\b\d+\b", found["dataset dots"][1]) == ["3", "3", "3"]
    assert str(cache) in found["cache"][1] and not cache.exists()
    assert "bench run" in result.stdout.splitlines()[-1]


def test_data_that_are_optional_are_no_fault(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = "from bench.api import DataMissing; raise DataMissing('get them there'); part = "
    folders.add("dataset", "dots", code=CODE["dataset"].replace("part = ", absent))
    yours = {"parameters": {"path": {"default": "", "path": True, "description": "a folder"}}}
    folders.add("dataset", "mine", yours, without=("sha256",))
    (tmp_path / "data" / "faces").mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    result, found = bench_doctor()
    assert result.exit_code == 0
    assert found["dataset dots"] == ("optional", "get them there")
    level, text = found["dataset mine"]
    assert level == "optional" and "mine[path=...]" in text
    level, text = found["data folder"]
    assert level == "ok" and str(tmp_path / "data") in text and "faces" in text


def test_the_weights_of_a_generator_are_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "data" / "some_package" / "weights.tar"
    place.parent.mkdir(parents=True)
    digest = hashlib.sha256(b"weights").hexdigest()
    shipped = Shipped(
        package="some_package", file=place.name, sha256=digest, fix="install it", source="a shop"
    )
    monkeypatch.setattr("bench.models.weights.GENERATORS", {"faces": shipped})
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    result, found = bench_doctor()
    assert result.exit_code == 0
    level, text = found["generator faces"]
    assert level == "optional" and "install it" in text
    place.write_bytes(b"weights")
    assert bench_doctor()[1]["generator faces"] == ("ok", "sha256 ok, a shop")


def test_a_data_folder_that_is_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "/nowhere/at/all")
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["data folder"]
    assert level == "FAIL" and "/nowhere/at/all" in text and "BENCH_DATA" in text
    assert "bench doctor" in result.stdout.splitlines()[-1]


def test_missing_weights_are_a_warning_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metrics.lpips_weights.weights_status", lambda net: "lpips alex: missing (x)")
    result, found = bench_doctor()
    assert result.exit_code == 0
    level, text = found["LPIPS weights"]
    assert level == "warn" and "missing (x)" in text and FIX in text


def test_broken_plugins_fail_with_every_problem(folders: Folders) -> None:
    folder = folders.add("defense", "torn", {"colour": 1}, without=("title",))
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["defense torn"]
    assert level == "FAIL"
    assert all(f"{folder / 'card.toml'}: {field}: " in text for field in ("title", "colour"))


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("from bench.api import BenchError; raise BenchError('other sha256'); part = ", "other sha256"),
        ("1 / 0; part = ", "ZeroDivisionError"),
    ],
)
def test_a_data_set_that_does_not_load_fails(folders: Folders, code: str, fact: str) -> None:
    folders.add("dataset", "dots", code=CODE["dataset"].replace("part = ", code))
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["dataset dots"]
    assert level == "FAIL" and fact in text and "fix: " in text


def test_a_data_set_that_does_not_import_fails(folders: Folders) -> None:
    folder = folders.add("dataset", "dots", code="import nowhere_to_be_found")
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["dataset dots"]
    assert level == "FAIL" and str(folder / "dataset.py") in text


def test_torch_that_does_not_import_fails_and_the_rest_is_still_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["torch"]
    assert level == "FAIL" and "ModuleNotFoundError" in text and "fix: " in text
    assert "cache" in found


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    result, found = bench_doctor()
    assert result.exit_code == 1
    level, text = found["cache"]
    assert level == "FAIL" and "BENCH_CACHE" in text


@pytest.mark.parametrize(("free_mb", "level", "code"), [(50, "FAIL", 1), (1000, "warn", 0), (9000, "ok", 0)])
def test_a_full_disk_is_noticed(free_mb: int, level: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=free_mb * 1024**2)
    monkeypatch.setattr("bench.cli.doctor.shutil.disk_usage", lambda _: usage)
    result, found = bench_doctor()
    assert (result.exit_code, found["cache"][0]) == (code, level)


def test_a_check_that_breaks_is_a_line_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[doctor.Check]:
        yield doctor.Check("ok", "before", "fine")
        raise RuntimeError("oh")

    monkeypatch.setattr(doctor, "_python", broken)
    result, found = bench_doctor()
    assert result.exit_code == 1 and found["before"] == ("ok", "fine")
    level, text = found["broken"]
    assert level == "FAIL" and "RuntimeError: oh" in text and "cache" in found
