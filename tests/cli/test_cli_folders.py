from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cache.keys import Identity
from bench.cli.main import main
from bench.matrix import expand, load_matrix
from bench.records.outcome import Failure, failed
from bench.records.record import Status
from bench.records.results import Results
from tests.api.plugin_folders import BLOCK, Folders


def bench(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), input=answer)


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
    assert result.stdout == f"2 cells added, 0 replaced, 0 there already\nwrote {out / 'leaderboard.md'}\n"
    assert len(list(out.glob("records/*.json"))) == 2
    again = bench("merge", *parts, "--out", out)
    assert "0 cells added, 0 replaced, 2 there already" in again.stdout


def test_merge_refuses_what_holds_no_results(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = bench("merge", parts[0], tmp_path / "empty", "--out", tmp_path / "whole")
    assert result.exit_code == 2
    assert (
        result.stderr
        == f"error: {tmp_path / 'empty'}: there is no records folder in it, so it holds no results\n"
    )
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
    assert dry.stdout.splitlines()[-1] == f"2 records are no cells of {small}"
    refused = bench("clean", out, "--matrix", small, answer="n\n")
    assert refused.exit_code == 130
    assert len(list(out.glob("records/*.json"))) == 2
    done = bench("clean", out, "--matrix", small, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "2 records removed" in done.stdout
    assert not list(out.glob("records/*.json"))
    assert bench("clean", out, "--matrix", small, "--yes").stdout == f"0 records are no cells of {small}\n"
