"""The parts of a run, each alone."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.api.errors import UsageError
from bench.cache.keys import Identity, forget_digests
from bench.cache.store import Store, Stored
from bench.cells.cell import Results as CellResults
from bench.cells.context import Context
from bench.execute.control import Control
from bench.execute.plan import State, check_rows_are_distinct, choose, survey
from bench.execute.progress import display as make_display
from bench.execute.progress.display import Progress, duration
from bench.execute.progress.eta import Eta
from bench.execute.refresh import Refresher
from bench.execute.schedule import Kind, Schedule, Task
from bench.matrix import Cell, Filters, expand, load_matrix
from bench.records import files
from bench.records.files import DiskFullError, sha256, write_atomic
from bench.records.outcome import Failure, Outcome, failed
from bench.records.record import CorruptRecordError, Status, read_record
from bench.records.record_fields import Seconds
from bench.records.results import Results
from bench.records.rows import CorruptRowsError, image_rows, pack, unpack
from bench.records.sheet import sheet
from bench.seeds import derive_seed
from tests.world import World

FAILURE = Failure(status=Status.FAILED, reason="because, of\nthis", traceback="x" * 5000 + "\u20ac" * 900)


def _failed(cell: Cell, failure: Failure = FAILURE) -> Outcome:
    return failed(cell, Identity("cpu").keys(cell), failure, device="cpu")


def test_an_edited_attack_makes_exactly_its_reconstructions_stale(world: World, cells: list[Cell]) -> None:
    before = {cell.id: Identity("cpu").keys(cell) for cell in cells}
    path = world.root / "plugins/attacks/other/attack.py"
    path.write_text(path.read_text() + "EDITED = 1\n")
    forget_digests()
    for cell in cells:
        old, new = before[cell.id], Identity("cpu").keys(cell)
        assert (old.victim, old.release, old.evaluator) == (new.victim, new.release, new.evaluator)
        assert (old.reconstruction != new.reconstruction) == (cell.attack.name == "other")
        assert (old.scores != new.scores) == (cell.attack.name == "other")


def test_keys_hold_what_a_stage_depends_on_and_nothing_else(cells: list[Cell]) -> None:
    identity = Identity("cpu")
    base = cells[0]
    keys = identity.keys(base)
    richer = identity.keys(replace(base, budget=99))
    assert (richer.release, richer.victim) == (keys.release, keys.victim)
    assert richer.reconstruction != keys.reconstruction
    other = next(c for c in cells if c.checkpoint != base.checkpoint and c.seed == base.seed)
    assert identity.keys(other).victim == keys.victim
    assert identity.keys(other).release != keys.release
    assert identity.keys(replace(base, seed=7)).evaluator != keys.evaluator
    assert Identity("cuda").keys(base).victim != keys.victim


def test_seeds_for_one_purpose_are_fixed() -> None:
    assert derive_seed(0, "attack") == derive_seed(0, "attack")
    assert len({derive_seed(seed, word) for seed in range(50) for word in ("attack", "pool")}) == 100
    assert 0 <= derive_seed(3, "attack") < 2**31


def test_records_say_what_is_wrong_with_them(world: World, cells: list[Cell]) -> None:
    results = Results(world.out)
    results.commit(_failed(cells[0]))
    path = world.out / "records" / f"{cells[0].id}.json"
    assert len(path.read_bytes()) <= 4096
    record = read_record(path)
    assert record.asked == cells[0]

    data = json.loads(path.read_text())
    data["status"], data["seconds"]["victim"] = "fine", "long"
    path.write_text(json.dumps(data))
    with pytest.raises(CorruptRecordError) as error:
        read_record(path)
    assert f"{path}: status: " in str(error.value)
    assert f"{path}: seconds.victim: " in str(error.value)
    assert Results(world.out).sound() == {}


def test_rows_survive_a_crash_between_their_record_and_the_fold(world: World, cells: list[Cell]) -> None:
    results = Results(world.out)
    results.commit(_failed(cells[0]))
    assert len(results.records()) == 1, "rows that wait count"
    results.fold()
    results.commit(_failed(cells[1]))
    # A crash before the record was replaced: the rows that wait belong to a record that never came.
    stray = world.out / "records/.rows" / f"{cells[0].id}.{'0' * 16}.csv"
    stray.write_text("not even rows")
    results.fold()
    assert len(world.rows()) == 3
    assert not stray.exists()
    before = world.images()
    results.fold()
    assert world.images() == before
    results.remove([cells[0].id])
    results.fold()
    assert len(world.rows()) == 2
    assert " ".join(FAILURE.reason.split()) in world.rows()[1], "a reason is one line"


def test_rows_are_sorted_by_number_and_refuse_strangers(cells: list[Cell]) -> None:
    values = torch.arange(24, dtype=torch.float64).reshape(12, 2) / 7
    values[3, 1] = float("nan")
    names = ("psnr", "ssim", "lpips", "identified", "label_correct", "recognised")
    rows = image_rows(cells[0], {name: values if name == "psnr" else values > 1 for name in names})
    packed = pack(reversed(rows))
    assert packed == pack(rows)
    assert [row[11:13] for row in unpack(packed, "x")] == [
        (str(n), str(b)) for n in range(12) for b in range(2)
    ]
    assert unpack(packed, "x")[7][13] == ""
    assert unpack(packed, "x")[2][13] == "0.285714"
    for broken in (packed[:-9], packed[:20] + b"zzzz" + packed[24:], b"hello"):
        with pytest.raises(CorruptRowsError, match=r"rows\.gz"):
            unpack(broken, "rows.gz")


def test_the_plan_runs_what_is_missing_or_stale(world: World, cells: list[Cell]) -> None:
    results = Results(world.out)
    keys = {cell.id: Identity("cpu").keys(cell) for cell in cells}
    results.commit(_failed(cells[0]))
    results.commit(failed(cells[1], replace(keys[cells[1].id], scores="0" * 64), FAILURE, device="cpu"))
    results.commit(_failed(cells[2], Failure(status=Status.INCOMPATIBLE, reason="no")))
    states = survey(cells, keys, results.records())
    assert [states[c.id] for c in cells[:4]] == [State.FAILED, State.STALE, State.INCOMPATIBLE, State.MISSING]
    assert choose(cells, states, retry_failed=False, force=False) == [cells[1], *cells[3:]]
    assert choose(cells, states, retry_failed=True, force=False) == [*cells[:2], *cells[3:]]
    assert choose(cells, states, retry_failed=False, force=True) == cells


def test_cells_that_would_share_their_rows_are_refused(world: World, cells: list[Cell]) -> None:
    richer = replace(cells[0], budget=99)
    with pytest.raises(UsageError, match="releases"):
        check_rows_are_distinct([cells[0], replace(cells[0], releases=3)], {})
    record = _failed(cells[0]).record
    assert check_rows_are_distinct([richer], {record.id: record}) == [record.id], "a failure gives way"
    done = record.model_copy(update={"status": Status.DONE})
    with pytest.raises(UsageError, match=r"budget.*\b4\b.*\b99\b.*--out"):
        check_rows_are_distinct([richer], {done.id: done})
    assert check_rows_are_distinct([cells[0], richer], {done.id: done}) == [], "one matrix, two budgets"


def test_cells_wait_for_their_victim_and_let_others_pass(cells: list[Cell]) -> None:
    identity = Identity("cpu")
    schedule = Schedule([(cell, identity.keys(cell)) for cell in cells], ready=lambda kind, key: False)
    first = [schedule.next() for _ in range(4)]
    assert [(t.kind, t.cell.seed) for t in first if t] == [
        (Kind.VICTIM, 0),
        (Kind.EVALUATOR, 0),
        (Kind.VICTIM, 1),
        (Kind.EVALUATOR, 1),
    ]
    assert schedule.next() is None
    assert first[1] and first[2] and first[3] and first[0]
    assert schedule.ended(first[2], None) == []
    assert schedule.ended(first[3], None) == []
    passed = schedule.next()
    assert passed is not None and (passed.kind, passed.cell) == (Kind.CELL, cells[4])
    lost = schedule.ended(first[0], FAILURE)
    assert [task.cell for task, _ in lost] == cells[:4]
    assert lost[0][1].reason == f"victim: {FAILURE.reason}"
    assert len(schedule.remaining()) == 3


def test_a_full_disk_is_said_clearly_and_breaks_nothing(
    world: World, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(world.out)
    results.commit(_failed(cells[0]))
    results.fold()
    before = {path: path.read_bytes() for path in world.out.rglob("*") if path.is_file()}
    store = Store(world.cache)
    good = Stored({"x": torch.ones(3)}, {"fact": 1})
    assert store.get_or_compute("victim", "a" * 64, lambda: good).meta == {"fact": 1}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFullError, match=str(world.out)):
        results.commit(_failed(cells[1]))
    with pytest.raises(DiskFullError, match=str(world.cache)):
        store.get_or_compute("victim", "b" * 64, lambda: good)
    assert not store.has("victim", "b" * 64)
    monkeypatch.undo()
    monkeypatch.setenv("BENCH_CACHE", str(world.cache))
    assert {path: path.read_bytes() for path in world.out.rglob("*") if path.is_file()} == before
    assert store.get_or_compute("victim", "b" * 64, lambda: good).tensors["x"].tolist() == [1, 1, 1]


def test_the_store_computes_once_and_notices_damage(tmp_path: Path) -> None:
    warnings: list[str] = []
    calls: list[int] = []
    store = Store(tmp_path, warn=warnings.append)

    def compute() -> Stored:
        calls.append(1)
        return Stored({"a.x": torch.arange(3.0), "b.y": torch.zeros(2, dtype=torch.bool)}, {"n": [1, 2]})

    for _ in range(2):
        found = store.get_or_compute("victim", "c" * 64, compute)
    assert (len(calls), found.meta) == (1, {"n": [1, 2]})
    assert found.group("a")["x"].tolist() == [0, 1, 2]
    for damage, name in ((b"", "meta.json"), (b"xx", "tensors.safetensors"), (None, "tensors.safetensors")):
        path = store.folder("victim", "c" * 64) / name
        path.unlink() if damage is None else path.write_bytes(damage)
        store.get_or_compute("victim", "c" * 64, compute)
        assert str(path) in warnings.pop() and warnings == []
    assert len(calls) == 4


def test_a_pickle_in_the_store_is_damage_and_is_never_loaded(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = Store(tmp_path, warn=warnings.append)
    good = Stored({"x": torch.ones(3)}, {})
    store.get_or_compute("victim", "e" * 64, lambda: good)
    folder = store.folder("victim", "e" * 64)
    trap = tmp_path / "sprung"
    bomb = b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(trap).encode() + b"\ntRtR."
    for data in (bomb, b"\x80\x04.", b"", b"\xff" * 40):
        (folder / "tensors.safetensors").write_bytes(data)
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | {"sha256": sha256(data)}))
        assert store.sound("victim", "e" * 64), "its checksum is right: only the format protects"
        assert store.get_or_compute("victim", "e" * 64, lambda: good).tensors["x"].tolist() == [1, 1, 1]
        assert str(folder / "tensors.safetensors") in warnings[-1]
    assert len(warnings) == 4
    assert not trap.exists()


def test_what_killed_writers_leave_is_swept_up_but_not_what_lives(world: World, cells: list[Cell]) -> None:
    results, store = Results(world.out), Store(world.cache)
    results.commit(_failed(cells[0]))
    dead = [
        world.out / "records/.a.json.999999999.part",
        world.out / "records/.rows/.b.csv.999999999.part",
        world.out / ".leaderboard.md.999999999.part",
        world.out / "sheets/.c.png.nobody.part",
    ]
    living = world.out / f".leaderboard.csv.{os.getpid()}.part"
    for path in (*dead, living):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    parts = [world.cache / f"victim/aa/.{letter * 64}.part" for letter in "ab"]
    for part in parts:
        part.mkdir(parents=True)
    with store._locked("victim", "b" * 64):  # somebody is writing that one
        store.sweep()
    results.sweep()
    assert not any(path.exists() for path in dead)
    assert living.exists()
    assert [part.exists() for part in parts] == [False, True]
    assert len(world.records()) == 1


def test_what_the_very_first_commit_leaves_is_swept_up_too(world: World) -> None:
    part = world.out / "sheets/.c.png.999999999.part"  # killed before there was a folder of records
    part.parent.mkdir(parents=True)
    part.write_text("half")
    Results(world.out).sweep()
    assert not part.exists()


def test_a_run_knows_its_time_left_from_earlier_records(world: World, cells: list[Cell]) -> None:
    keys = Identity("cpu").keys(cells[0])
    record = _failed(cells[0]).record.model_copy(
        update={
            "status": Status.DONE,
            "seconds": Seconds(victim=50.0, evaluator=20.0, release=1.0, reconstruction=8.0, scores=1.0),
        }
    )
    control = Control(
        Results(world.out), make_display("json"), Refresher(world.out), total=1, device="cpu", workers=1
    )
    assert control.expected(Task(kind=Kind.CELL, cell=cells[0], keys=keys)) is None
    control.learn([record, record, _failed(cells[1]).record])
    expected = {kind: control.expected(Task(kind=kind, cell=cells[0], keys=keys)) for kind in Kind}
    assert expected == {Kind.CELL: 10.0, Kind.VICTIM: 50.0, Kind.EVALUATOR: 20.0, Kind.GENERATOR: None}


def test_computed_and_cached_results_are_the_same_to_the_last_bit_of_layout(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [f"{letter}.{number}" for number in range(12, 0, -1) for letter in "zab"]
    made = Stored({name: torch.rand(7, 3).T for name in names}, {"x": 1 / 3})
    for _ in range(3):
        found = store.get_or_compute("victim", "d" * 64, lambda: made)
        assert list(found.tensors) == names
        assert found.meta == made.meta
        for name, value in found.tensors.items():
            assert value.equal(made.tensors[name])
            assert value.is_contiguous() and value.data_ptr() % 64 == 0


@pytest.mark.slow
@pytest.mark.parametrize("defense", ["none", "noise"])
def test_a_real_attack_goes_on_from_the_cache_as_if_nothing_had_happened(
    tmp_path: Path, defense: str
) -> None:
    (cell,) = expand(
        load_matrix("smoke"), Filters(attacks=("dlg",), defenses=(defense,), models=("lenet",), limit=1)
    )
    cell = replace(cell, budget=60, releases=2)
    keys, device = Identity("cpu").keys(cell), torch.device("cpu")
    whole = Context(Store(tmp_path / "whole"), device)
    undisturbed = CellResults(cell, keys, whole).reconstruction.tensors["images"]
    for stage in ("victim", "release", "reconstruction"):
        # A new context each time: as if the run had been killed after every stage.
        resumed = getattr(CellResults(cell, keys, Context(Store(tmp_path / "resumed"), device)), stage)
    assert resumed.tensors["images"].equal(undisturbed)


def test_writing_replaces_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_time_left_comes_from_what_tasks_took(cells: list[Cell]) -> None:
    keys = Identity("cpu").keys(cells[0])
    victim, toy, other = (
        Task(kind=Kind.VICTIM, cell=cells[0], keys=keys),
        Task(kind=Kind.CELL, cell=cells[0], keys=keys),
        Task(kind=Kind.CELL, cell=cells[1], keys=keys),
    )
    eta = Eta(workers=2)
    assert eta.estimate([toy], []) is None
    eta.observe(victim, 100.0)
    eta.observe(toy, 10.0)
    assert eta.estimate([toy, other, victim], [(toy, 4.0)]) == (10 + 10 + 100 + 6) / 2
    assert (duration(None), duration(61.4), duration(3723)) == ("?", "1:01", "1:02:03")


def test_the_bar_draws(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.execute.progress import display

    bar: Any = display("rich")
    bar.start({"missing": 2}, Progress(total=2))
    bar.finished("a[x=1]", "failed", "why", 1.0, Progress(total=2, done=1, failed=1, running=("b [y]",)))
    bar.finish({"done": 1, "failed": 1}, 3.0)
    text = capsys.readouterr().out
    assert "a[x=1]" in text and "why" in text
    assert all(fact in text.splitlines()[-1] for fact in ("1 done", "1 failed", "0:03"))


def test_sheets_show_matched_pixels_without_loss() -> None:
    import io

    import numpy as np
    from PIL import Image

    originals = torch.rand(1, 3, 3, 4, 4)
    rebuilt = originals[:, [2, 0, 1]]
    picture = np.asarray(Image.open(io.BytesIO(sheet(originals, rebuilt, torch.tensor([[1, 2, 0]])))))
    assert picture.shape == (8, 12, 3)
    assert (picture[:4] == picture[4:]).all()
    grey = torch.full((9, 1, 1, 4, 4), float("nan"))
    image = Image.open(io.BytesIO(sheet(grey, grey, torch.zeros(9, 1, dtype=torch.int64))))
    assert (image.mode, image.size) == ("L", (32, 8))
