"""Random kills, a few of them; ``python -m tests.execute.chaos`` does as many as one likes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.world import World

from .chaos import Chaos, campaign, content, leftovers

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(world: World) -> None:
    path = world.matrix(
        "{name = 'toy', pause = 0.2}", "{name = 'toy', act = 'some', pause = 0.2}", seeds="[0, 1, 2]"
    )
    environment = {**os.environ, "BENCH_PLUGIN_PATH": str(world.root / "plugins")}
    chaos = Chaos(str(path), world.root / "chaos", 4.0, 2, random.Random(1), environment)
    assert list(campaign(chaos, kills=12, per_round=6)) == [6, 12]
    assert chaos.victims.total() == 12
    assert chaos.starts > 3


def test_the_checker_sees_what_is_wrong(world: World) -> None:
    world.matrix("guess", checkpoints='["trained"]')
    assert world.run().returncode == 0
    before = content(world.out)
    assert before == content(world.out)
    assert any(name.startswith("records/") for name in before)
    assert not leftovers(world.out)
    (world.out / ".leaderboard.md.1.part").touch()
    (world.out / "records/.rows").mkdir()
    assert len(leftovers(world.out)) == 2
    (world.out / "leaderboard.md").write_text("other")
    next(world.out.glob("records/*.json")).unlink()
    assert content(world.out).keys() < before.keys()
    assert content(world.out)["leaderboard.md"] != before["leaderboard.md"]
