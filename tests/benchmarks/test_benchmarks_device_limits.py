"""`benchmarks/device.sh`: its limits, the rows of what goes wrong, and what it carries to another machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.metrics.lpips_weights import SPECS
from benchmarks.device import collect, plan
from benchmarks.device.book import FAILED, MEASURED, UNMEASURED, Book, read
from benchmarks.device.driver import Driver, Options
from benchmarks.device.supervise import ROWS, Ended, supervise

ROOT = Path(__file__).resolve().parents[2]


# ------------------------------------------------------------------------------------------- the file


def test_a_row_is_completed_and_holds_no_name_of_the_machine(tmp_path: Path) -> None:
    book = Book(tmp_path, hidden=(tmp_path,))
    book.head = {"quick": True}
    book.plan("speed", {"key": "a", "victims": 3})
    book.put("speed", {"key": "a", "status": FAILED, "reason": f"no {tmp_path}/x.py", "psnr": float("nan")})
    book.write()
    assert [path.name for path in tmp_path.iterdir()] == ["device.json"]
    assert read(tmp_path)["speed"] == [
        {"status": FAILED, "reason": "no x.py", "key": "a", "victims": 3, "psnr": None}
    ]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "device.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(SystemExit, match="format 99"):
        read(tmp_path)
    with pytest.raises(SystemExit, match=r"device\.json"):
        read(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------- limits


def watched(program: str, place: Path, **limits: Any) -> tuple[Ended, list[dict[str, Any]]]:
    """A Python program under supervision; it writes its rows with ``say``."""
    head = f"""
import json, os, subprocess, sys, time
def say(**message):
    print(json.dumps(message), file=open(os.environ['{ROWS}'], 'a'))
