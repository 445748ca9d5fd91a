from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cache.keys import Identity
from bench.matrix import expand, load_matrix
from bench.records.outcome import Failure, failed
from bench.records.record import Status
from bench.records.results import Results
from tests.api.plugin_folders import BLOCK, Folders
from tests.world import bench


@pytest.fixture
def parts(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The two cells of a matrix, each in a folder of its own, failed."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    identity, places = Identity("cpu"), [tmp_path / "0", tmp_path / "1"]
    cells = expand(load_matrix(str(folders.matrix())))
    assert len(cells) == 2
    for cell, place in zip(cells, places, strict=True):
        failure = Failure(status=Status.FAILED, reason="\x1b[31mred\x1b[0m")
        results = Results(place)
        results.commit(failed(cell, identity.keys(cell), failure, device="cpu"))
        results.fold()
    return places


def test_merge_puts_parts_together_and_writes_the_tables(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "whole"
    result = bench("merge", *parts, "--out", out)
    assert result.exit_code == 0, result.output
    assert re.findall(r"\b\d+\b", result.stdout.splitlines()[0]) == ["2", "0", "0"]
    assert str(out / "leaderboard.md") in result.stdout and (out / "leaderboard.md").is_file()
    assert len(list(out.glob("records/*.json"))) == 2
    again = bench("merge", *parts, "--out", out)
    assert re.findall(r"\b\d+\b", again.stdout.splitlines()[0]) == ["0", "0", "2"]


def test_merge_refuses_what_holds_no_results(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = bench("merge", parts[0], tmp_path / "empty", "--out", tmp_path / "whole")
    assert result.exit_code == 2 and result.stderr.startswith(f"error: {tmp_path / 'empty'}: ")
    assert not (tmp_path / "whole").exists()
    assert bench("merge", "--out", tmp_path / "whole").exit_code == 2


def test_clean_asks_before_it_takes_anything_away(
    parts: list[Path], folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "whole"
    bench("merge", *parts, "--out", out)
    small = folders.matrix({"block": [{**BLOCK, "defenses": [{"name": "blur", "scale": 0.25}]}]})
    dry = bench("clean", out, "--matrix", small, "--dry-run")
    assert dry.exit_code == 0
    last = dry.stdout.splitlines()[-1]
    assert last.startswith("2 ") and last.endswith(str(small))
    refused = bench("clean", out, "--matrix", small, answer="n\n")
    assert refused.exit_code == 130
    assert len(list(out.glob("records/*.json"))) == 2
    done = bench("clean", out, "--matrix", small, answer="y\n")
    assert done.exit_code == 0, done.output
    assert not list(out.glob("records/*.json"))
    assert bench("clean", out, "--matrix", small, "--yes").stdout.startswith("0 ")
