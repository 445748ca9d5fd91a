"""A disk that runs full in the middle of a run: a clear message, nothing damaged, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.world import World, build_world

ACTS = ("guess", "some")
ROOM = "200m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Mounts a memory disk of a size on a folder; again for another size."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    mounted: list[Path] = []

    def mount(place: Path, size: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        options = f"size={size}" if place not in mounted else f"remount,size={size}"
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.skip(f"only root can mount a small disk: {result.stderr.strip()}")
        if place not in mounted:
            mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "size"), [("cache", "100k"), ("cache", "half"), ("out", "8k"), ("out", "40k")]
)
def test_a_full_disk_stops_the_run_and_a_larger_one_lets_it_go_on(
    world: World, tmp_path: Path, small_disk: Callable[[Path, str], None], place: str, size: str
) -> None:
    undisturbed = build_world(tmp_path / "undisturbed")
    undisturbed.matrix(*ACTS)
    assert undisturbed.run().returncode == 0

    if size == "half":  # of what the whole run needs
        files = [path for path in (undisturbed.root / place).rglob("*") if path.is_file()]
        size = f"{sum(path.stat().st_blocks for path in files) // 4}k"
    small_disk(world.root / place, size)
    world.matrix(*ACTS)
    stopped = world.process()
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    last = stopped.stderr.strip().splitlines()
    assert any(str(world.root / place) in line for line in last), last
    assert "Traceback" not in stopped.stderr or "DiskFullError" in last[-1]
    kept = {path: path.read_bytes() for path in world.out.glob("records/*.json")}
    assert len(kept) < 4
    assert all(record["status"] == "done" for record in world.records()), "and every record is whole"

    small_disk(world.root / place, ROOM)
    resumed = world.run()
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert world.images() == undisturbed.images()
    assert {path: path.read_bytes() for path in kept} == kept, "finished cells were left alone"
    assert not [path for path in world.root.rglob(".*") if path.suffix == ".part"]