"""
    found: list[dict[str, Any]] = []
    limits = {"seconds": 30.0, **limits}
    ended = supervise(
        [sys.executable, "-c", head + program],
        rows=place / "rows",
        log=place / "log.txt",
        put=found.extend,
        **limits,
    )
    return ended, found


def test_a_stage_that_hangs_is_ended_and_keeps_its_rows(tmp_path: Path) -> None:
    program = "say(begin='a'); say(row={'key': 'a'}); say(begin='b'); time.sleep(60)"
    start = time.monotonic()
    ended, rows = watched(program, tmp_path, seconds=2.0)
    assert time.monotonic() - start < 20
    assert (ended.status, ended.begun) == ("stopped", ("b",)) and "2 s" in ended.reason
    assert rows == [{"key": "a"}]


def test_one_row_that_hangs_is_ended_before_its_stage(tmp_path: Path) -> None:
    ended, _ = watched("say(begin='a'); time.sleep(60)", tmp_path, row_seconds=0.5)
    assert (ended.status, ended.begun) == ("stopped", ("a",))
    assert "row" in ended.reason and ended.seconds < 20


def test_a_stage_that_dies_tells_how(tmp_path: Path) -> None:
    ended, rows = watched("say(row={'key': 'a'}); print('last words'); sys.exit(3)", tmp_path)
    assert ended.status == "failed" and ended.reason.startswith("exit code 3") and rows == [{"key": "a"}]
    ended, _ = watched("say(begin='b'); os.kill(os.getpid(), 11)", tmp_path)
    assert ended.status == "failed" and "SIGSEGV" in ended.reason and ended.begun == ("b",)
    assert "last words" in (tmp_path / "log.txt").read_text(), "every stage adds to the log"


def test_what_a_stage_has_started_ends_with_it(tmp_path: Path) -> None:
    program = "p = subprocess.Popen(['sleep', '60']); say(row={'key': str(p.pid)}); time.sleep(60)"
    _, rows = watched(program, tmp_path, seconds=2.0)
    state = Path(f"/proc/{rows[0]['key']}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.1)


class Scripted(Driver):
    """A driver whose speed stages end as they are told to."""

    def __init__(self, place: Path, ends: list[tuple[int, Ended]], *, minutes: float = 9.0) -> None:
        options = Options(out=place, device="cpu", quick=True, minutes=minutes, started=time.time())
        super().__init__(options, place)
        self.ends, self.asked = ends, []

    def supervised(
        self, module: str, options: list[str], section: str, seconds: float, row_seconds: float | None = None
    ) -> Ended:
        self.asked.append(options[1:])
        count, ended = self.ends.pop(0)
        for key in options[1 : 1 + count]:
            self.book.put("speed", {"key": key, "status": MEASURED, "reason": ""})
        return ended


def ended(*begun: str, status: str = "failed", reason: str = "SIGSEGV") -> Ended:
    return Ended(status=status, reason=reason, begun=begun, seconds=1.0)


def test_a_row_that_ends_its_process_costs_no_other(tmp_path: Path) -> None:
    cases = plan.cases(quick=True)
    keys = [case.key for case in cases]
    driver = Scripted(tmp_path, [(1, ended(keys[1])), (len(keys) - 2, ended(status="done", reason=""))])
    for case in cases:
        driver.book.plan("speed", case.row())
    assert driver.measure(cases, 30.0).status == "done"
    assert driver.asked == [keys, keys[2:]]
    states = {row["key"]: (row["status"], row["reason"]) for row in driver.book.rows("speed")}
    assert states.pop(keys[1]) == (FAILED, "SIGSEGV")
    assert set(states.values()) == {(MEASURED, "")}


def test_a_process_that_never_begins_is_not_started_for_ever(tmp_path: Path) -> None:
    cases = plan.cases(quick=True)
    driver = Scripted(tmp_path, [(0, ended(reason="exit code 1"))])
    for case in cases:
        driver.book.plan("speed", case.row())
    assert driver.measure(cases, 30.0).reason == "exit code 1"
    assert {row["status"] for row in driver.book.rows("speed")} == {UNMEASURED}


def test_a_stage_that_raises_or_has_no_time_is_a_row(tmp_path: Path) -> None:
    def broken(seconds: float) -> Ended:
        raise OSError("full")

    driver = Scripted(tmp_path, [])
    driver.carry_out("tests", broken)
    late = Scripted(tmp_path, [], minutes=0.0)
    late.carry_out("smoke", broken)
    assert driver.book.rows("stages")[0]["reason"] == "OSError: full"
    assert "OSError" not in late.book.rows("stages")[0]["reason"]
    assert not driver.sound() and not late.sound()


# ------------------------------------------------------------------------------------------- the plan


def test_every_combination_is_a_row_once() -> None:
    found = plan.cases(quick=False)
    assert len({case.key for case in found}) == len(found)
    assert [plan.Case.of(case.key) for case in found] == found
    engine = {(case.attack, case.model, case.victims) for case in found if case.way == "engine"}
    models = ("lenet", "convnet", "resnet18")
    assert engine >= {(a, m, n) for a in plan.ATTACKS for m in models for n in (1, 64, 512)}
    assert ("rmle", "splitnet", 512) in engine
    refused = {(case.attack, case.model) for case in found if plan.not_applicable(case.attack, case.model)}
    assert refused == {("rmle", model) for model in models}
    loops = {(case.attack, case.model): case.budget for case in found if case.way == "loop"}
    assert all(loops[case.attack, case.model] == case.budget for case in found)


# ------------------------------------------------------------------------------------------- collecting


def test_what_is_collected_is_what_the_project_asks_for() -> None:
    wanted = collect.requirements(ROOT / "pyproject.toml")
    assert set(collect.ALONE + collect.WHOLE) <= set(wanted)
    assert wanted["torch"].startswith("torch>=") and wanted["markupsafe"].startswith("markupsafe>=")
    assert collect.published_sha256() == SPECS["alex"].sha256


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.whl").write_bytes(bytes(2**20))
    monkeypatch.setattr(collect, "checkout_files", lambda: {ROOT / "LICENSE", tmp_path / "a.whl"})
    assert "= 1.0 MiB of 64" in collect.checked_size(tmp_path), "a wheel inside the checkout counts once"
    assert collect._archived(1) == collect.HEADER_BYTES + collect.BLOCK_BYTES
    monkeypatch.setattr(collect, "LIMIT_BYTES", 2**20)
    with pytest.raises(SystemExit, match="too large"):
        collect.checked_size(tmp_path)


def test_published_results_stay_behind() -> None:
    files = collect.checkout_files()
    assert ROOT / "pyproject.toml" in files
    assert not any(path.is_relative_to(ROOT / "results") for path in files)


def test_weights_of_unknown_origin_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(collect, "downloaded_weights", lambda: b"something else")
    with pytest.raises(SystemExit, match="another alexnet"):
        collect.take_weights(tmp_path)


def test_a_folder_that_holds_something_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "old-1.0.whl").touch()
    with pytest.raises(SystemExit, match="not empty"):
        collect.collect(tmp_path)
