"""The Python API: pandas frames, and nothing imported before it is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench import Leaderboard, load_images, load_records, run_matrix
from bench.api import UsageError

FULL = Path(__file__).parents[1] / "results" / "full"


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, bench; print({'torch', 'pandas', 'numpy', 'bench.frames'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    code = "import sys; from bench import Leaderboard; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    with pytest.raises(AttributeError, match="'leaderboard'"):
        _ = bench.leaderboard


def test_records_and_images_are_frames() -> None:
    records, images = load_records(FULL), load_images(FULL)
    published = pd.read_csv(FULL / "cells.csv")
    assert list(records["id"]) == list(published["id"])
    assert set(records["status"]) <= {"done", "incompatible", "failed", "timeout", "oom"}
    done = records[records["status"] == "done"]
    assert len(images) == (done["releases"] * done["batch_size"]).sum()
    assert images["lpips"].mean() == pytest.approx(
        (done["mean_lpips"] * done["releases"] * done["batch_size"]).sum() / len(images), abs=1e-3
    )


def test_the_leaderboard_is_that_of_the_published_tables() -> None:
    board = Leaderboard(FULL)
    published = pd.read_csv(FULL / "leaderboard.csv")
    worst = published[published["role"] == "worst case"].reset_index(drop=True)
    pd.testing.assert_series_equal(board.worst["lpips"], worst["lpips"])
    assert len(board.attacks) == len(published) - len(worst)
    assert board.to_markdown().startswith("# Leaderboard")
    assert f"{len(board.groups)} groups" in repr(board)
    assert board._repr_html_().count("<tr") == len(worst) + 1


def test_what_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    for read in (load_records, load_images, Leaderboard):
        with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
            read(tmp_path)


def test_a_matrix_runs_and_comes_back_as_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    records = run_matrix(
        "smoke", out=tmp_path / "out", attacks=["prior"], defenses=["none"], limit=1, device="cpu",
        workers=1, display="plain",
    )  # fmt: skip
    (row,) = records.to_dict("records")
    assert (row["status"], row["attack"], row["defense"]) == ("done", "prior", "none")
    assert 0 < row["utility"] < 1
