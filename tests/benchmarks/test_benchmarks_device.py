"""`benchmarks/device.sh`: the page that it writes, its options, and one whole run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import plan, render
from benchmarks.device.book import FAILED, INAPPLICABLE, MEASURED, UNMEASURED, UNREACHED, read

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "device.sh"
NOT_REACHED = f"{UNMEASURED}: {UNREACHED}"


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable},
    )


# ------------------------------------------------------------------------------------------- the page


def test_the_page_of_a_real_gpu_is_made_of_its_rows() -> None:
    folder = ROOT / "benchmarks" / "gpu"
    assert (folder / "device.md").read_text() == render.page(read(folder))


def speed_row(key: str, status: str = MEASURED, reason: str = "", **more: Any) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "seconds": 4.0,
        "evaluations": 200,
        "psnr": 31.25,
        "success": 0.5,
        "peak_mb": 1500.0,
    }
    row = {**plan.Case.of(key).row(), "status": status, "reason": reason}
    return {**row, **(measured if status == MEASURED else {}), **more}


def smoke_side(psnr: float, seconds: float) -> dict[str, Any]:
    values = {"psnr": psnr, "lpips": 0.01, "identified": 1.0, "accuracy": 0.5, "seconds": seconds}
    return {"status": MEASURED, "reason": "", **values, "seconds_victim": 3.0}


def smoke_row(key: str, **sides: dict[str, Any]) -> dict[str, Any]:
    place = {"channel": "gradients", "model": "lenet", "checkpoint": "initial", "batch_size": 1}
    attack = {"defense": "noise", "strength": 0.01, "attack": key, "adversary": "naive"}
    return {"key": key, **place, **attack, **sides}


@pytest.fixture
def content() -> dict[str, Any]:
    """A run in which something of everything happened."""
    unreached = {"status": UNMEASURED, "reason": UNREACHED}
    declared = {"status": INAPPLICABLE, "reason": "nothing to adapt to"}
    return {
        "format": 1,
        "device": "cuda:0",
        "quick": False,
        "minutes": 9.0,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:08:00+00:00",
        "environment": [
            {
                "key": "machine", "status": MEASURED, "reason": "", "device": "A GPU", "driver": "580.1",
                "torch": "2.11.0", "tf32": "off", "libraries": {"cma": "4.0", "click": "8.1"},
            }
        ],
        "stages": [
            {"key": "tests", "status": "failed", "reason": "exit code 1", "seconds": 30.0, "limit": 90.0},
            {"key": "smoke", "status": "stopped", "reason": "9 s", "seconds": 9.0, "limit": 9.0},
            {"key": "rest", "status": UNMEASURED, "reason": "late", "limit": 0.0},
        ],
        "tests": [
            {"key": "tests/a.py::test_one[x|y]", "status": "passed", "reason": "", "seconds": 2.0},
            {"key": "tests/a.py::test_two", "status": FAILED, "reason": "assert 1 ==\n 2", "seconds": 1.0},
            {"key": "tests/a.py::test_three", **unreached},
        ],
        "speed": [
            speed_row("dlg:lenet:loop:2:100"),
            speed_row("dlg:lenet:engine:64:100", seconds=8.0, evaluations=6400),
            speed_row("dlg:lenet:engine:512:100", FAILED, "memory"),
            speed_row("dlg:resnet18:loop:1:20", UNMEASURED, UNREACHED),
            speed_row("dlg:resnet18:engine:64:20"),
            speed_row("rmle:lenet:engine:64:100", INAPPLICABLE, "rmle needs halves"),
        ],
        "runs": [
            {"key": "cuda", "workers": 2, "cells": 2, "seconds": 40.0, "status": MEASURED, "reason": ""},
            {"key": "cpu", "workers": 14, "cells": 1, "seconds": 20.0, "status": FAILED, "reason": "exit"},
        ],
        "smoke": [
            smoke_row("dlg", cuda=smoke_side(40.0, 1.0), cpu=smoke_side(38.0, 4.0)),
            smoke_row("idlg", cuda=smoke_side(41.0, 1.0), cpu=unreached),
            smoke_row("prior", cuda=declared, cpu=declared),
        ],
    }  # fmt: skip


def cells(page: str, *starts: str) -> list[str]:
    """The cells of the only row of a table whose first cells are these."""
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if "|" in line
    ]
    (row,) = [row for row in rows if tuple(row[: len(starts)]) == starts]
    return row


def sections(page: str) -> list[str]:
    """The titles of its sections."""
    return [line for line in page.splitlines() if line.startswith("## ")]


def numbers(page: str, name: str) -> list[str]:
    """The numbers of the only item that begins with this name."""
    (item,) = [line for line in page.splitlines() if line.startswith(f"* {name}: ")]
    return re.findall(r"[\d.]+", item)


def test_the_page_has_the_machine_and_every_section(content: dict[str, Any]) -> None:
    page = render.page(content)
    heads = sections(page)
    assert "A GPU" in page.splitlines()[0] and "`smoke`" in heads[-1] and len(heads) == 5
    assert cells(page, "driver")[1] == "580.1" and cells(page, "torch")[1] == "2.11.0"
    assert "cma 4.0, click 8.1" in page


def test_ratios_are_times_of_the_loop_over_times_of_the_engine(content: dict[str, Any]) -> None:
    row = cells(render.page(content), "dlg", "engine, N = 64", "measured", "64", "100")
    assert row[5:7] == ["0.125", "800"], "8 s for 64 victims and 6,400 evaluations"
    assert row[-2:] == ["16x", "16x"], "the loop takes 2 s for a victim and 0.02 s for an evaluation"
    assert cells(render.page(content), "dlg", "plain loop", "measured")[-2:] == ["1x", "1x"]


def test_without_a_measured_loop_there_is_no_ratio(content: dict[str, Any]) -> None:
    row = cells(render.page(content), "dlg", "engine, N = 64", "measured", "64", "20")
    assert row[-2:] == ["–", "–"]


def test_what_failed_and_what_was_not_reached_keeps_its_row(content: dict[str, Any]) -> None:
    page = render.page(content)
    assert cells(page, "dlg", "engine, N = 512")[2] == "failed: memory"
    assert cells(page, "dlg", "plain loop", NOT_REACHED)[5] == "–"
    assert "* rmle needs halves" in page
    assert cells(page, "`tests/a.py::test_two`")[1] == "failed: assert 1 == 2"
    assert cells(page, "`tests/a.py::test_three`")[1:] == [NOT_REACHED, "–"]
    assert "`tests/a.py::test_one[x\\|y]`" in page, "a bar would end the cell"
    assert cells(page, "smoke")[1] == "stopped: 9 s"
    assert cells(page, "rest")[1] == f"{UNMEASURED}: late"
    counts = zip((3, 1, 1, 1), (MEASURED, FAILED, UNMEASURED, INAPPLICABLE), strict=True)
    assert ", ".join(f"{count} {status}" for count, status in counts) in page


def test_smoke_stands_side_by_side(content: dict[str, Any]) -> None:
    page = render.page(content)
    row = cells(page, "gradients · lenet · initial · B = 1", "noise = 0.01", "dlg/naive")
    assert row[3:5] == ["40.0", "38.0"] and row[-1] == "measured"
    row = cells(page, "gradients · lenet · initial · B = 1", "noise = 0.01", "idlg/naive")
    assert row[3:5] == ["41.0", "–"] and row[-1] == f"cuda {MEASURED}; cpu {NOT_REACHED}"
    assert numbers(page, "PSNR, dB") == ["2.0", "2.0"]
    assert numbers(page, "seconds") == ["1.0", "4.0", "4"]
    assert cells(page, "cpu", "14")[2:] == ["1 of 3", "20", "failed: exit"]
    assert "prior" not in page and f"{INAPPLICABLE}" in page


def test_a_run_that_was_ended_at_once_has_a_page_too(content: dict[str, Any]) -> None:
    empty = {
        **content,
        "finished": None,
        **{name: [] for name in ("environment", "tests", "speed", "runs", "smoke")},
    }
    page = render.page(empty)
    assert (
        "cuda:0" in page.splitlines()[0] and "not ended" in page and "not ended" not in render.page(content)
    )
    assert sections(page) == sections(render.page(content)), "no section is missing"


def test_a_trial_of_the_script_says_so(content: dict[str, Any]) -> None:
    trial, whole = (render.page({**content, "quick": quick}).splitlines() for quick in (True, False))
    assert set(whole) < set(trial)


def test_the_page_is_made_again_from_the_file_alone(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "device.json").write_text(json.dumps(content), encoding="utf-8")
    result = script("--render", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "device.md").read_text(encoding="utf-8") == render.page(content)


# ------------------------------------------------------------------------------------------- the script


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--out"),
        (("--out",), "--out"),
        (("--fast",), "--fast"),
        (("--out", "x", "--wheels", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_call_is_told(arguments: tuple[str, ...], said: str) -> None:
    result = script(*arguments)
    assert result.returncode == 2 and said in result.stderr


def test_help_lists_the_options() -> None:
    result = script("--help")
    assert result.returncode == 0
    for option in ("--collect", "--wheels", "--out", "--device", "--minutes", "--quick", "--render"):
        assert option in result.stdout
    assert "set -euo" not in result.stdout


@pytest.mark.slow
def test_a_trial_run_measures_everything_on_a_cpu(tmp_path: Path) -> None:
    result = script("--device", "cpu", "--quick", "--out", tmp_path / "out")
    content = read(tmp_path / "out")
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert result.returncode == 0, f"{result.stdout}{result.stderr}{log}"
    assert {row["status"] for row in content["stages"]} == {"done"}
    assert {row["status"] for row in content["tests"]} == {"skipped"}
    assert {row["status"] for row in content["speed"]} == {MEASURED}
    assert all(row["seconds"] > 0 and row["evaluations"] >= row["victims"] for row in content["speed"])
    assert [row["cpu"]["status"] for row in content["smoke"]] == [MEASURED, MEASURED]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "device.json",
        "device.md",
        "log.txt",
        "smoke-cpu.csv",
    }
    assert str(tmp_path) not in json.dumps(content) and str(ROOT) not in json.dumps(content)
    assert (tmp_path / "out" / "device.md").read_text(encoding="utf-8") == render.page(content)
