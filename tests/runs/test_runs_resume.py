"""A run may be killed at any moment; the same command then does what is missing and nothing else."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import World, build_world

SLOW = ("{name = 'toy', pause = 0.3}", "{name = 'toy', act = 'some', pause = 0.3}")
SEEDS = "[0, 1]"


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)


def _alive(marker: str) -> list[int]:
    """Processes whose environment has the marker: the parent, the fork server, the workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


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


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_killed_and_interrupted_runs_end_like_an_undisturbed_one(world: World, finished: World) -> None:
    world.matrix(*SLOW, seeds=SEEDS)

    first = world.start()
    _wait(lambda: len(world.records()) >= 2)
    first.kill()
    first.communicate()
    _wait(lambda: not _alive(f"BENCH_CACHE={world.cache}"), 10)
    kept = {path: path.read_bytes() for path in world.out.glob("records/*.json")}
    assert 2 <= len(kept) < 8

    second = world.start()
    _wait(lambda: len(world.records()) > len(kept))
    second.send_signal(signal.SIGINT)
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 130, text
    assert "interrupted: finished cells are kept" in text
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
    assert "8 done; 0 to run" in again.stdout
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
