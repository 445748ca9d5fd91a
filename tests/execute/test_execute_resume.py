"""A run may be killed at any moment; the same command then does what is missing and nothing else."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cache.keys import Identity
from bench.execute.cell_locks import CellLocks
from bench.execute.schedule import Claim, Kind, Schedule, Task
from bench.matrix import Cell
from bench.records.outcome import Failure, failed
from bench.records.record import Status
from bench.records.results import Results
from tests.world import World, build_world

from .chaos import alive

SLOW = ("{name = 'toy', pause = 0.3}", "{name = 'toy', act = 'some', pause = 0.3}")
SEEDS = "[0, 1]"


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run that nobody disturbed; tests only read it."""
    world = build_world(tmp_path_factory.mktemp("runs") / "finished")
    world.matrix(*SLOW, seeds=SEEDS)
    result = world.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return world


@pytest.fixture
def undisturbed(finished: World, tmp_path: Path) -> World:
    """A copy of it, to be damaged."""
    return World(Path(shutil.copytree(finished.root, tmp_path / "copy")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_killed_and_interrupted_runs_end_like_an_undisturbed_one(world: World, finished: World) -> None:
    world.matrix(*SLOW, seeds=SEEDS)

    first = world.start()
    _wait(lambda: len(world.records()) >= 2)
    first.kill()
    first.communicate()
    _wait(lambda: not alive(f"BENCH_CACHE={world.cache}"), 10)
    kept = {path: path.read_bytes() for path in world.out.glob("records/*.json")}
    assert 2 <= len(kept) < 8

    second = world.start()
    _wait(lambda: len(world.records()) > len(kept))
    second.send_signal(signal.SIGINT)
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 130, text
    assert (world.out / "leaderboard.md").exists()
    assert not (world.out / "records" / ".rows").exists(), "all rows are folded"

    third = world.run()
    assert third.returncode == 0, third.stdout + third.stderr
    assert len(world.records()) == 8
    assert {path: path.read_bytes() for path in kept} == kept, "finished cells were left alone"
    assert world.images() == finished.images()
    sheets = {path.name: path.read_bytes() for path in world.out.glob("sheets/*.png")}
    assert sheets == {path.name: path.read_bytes() for path in finished.out.glob("sheets/*.png")}
    assert len(sheets) == 8
    # Two workers were killed twice: at most so many attacks ran again.
    assert len(world.calls()) <= 8 + 4
    assert Counter(finished.calls()) == {"guess": 4, "some": 4}


def test_damaged_files_are_named_and_made_again(undisturbed: World) -> None:
    world = undisturbed
    images = world.images()
    record, other = sorted(world.out.glob("records/*.json"))[:2]
    record.write_text(record.read_text()[:100])
    other.unlink()
    (world.out / "images.csv.gz").write_bytes(images[:-20])
    victims = sorted(world.cache.glob("scores/*/*/tensors.safetensors"))
    assert len(victims) == 8
    for path in victims:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    attacked = sorted(world.cache.glob("reconstruction/*/*"))[0]
    (attacked / "meta.json").write_text("{")

    result = world.run()

    text = result.stdout + result.stderr
    assert result.returncode == 0, text
    for path in (record, world.out / "images.csv.gz", *victims, attacked / "meta.json"):
        assert str(path) in text
    assert world.images() == images
    assert len(world.calls()) == 9, "only the damaged reconstruction was made again"

    before = {path: path.read_bytes() for path in world.out.rglob("*") if path.is_file()}
    again = world.run()
    assert again.returncode == 0
    assert {path: path.read_bytes() for path in world.out.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(world: World, finished: World) -> None:
    world.matrix(*SLOW, seeds=SEEDS)
    both = [world.start(workers=1), world.start(workers=1)]
    for run in both:
        text, _ = run.communicate(timeout=120)
        assert run.returncode == 0, text
    assert world.images() == finished.images()
    assert len(world.calls()) == 8, "every attack ran once"


@pytest.mark.slow
def test_two_runs_at_once_attempt_a_failing_cell_once(world: World) -> None:
    world.matrix("{name = 'toy', act = 'raise', pause = 0.3}", "guess", seeds=SEEDS)
    both = [world.start(workers=1, display="json"), world.start(workers=1, display="json")]
    for run in both:
        text, _ = run.communicate(timeout=120)
        assert run.returncode == 1, text
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        assert events[-1]["counts"] == {"done": 4, "failed": 4}
        cells = [event for event in events if event["event"] == "cell"]
        assert len(cells) == cells[-1]["done"] == 8, "what the other has completed is shown as well"
    assert Counter(world.calls()) == {"raise": 4, "guess": 4}


def test_what_another_run_has_done_or_works_on_is_not_handed_out(world: World, cells: list[Cell]) -> None:
    results = Results(world.out)
    keys = {cell.id: Identity("cpu").keys(cell) for cell in cells}

    def fail(cell: Cell, reason: str) -> None:
        failure = Failure(status=Status.FAILED, reason=reason)
        results.commit(failed(cell, keys[cell.id], failure, device="cpu"))

    fail(cells[0], "before this run began")  # it is to be retried
    before = results.records()
    completed: list[str] = []
    ours, theirs = (CellLocks(results, before, lambda record: completed.append(record.id)) for _ in range(2))
    schedule = Schedule(
        [(cell, keys[cell.id]) for cell in cells[:4]],
        ready=lambda kind, key: True,
        claim=ours.take,
        release=ours.give_back,
    )
    taken = schedule.next()
    assert taken is not None and taken.cell == cells[0], "a record from before settles nothing"
    other = Task(kind=Kind.CELL, cell=cells[1], keys=keys[cells[1].id])
    assert theirs.take(taken) is Claim.THEIRS
    assert theirs.take(other) is Claim.OURS
    fail(cells[2], "in the other run")
    second = schedule.next()
    assert second is not None and second.cell == cells[3]
    assert completed == [cells[2].id]
    assert schedule.next() is None and schedule.waits, "the other run works on the last one"
    fail(cells[1], "in the other run, too")
    theirs.give_back(other)
    assert schedule.next() is None and not schedule.waits
    assert completed == [cells[2].id, cells[1].id]
    schedule.back(taken)
    assert schedule.next() == taken, "a lost worker's cell is still ours"
    schedule.ended(taken, None)
    assert theirs.take(taken) is Claim.OURS
