"""A run on a real cluster of two nodes ends like one on this machine, also when a node dies under it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from bench.api.errors import UsageError
from tests.world import World, build_world

from .ray_nodes import Cluster, cluster

TABLES = ("images.csv.gz", "leaderboard.csv", "leaderboard.json", "leaderboard.md", "leaderboard.tex")
SLOW = ("{name = 'toy', pause = 2.0}", "{name = 'toy', act = 'some', pause = 2.0}")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    if sys.platform != "linux":
        pytest.skip("the loopback network has one address only")
    # Two clusters on the same addresses would take each other's ports: one at a time, whoever tests.
    with (
        FileLock(Path(tempfile.gettempdir()) / "bench-tests-ray.lock"),
        cluster(tmp_path_factory.mktemp("r") / "c", {**os.environ, "GIT_DIR": "none"}) as found,
    ):
        yield found


def _tables(world: World) -> dict[str, bytes]:
    return {name: (world.out / name).read_bytes() for name in TABLES}


def _on(world: World, nodes: Cluster) -> World:
    world.environment = {k: v for k, v in nodes.environment.items() if k.startswith(("RAY_", "GIT_"))}
    return world


@pytest.mark.slow
def test_whatever_a_plugin_does_on_a_cluster_the_run_goes_on(world: World, nodes: Cluster) -> None:
    acts = ("guess", "raise", "exit", "memory", "hang", "impossible", "nan")
    _on(world, nodes).matrix(*acts, checkpoints='["trained"]')
    result = world.process(engine="ray", address=nodes.address, timeout=40.0)
    assert result.returncode == 1, result.stdout + result.stderr
    outcomes = world.outcomes()
    assert {act: status for act, (status, _) in outcomes.items()} == {
        "guess": "done",
        "raise": "failed",
        "exit": "failed",
        "memory": "oom",
        "hang": "timeout",
        "impossible": "incompatible",
        "nan": "failed",
    }
    assert "40 s" in outcomes["hang"][1] and "worker" in outcomes["exit"][1]
    assert Counter(world.calls())["exit"] == 2


@pytest.mark.slow
def test_who_takes_all_memory_of_a_node_fails_alone(world: World, nodes: Cluster) -> None:
    _on(world, nodes).matrix("greedy", "guess", checkpoints='["trained"]')
    world.environment["BENCH_WORKER_MEMORY_MB"] = "4000"
    result = world.process(engine="ray", address=nodes.address)
    assert result.returncode == 1, result.stdout + result.stderr
    status, reason = world.outcomes()["greedy"]
    assert status == "oom" and "allocate" in reason
    assert Counter(world.calls()) == {"greedy": 1, "guess": 1}, "no worker was lost"


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_clear_message(world: World, nodes: Cluster) -> None:
    _on(world, nodes).matrix("guess")
    world.environment["RAY_AUTH_TOKEN"] = "0" * 64
    result = world.process(engine="ray", address=nodes.address)
    assert result.returncode != 0
    assert f"'{nodes.address}'" in result.stderr
    assert not world.out.exists()


@pytest.mark.slow
def test_a_node_dies_and_nothing_is_lost(tmp_path: Path, nodes: Cluster) -> None:
    here = build_world(tmp_path / "here")
    here.environment["GIT_DIR"] = "none"  # an edit of the checkout meanwhile is no difference
    here.matrix(*SLOW, seeds="[0, 1, 2]")
    result = here.run()
    assert result.returncode == 0, result.stdout + result.stderr

    there = _on(build_world(tmp_path / "there"), nodes)
    there.matrix(*SLOW, seeds="[0, 1, 2]")
    run = there.start(engine="ray", address=nodes.address)
    limit = time.monotonic() + 120
    while len(there.records()) < 4:
        assert run.poll() is None and time.monotonic() < limit, "nothing happened"
        time.sleep(0.05)
    time.sleep(0.8)  # both nodes are in the middle of their next attack: there is something to lose
    nodes.kill("127.0.0.3")
    done = len(there.records())
    text, _ = run.communicate(timeout=180)

    assert run.returncode == 0, text
    assert done < 12, "the node died in the middle"
    assert _tables(there) == _tables(here)
    assert len(there.records()) == 12
    assert Counter(there.calls()).total() in (12, 13), "at most the lost attack ran twice"


def test_ray_is_only_needed_by_who_asks_for_it() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\nfrom bench.execute.ray.cluster import connect\nconnect(None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError" in result.stderr and "inversion-bench[ray]" in result.stderr


def test_attacks_share_a_gpu_by_the_memory_that_their_cards_declare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from bench.execute.ray import cluster as ray_cluster

    cards = {"small": 1000, "large": 4000, "huge": 99_000, "silent": None}
    monkeypatch.setattr(
        ray_cluster, "attack_card", lambda name: SimpleNamespace(gpu_memory_mb=cards[name]), raising=True
    )
    assert ray_cluster.gpu_share(["small"], 16_000) == 0.0625
    assert ray_cluster.gpu_share(["small", "large", "small"], 16_000) == 0.25
    assert ray_cluster.gpu_share(["small"], 15_999) == 0.0626, "rounded up: more would not fit"
    assert ray_cluster.gpu_share(["huge"], 16_000) == 1.0
    assert ray_cluster.gpu_share(["small", "silent"], 16_000) == 1.0, "who says nothing gets a GPU"


def test_a_cluster_picks_its_gpus_itself() -> None:
    from bench.execute.engines import engine_devices

    with pytest.raises(UsageError, match="cuda:1"):
        engine_devices("ray", "cuda:1", None)
