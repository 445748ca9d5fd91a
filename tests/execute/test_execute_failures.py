"""Whatever a plug-in does, the run goes on and the record says what happened."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.api.errors import UsageError
from bench.execute.devices import devices
from bench.execute.progress import display
from tests.world import ATTACK, World, build_world

from .chaos import alive

ACTS = ("guess", "raise", "exit", "memory", "hang", "impossible", "shape", "nan", "some")


def assert_ended(world: World, **expected: tuple[str, str]) -> None:
    """Every act of the toy ended with this status and a reason that names these facts."""
    found = world.outcomes()
    assert {act: status for act, (status, _) in found.items()} == {
        a: status for a, (status, _) in expected.items()
    }
    for act, (_, facts) in expected.items():
        assert re.search(facts, found[act][1]), (act, found[act])


def test_every_failure_becomes_a_record(world: World) -> None:
    world.matrix(*ACTS, checkpoints='["trained"]')
    result = world.process(timeout=10.0, display="json")
    assert result.returncode == 1, result.stdout + result.stderr
    assert_ended(
        world,
        guess=("done", "^$"),
        some=("done", "^$"),
        **{"raise": ("failed", "RuntimeError: broken toy")},
        exit=("failed", r"\b7\b"),
        memory=("oom", "MemoryError"),
        hang=("timeout", r"\b10 s\b"),
        impossible=("incompatible", "no toys"),
        shape=("failed", r"toy\[act=shape\].*\(2, 1, 1, 16, 32\).*\(2, 1, 1, 32, 32\)"),
        nan=("failed", r"toy\[act=nan\]"),
    )
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "message"] == [
        "start",
        *["cell"] * 9,
        "finish",
    ]
    assert events[-1]["counts"] == {"done": 2, "failed": 4, "timeout": 1, "oom": 1, "incompatible": 1}

    rows = world.rows()
    assert len(rows) == 1 + 2 * 2 + 7
    assert sum(",failed," in row for row in rows) == 4
    diverged = [row for row in rows if "act=some" in row and ",0,0," in row]
    assert all(",0,0,,,,0,,0,,,,done," in row for row in diverged), "a diverged victim is scored as such"

    broken = next(r for r in world.records() if "RuntimeError" in r["reason"])
    assert "broken toy" in broken["traceback"]
    assert all(len(path.read_bytes()) <= 4096 for path in world.out.glob("records/*.json"))

    (world.root / "plugins/attacks/toy/attack.py").write_text(ATTACK.replace("time.sleep(3600)", "pass"))
    world.matrix("hang", "guess", checkpoints='["trained"]')
    edited = map(json.loads, world.run(timeout=10.0, display="json").stdout.splitlines())
    (start,) = [event for event in edited if event["event"] == "start"]
    assert start["counts"] == {"stale": 2}, "an edited plug-in makes its cells stale"
    assert world.outcomes()["hang"] == ("done", "")


def test_a_worker_that_is_killed_from_outside_costs_its_cell_a_second_try(world: World) -> None:
    world.matrix("killed_once", "killed", "exit", "guess", checkpoints='["trained"]')
    result = world.run(workers=1, display="json")
    assert result.returncode == 1, result.stdout + result.stderr
    assert_ended(
        world,
        killed_once=("done", "^$"),
        killed=("oom", "SIGKILL"),
        exit=("failed", r"\b7\b"),
        guess=("done", "^$"),
    )
    assert Counter(world.calls()) == {"killed_once": 2, "killed": 2, "exit": 1, "guess": 1}
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert events.count("message") == 2, "both second tries are told"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_server_of_the_workers_may_be_killed_or_stopped(number: signal.Signals, world: World) -> None:
    slow = "{name = 'toy', pause = 0.5}"
    world.matrix(slow, "some", seeds="[0, 1]")
    run = world.start()
    limit = time.monotonic() + 60
    while not world.calls():
        assert run.poll() is None and time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in alive(f"BENCH_CACHE={world.cache}")}
    forked = {_parent(pid) for pid in commands if b"forkserver" in commands[pid]} & commands.keys()
    (server,) = (pid for pid in forked if _parent(pid) == run.pid)
    os.kill(server, number)
    text, _ = run.communicate(timeout=120)
    assert run.returncode == 0, text
    assert {record["status"] for record in world.records()} == {"done"}
    assert len(world.records()) == 8


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_who_takes_all_memory_fails_alone(world: World) -> None:
    world.environment["BENCH_WORKER_MEMORY_MB"] = "2500"
    world.matrix("greedy", "guess", checkpoints='["trained"]')
    result = world.run(workers=1)
    assert result.returncode == 1, result.stdout + result.stderr
    assert_ended(world, greedy=("oom", "allocate"), guess=("done", "^$"))


def test_images_on_another_device_are_no_result(world: World) -> None:
    world.matrix("device", "guess", checkpoints='["trained"]')
    result = world.run(workers=1)
    assert result.returncode == 1, result.stdout + result.stderr
    assert_ended(world, device=("failed", "meta"), guess=("done", "^$"))


@pytest.mark.slow
def test_garbage_in_the_store_is_found_and_computed_again(world: World) -> None:
    world.matrix("guess", "garbage", "some")
    result = world.run(workers=1)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {status for status, _ in world.outcomes().values()} == {"done"}
    found = {line for line in world.rows() if "garbage" not in line}
    shutil.rmtree(world.out)  # what is left is the store, with the garbage in it
    again = world.run(workers=1)
    assert again.returncode == 0, again.stdout + again.stderr
    assert str(world.cache) in again.stderr, "what was damaged is named"
    assert {line for line in world.rows() if "garbage" not in line} == found
    clean = build_world(world.root.parent / "clean")
    clean.matrix("guess", "some")
    assert clean.run(workers=1).returncode == 0
    assert {*clean.rows()} == found, "nobody worked with the garbage"


def test_a_broken_victim_fails_its_cells_once(world: World) -> None:
    code = (
        "from bench.api import Defense\nclass Bad(Defense):\n    def gradients(self, gradients, context):\n"
    )
    world.plugin(
        "defense",
        "bad",
        code + "        raise ValueError('refused')\n",
        'channels = ["gradients"]',
    )
    path = world.matrix("guess", "some")
    path.write_text(path.read_text().replace('defenses = ["none"]', 'defenses = ["bad"]'))
    result = world.run()
    assert result.returncode == 1
    assert {(r["status"], r["reason"]) for r in world.records()} == {
        ("failed", "victim: ValueError: refused")
    }
    assert len(world.records()) == 4
    assert any({"victim", "lenet", "bad", "tiny"} <= {*line.split()} for line in result.stderr.splitlines())
    assert world.calls() == []


@pytest.mark.parametrize(
    ("reader", "value", "facts"), [(devices, "tpu", "'tpu'.*cuda"), (display, "loud", "'loud'.*json")]
)
def test_wrong_arguments_are_explained(reader: Callable[[str], object], value: str, facts: str) -> None:
    with pytest.raises(UsageError, match=facts):
        reader(value)


def rebuilt(world: World) -> dict[str, str]:
    """Checksums of what the guesses of a world have rebuilt."""
    guesses = [item for item in world.records() if ["act", "guess"] in item["cell"]["attack"]["parameters"]]
    assert {item["status"] for item in guesses} == {"done"}
    return {item["id"]: item["reconstruction_sha256"] for item in guesses}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What guesses rebuild where nothing else runs."""
    clean = build_world(tmp_path_factory.mktemp("clean") / "world")
    clean.matrix("guess", seeds="[0, 1]")
    assert clean.run(workers=1).returncode == 0
    return rebuilt(clean)


@pytest.mark.parametrize("act", ["double", "limit", "patch"])
def test_what_a_plugin_changes_of_its_process_reaches_no_other_cell(
    world: World, act: str, alone: dict[str, str]
) -> None:
    world.matrix(act, "guess", seeds="[0, 1]")
    world.run(workers=1)  # the cell itself may fail of what it did
    assert rebuilt(world) == alone


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_what_a_plugin_starts_does_not_outlive_its_cell(world: World) -> None:
    world.matrix("fork", "guess", checkpoints='["trained"]')
    result = world.run(workers=1)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not alive(f"BENCH_CACHE={world.cache}")


def test_an_odd_umask_leaves_files_that_can_be_read(world: World) -> None:
    world.matrix("guess", checkpoints='["trained"]')
    _, environment = world.command()
    arguments = ["--matrix", str(world.root / "tiny.toml"), "--out", str(world.out), "--display", "plain"]
    script = f"umask 777; exec {sys.executable} -m bench.cli.main run {' '.join(arguments)}"
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_mode & 0o600 == 0o600 for path in world.cache.rglob("*") if path.is_file())
    assert len(world.records()) == 1
