"""What runs when: shards, budgets, and what a run will take."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.api.errors import UsageError
from bench.api.threat import Channel
from bench.cache.keys import Identity
from bench.cache.store import Store
from bench.execute.budget import Deadline, most_informative_first, parse_duration
from bench.execute.plan import State
from bench.execute.progress.dry_run import _settings, _sums, _timed, _words
from bench.execute.progress.forecast import STAGES, Estimate, Forecast
from bench.execute.schedule import Kind, Schedule, Task
from bench.execute.shards import Shard, parse_shard
from bench.matrix import Cell, expand, load_matrix
from bench.records.outcome import Failure, Keys, failed
from bench.records.record import Record, Status
from bench.records.record_fields import Memory, Seconds
from tests.world import World


@pytest.fixture(scope="module")
def full() -> list[Cell]:
    return expand(load_matrix("full"))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 200])
def test_shards_are_disjoint_complete_and_keep_victims_together(full: list[Cell], count: int) -> None:
    parts = [Shard(index, count).select(full) for index in range(count)]
    assert Counter(cell.id for part in parts for cell in part) == Counter(cell.id for cell in full)
    place = {id(cell): number for number, cell in enumerate(full)}
    for part in parts:
        places = [place[id(cell)] for cell in part]
        assert places == sorted(places)
    victims = [{(c.dataset, c.model, c.defense, c.batch_size, c.seed) for c in part} for part in parts]
    assert sum(map(len, victims)) == len(set().union(*victims)), "no victim is trained twice"
    if count < 10:
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= max(
            Counter((c.dataset, c.model, c.defense, c.batch_size, c.seed) for c in full).values()
        )
    else:
        assert not all(parts), "there are more parts than victims"


def test_a_shard_does_not_depend_on_the_order_of_other_shards(full: list[Cell]) -> None:
    assert Shard(1, 3).select(full) == Shard(1, 3).select(list(full))
    assert parse_shard(" 2/8 ") == Shard(2, 8)


@pytest.mark.parametrize("text", ["", "1", "8/8", "0/0", "-1/3", "1/3/5", "a/b", "1.0/2", "9" * 50 + "/3"])
def test_a_shard_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard "):
        parse_shard(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("90s", 90), ("1h30m", 5400), ("0.5h", 1800), ("1h0m1.5s", 3601.5)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "0s", "-1m", "1m1h", "20 minutes", "nan", "9" * 400 + "h"])
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        parse_duration(text)


def test_every_attack_meets_every_defense_once_before_any_twice(full: list[Cell]) -> None:
    def pair(cell: Cell) -> tuple[object, ...]:
        return cell.attack, cell.adversary, cell.defense

    pairs = len({pair(cell) for cell in full})
    order = most_informative_first(full, [])
    assert Counter(cell.id for cell in order) == Counter(cell.id for cell in full)
    assert len({pair(cell) for cell in order[:pairs]}) == pairs
    assert {cell.seed for cell in order[:pairs]} == {full[0].seed}
    rest = [cell for cell in full if pair(cell) != pair(full[0])]
    again = most_informative_first([full[0], *rest], [full[0]])
    assert pair(full[0]) not in {pair(cell) for cell in again[: pairs - 1]}, "it has had its turn"


def test_what_does_not_fit_the_time_left_is_passed_over(cells: list[Cell]) -> None:
    keys = {cell.id: Identity("cpu").keys(cell) for cell in cells}
    slow = cells[0]

    def expected(task: Task) -> float | None:
        return 1000.0 if task.cell.attack == slow.attack else None

    deadline = Deadline(1e12, expected)
    assert deadline.fits(Task(kind=Kind.CELL, cell=slow, keys=keys[slow.id]))
    import time

    deadline = Deadline(time.monotonic() + 100, expected)
    schedule = Schedule(
        [(cell, keys[cell.id]) for cell in cells], ready=lambda kind, key: True, fits=deadline.fits
    )
    taken = []
    while (task := schedule.next()) is not None:
        taken.append(task.cell)
    assert taken == [cell for cell in cells if cell.attack != slow.attack]
    assert {task.cell for task in schedule.remaining()} == {c for c in cells if c.attack == slow.attack}


def _finished(cell: Cell, keys: Keys, seconds: float, memory: float) -> Record:
    record = failed(cell, keys, Failure(status=Status.FAILED, reason=""), device="cpu").record
    stages = dict.fromkeys(STAGES, 1.0)
    return record.model_copy(
        update={
            "status": Status.DONE,
            "seconds": Seconds(**{**stages, "reconstruction": seconds}),
            "memory_mb": Memory(**{**dict.fromkeys(STAGES, 10.0), "reconstruction": memory}),
        }
    )


def test_a_forecast_counts_what_is_shared_once_and_what_is_cached_not_at_all(cells: list[Cell]) -> None:
    keys = {cell.id: Identity("cpu").keys(cell) for cell in cells}
    work = [(cell, keys[cell.id]) for cell in cells[:4]]
    learned = [_finished(cell, key, 5.0, 700.0) for cell, key in work]
    found = Forecast(learned, device="cpu").estimate(work, lambda stage, key: False)
    first = found[0]
    assert (first.seconds, first.memory_mb, first.cached, first.exact) == (9.0, 700.0, (), True)
    shared = next(
        e
        for e, (c, _) in zip(found, work, strict=True)
        if c.checkpoint == cells[0].checkpoint and c != cells[0]
    )
    assert shared.seconds == 6.0, "victim, evaluator and release are paid for"
    stored = Forecast(learned, device="cpu").estimate(work[:1], lambda stage, key: stage != "scores")[0]
    others = tuple(stage for stage in STAGES if stage not in ("generator", "scores"))
    assert (stored.seconds, stored.cached, stored.stages) == (1.0, others, len(others) + 1)


def test_a_shared_stage_is_paid_for_although_the_cell_that_comes_first_is_unknown(cells: list[Cell]) -> None:
    keys = {cell.id: Identity("cpu").keys(cell) for cell in cells}
    stranger, known = (
        next(c for c in cells if c.attack.name == name and c.seed == 0 and c.checkpoint == "initial")
        for name in ("toy", "other")
    )
    assert keys[stranger.id].victim == keys[known.id].victim
    learned = _finished(known, keys[known.id], 5.0, 700.0)
    # The first cell is on another channel: nothing is known of its attack, all of what it shares is.
    work = [(replace(stranger, channel=Channel.CLIENT_GRADIENTS), keys[stranger.id]), (known, keys[known.id])]
    found = Forecast([learned], device="cpu").estimate(work, lambda stage, key: False)
    assert (found[0].seconds, found[0].known) == (None, 3.0), "victim, evaluator and scores"
    assert (found[1].seconds, found[1].known) == (7.0, 7.0), "its release, attack and scores"
    sums = _sums(found, workers=1)
    assert (sums["seconds"], sums["at_least"], sums["predicted"]) == (10.0, True, 1)
    assert "0:10" in _words(sums, 1, 1, 2)
    alone = _sums(found[1:], workers=1)
    assert alone["at_least"] is False and "0:07" in _words(alone, 1, 1, 1)


def test_a_forecast_scales_with_budget_and_releases_and_says_so(cells: list[Cell]) -> None:
    keys = Identity("cpu").keys(cells[0])
    forecast = Forecast([_finished(cells[0], keys, 5.0, 700.0)], device="cpu")
    richer = replace(cells[0], budget=cells[0].budget * 10, releases=cells[0].releases * 2)
    (found,) = forecast.estimate([(richer, Identity("cpu").keys(richer))], lambda stage, key: False)
    assert found.seconds == pytest.approx(1 + 1 + 2 + 100 + 2)
    assert not found.exact
    other = replace(cells[0], model="convnet")
    (unknown,) = forecast.estimate([(other, Identity("cpu").keys(other))], lambda stage, key: False)
    assert unknown.seconds is None
    nothing = Forecast([_finished(cells[0], keys, 5.0, 700.0)], device="cuda")
    assert nothing.records == 0


def test_a_dry_run_tells_what_is_cached_and_what_the_rest_takes(world: World) -> None:
    def planned(**more: bool) -> list[dict[str, Any]]:
        done = world.run(dry_run=True, display="json", **more)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    world.matrix("guess", "some")
    plan = planned()[-1]
    assert (plan["counts"], plan["to_run"], plan["records"]) == ({"missing": 4}, 4, 0)
    assert (plan["seconds"], plan["cached_stages"], plan["stages"]) == (None, 0, 20)
    assert not world.out.exists() and not world.cache.exists()

    assert world.run().returncode == 0
    path = sorted(world.out.glob("records/*.json"))[0]
    record = json.loads(path.read_text())
    path.unlink()
    cell, plan = planned()
    assert cell["cost"]["cached"] == ["victim", "evaluator", "release", "reconstruction", "scores"]
    assert (plan["counts"], plan["to_run"]) == ({"done": 3, "missing": 1}, 1)
    assert (plan["cached_stages"], plan["stages"]) == (5, 5)
    events = planned(force=True)
    assert [event["event"] for event in events] == ["cell"] * 4 + ["plan"]
    assert events[-1]["predicted"] == events[-1]["exact"] == 4
    assert events[-1]["seconds"] > 0 and events[-1]["memory_mb"] > 100
    assert events[-1]["cached_stages"] == 0
    assert record["id"] in {event["id"] for event in events[:-1]}


def test_a_dry_run_has_a_table_of_all_settings(world: World) -> None:
    world.matrix("guess", "some", seeds="[0, 1, 2]")
    events = [json.loads(line) for line in world.run(dry_run=True, display="json").stdout.splitlines()]
    rows = events[-1]["settings"]
    assert [(row["model"], row["checkpoint"], row["cells"], row["missing"]) for row in rows] == [
        ("lenet", "initial", 6, 6),
        ("lenet", "trained", 6, 6),
    ]
    assert all((row["done"], row["failed"], row["n/a"], row["seconds"]) == (0, 0, 0, None) for row in rows)
    lines = world.run(dry_run=True).stdout.splitlines()
    table = [line.split() for line in lines[lines.index("") + 1 :]][:3]
    assert table[0] == ["channel", "dataset", "model", "checkpoint", "B", "cells", "done", "failed",
                        "missing", "n/a", "time"]  # fmt: skip
    assert table[1] == ["gradients", "tiny", "lenet", "initial", "1", "6", "0", "0", "6", "0", "?"]


def test_what_is_not_applicable_is_no_work_of_a_setting(cells: list[Cell]) -> None:
    never = replace(cells[0], incompatible="why", budget=77)
    states = {cell.id: State.MISSING for cell in (*cells, never)} | {cells[1].id: State.DONE}
    cost = Estimate(None, 6.0, None, (), 5, exact=True)
    rows = _settings([*cells, never], states, {cells[0].id: cost}, workers=2)
    assert sum(row["cells"] for row in rows) == len(cells) + 1
    assert [sum(row[name] for row in rows) for name in ("done", "n/a", "missing")] == [1, 1, len(cells) - 1]
    assert [row["seconds"] for row in rows if row["at_least"]] == [3.0]


def test_two_rounds_tell_how_long_a_network_of_the_user_s_trains(world: World) -> None:
    path = world.matrix("guess")
    path.write_text(path.read_text().replace('"lenet"', '"lenet[learning_rate=0.5]"'))
    done = world.process(dry_run=True, display="json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout.splitlines()[-1])
    ((title, seconds),) = plan["timed"].items()
    assert "lenet[learning_rate=0.5]" in title and 0 <= seconds == plan["seconds"] and plan["at_least"]
    assert not world.cache.exists()


def test_a_training_of_less_than_a_twentieth_of_a_second_is_a_prediction_too(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(cells[0], model="lenet[learning_rate=0.5]")
    monkeypatch.setattr("bench.execute.progress.dry_run.training_seconds", lambda *_, **__: 0.02)
    forecast = Forecast([], device="cpu")
    assert [*_timed([cell], forecast, Store(tmp_path), "cpu").values()] == [0.0]
    keys = Identity("cpu").keys(cells[0])
    (cost,) = forecast.estimate([(cell, keys)], lambda stage, key: False)
    assert _sums([cost], workers=1)["seconds"] == 0.0


@pytest.mark.slow
def test_a_budget_ends_a_run_cleanly_and_the_next_one_goes_on(world: World) -> None:
    slow = "{name = 'toy', act = 'guess', pause = 3600.0}"
    world.matrix("guess", slow, checkpoints='["trained"]')
    result = world.run(budget=40.0, display="json")
    assert result.returncode == 0, result.stdout + result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[-1]["counts"] == {"done": 1, "missing": 1}
    assert any("budget" in event["text"] for event in events if event["event"] == "message")
    assert [record["status"] for record in world.records()] == ["done"], "what was given up has no record"
    assert not [path for path in world.root.rglob("*.part")]
    assert (world.out / "leaderboard.md").exists()

    world.matrix("guess", "some", checkpoints='["trained"]')
    again = world.run(budget=100.0)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "budget" not in again.stderr
    assert {record["status"] for record in world.records()} == {"done"}


def test_a_shard_runs_its_part_only(world: World, tmp_path: Path) -> None:
    world.matrix("guess", seeds="[0, 1, 2]", checkpoints='["initial"]')
    lines = [world.run(dry_run=True, shard=f"{index}/2").stdout.splitlines() for index in range(2)]
    cells = [[line.split("  ")[-1] for line in part if "toy/naive" in line] for part in lines]
    assert (len(cells[0]), len(cells[1])) == (2, 1)
    assert len({*cells[0], *cells[1]}) == 3
