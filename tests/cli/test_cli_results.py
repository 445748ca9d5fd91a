from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

from tests.api.plugin_folders import Folders
from tests.world import bench


def counts(result: Result) -> dict[str, int]:
    rows = (line.split() for line in result.stdout.splitlines())
    return {name: int(count) for name, count in rows}


def test_status_takes_the_matrix_from_the_folder_s_name(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine@1.toml").write_bytes(folders.matrix().read_bytes())
    monkeypatch.setattr("bench.matrix.files.FOLDER", tmp_path)
    found = counts(bench("status", tmp_path / "mine"))
    assert {state for state, count in found.items() if count} == {"missing", "cells"}
    assert found["missing"] == 2 and not (tmp_path / "mine").exists()
    result = bench("status", tmp_path / "yours")
    assert result.exit_code == 2
    assert "'yours'" in result.stderr


def test_status_looks_into_the_default_folder(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []

    def status(matrix: str, out: Path, *, device: str) -> dict[str, int]:
        asked.append((matrix, out))
        return {"done": 3, "incompatible": 1}

    monkeypatch.setattr("bench.execute.run.status", status)
    path = folders.matrix()
    assert counts(bench("status", "--matrix", path))["n/a"] == 1
    assert asked == [(str(path), Path("runs/mine"))]


def test_report_writes_the_tables_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, bool, Path | None]] = []

    def write_report(directory: Path, *, final: bool, baseline: Path | None) -> None:
        asked.append((directory, final, baseline))

    monkeypatch.setattr("bench.report.write.write_report", write_report)
    (tmp_path / "records").mkdir()
    result = bench("report", tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"wrote {tmp_path / 'index.html'}\n")
    assert asked == [(tmp_path, True, None)]
    assert bench("report", tmp_path, "--baseline", tmp_path).exit_code == 0
    assert asked[1:] == [(tmp_path, True, tmp_path)]


def test_report_refuses_a_folder_that_holds_no_results(tmp_path: Path) -> None:
    result = bench("report", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path}: ")
    assert not list(tmp_path.iterdir())
    assert bench("report", tmp_path / "gone").exit_code == 2


def test_report_needs_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "full" / "records").mkdir(parents=True)
    result = bench("report")
    assert result.exit_code == 2 and "DIRECTORY" in result.stderr
    assert not list((tmp_path / "results" / "full").glob("*.*")), "nothing is written"
