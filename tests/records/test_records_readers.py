"""All who read a results folder refuse newer records, name malformed ones, and end in no traceback."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cache.keys import Identity
from bench.matrix import Cell
from bench.records.outcome import Failure, failed
from bench.records.record import SCHEMA, NewerRecordError, Status, decode_record
from bench.records.results import Results
from bench.report.frames import read_results
from bench.report.write import write_report
from tests.api.strategies import mutated
from tests.world import World, bench

ONE = Path(__file__).parent / "record_generator.json"
NAME = json.loads(ONE.read_text())["id"]
COMMAND = "bench run"


@pytest.fixture
def newer(world: World, cells: list[Cell]) -> Path:
    """A results folder with a failure of every cell; one of them was written by a later version."""
    results = Results(world.out)
    for cell in cells:
        failure = Failure(status=Status.FAILED, reason="because")
        results.commit(failed(cell, Identity("cpu").keys(cell), failure, device="cpu"))
    results.fold()
    path = next(world.out.glob("records/*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1, "new": "field"}))
    return path


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "run --matrix {matrix} --out {out} --device cpu -j 1 --display plain",
        "run --matrix {matrix} --out {out} --device cpu --dry-run",
        "run --matrix {matrix} --out {out} --device cpu --force --display json",
        "status {out} --matrix {matrix} --device cpu",
        "report {out}",
        "merge {out} --out {root}/merged",
        "merge {root}/empty --out {out}",
        "clean {out} --matrix {matrix} --yes",
        "verify {out} --device cpu",
        "compare {out} {root}/empty",
    ],
)
def test_a_record_of_a_newer_version_is_refused_before_anything_is_written(
    newer: Path, world: World, command: str
) -> None:
    (world.root / "empty/records").mkdir(parents=True)
    before = _files(world.out)
    filled = command.format(matrix=world.root / "tiny.toml", out=world.out, root=world.root)
    result = bench(*filled.split())
    assert result.exit_code == 2, result.output
    assert re.fullmatch(rf"error: {newer}: schema: {SCHEMA + 1} .*{SCHEMA}.*\n", result.stderr)
    assert _files(world.out) == before
    assert not (world.root / "merged").exists()


def test_status_counts_what_is_there_by_state(world: World, cells: list[Cell]) -> None:
    results = Results(world.out)
    keys = [Identity("cpu").keys(cell) for cell in cells]
    ends = [Status.TIMEOUT, Status.OOM, Status.OOM, Status.FAILED, Status.INCOMPATIBLE]
    for cell, key, status in zip(cells, keys, ends, strict=False):
        results.commit(failed(cell, key, Failure(status=status, reason="because"), device="cpu"))
    old = replace(keys[5], scores="0" * 64)
    results.commit(failed(cells[5], old, Failure(status=Status.OOM, reason="long ago"), device="cpu"))
    result = bench("status", world.out, "--matrix", world.root / "tiny.toml", "--device", "cpu")
    assert result.exit_code == 0, result.output
    counts = dict(line.split() for line in result.stdout.splitlines())
    expected = {"done": 0, "failed": 1, "timeout": 1, "oom": 2, "n/a": 1, "stale": 1, "missing": 2}
    expected["cells"] = 8
    assert counts == {name: str(count) for name, count in expected.items()}


def test_rows_of_a_newer_record_are_never_dropped(newer: Path, world: World) -> None:
    before = _files(world.out)
    with pytest.raises(NewerRecordError, match=f"schema: {SCHEMA + 1}"):
        Results(world.out).fold()
    assert _files(world.out) == before


def _broken(**damage: Any) -> dict[str, Any]:
    """The record with other values in its cell; a dot in a name goes one level down."""
    content: dict[str, Any] = json.loads(ONE.read_text())
    for name, value in damage.items():
        *outer, last = name.split("__")
        node = content["cell"]
        for part in outer:
            node = node[part]
        node[last] = value
    return content


DAMAGES: list[tuple[dict[str, Any], str]] = [
    ({"defense__strength": "x"}, "cell.defense.strength"),
    ({"defense__strength": {}}, "cell.defense.strength"),
    ({"attack__label": ["x"]}, "cell.attack.label"),
    ({"attack__label": ""}, "cell.attack.label"),
    ({"attack__parameters": [["iterations", [1]]]}, "cell.attack.parameters.0.1"),
    ({"attack__parameters": [["iterations"]]}, "cell.attack.parameters.0"),
    ({"releases": 10**30}, "cell.releases"),
    ({"releases": 0}, "cell.releases"),
    ({"releases": True}, "cell.releases"),
    ({"batch_size": 1.5}, "cell.batch_size"),
    ({"seed": -1}, "cell.seed"),
    ({"seed": 2**32}, "cell.seed"),
    ({"budget": "300"}, "cell.budget"),
    ({"epochs": "all"}, "cell.epochs"),
    ({"channel": []}, "cell.channel"),
    ({"checkpoint": "soon"}, "cell.checkpoint"),
    ({"model": None}, "cell.model"),
    ({"model": 7}, "cell.model"),
    ({"incompatible": 1}, "cell.incompatible"),
    ({"dataset": "mnist5k"}, "cell.dataset"),
    ({"more": 1}, "cell.more"),
]


@pytest.mark.parametrize(("damage", "field"), DAMAGES, ids=[f"{d}"[:40] for d, _ in DAMAGES])
def test_a_malformed_cell_is_named_with_its_field_and_the_fix(
    damage: dict[str, Any], field: str, tmp_path: Path
) -> None:
    path = tmp_path / "records" / f"{NAME}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(_broken(**damage)))
    told: list[str] = []
    results = Results(tmp_path, told.append)
    assert results.records() == {}
    assert list(results.outcomes()) == []
    (text,) = told
    assert text.startswith(f"{path}: {field}") and COMMAND in text, text
    (problem,) = read_results(tmp_path).problems
    assert problem.startswith(f"records/{NAME}.json: ") and field in problem
    assert COMMAND in problem
    write_report(tmp_path, final=False)


@pytest.mark.parametrize(
    "data", [b"", b'{"a":' * 100_000, b"[" * 100_000, b"[]", b"null", b"\xff", b"1" * 5000]
)
def test_what_is_no_record_at_all_is_named_by_every_reader(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records" / f"{NAME}.json"
    path.parent.mkdir()
    path.write_bytes(data)
    told: list[str] = []
    assert Results(tmp_path, told.append).sound() == {}
    assert told[0].startswith(f"{path}: ") and COMMAND in told[0]
    (problem,) = read_results(tmp_path).problems
    assert problem.startswith(f"records/{NAME}.json: ") and COMMAND in problem


@pytest.mark.parametrize("schema", [None, 0, SCHEMA - 1, str(SCHEMA), True])
def test_a_record_of_another_schema_or_of_none_is_damaged_for_every_reader(
    schema: object, tmp_path: Path
) -> None:
    content = json.loads(ONE.read_text()) | {"schema": schema}
    if schema is None:
        del content["schema"]
    path = tmp_path / "records" / f"{NAME}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    told: list[str] = []
    assert Results(tmp_path, told.append).sound() == {}
    assert told[0].startswith(f"{path}: schema: ")
    (problem,) = read_results(tmp_path).problems
    assert problem.startswith(f"records/{NAME}.json: ") and COMMAND in problem


def test_a_folder_in_the_place_of_a_record_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "records" / f"{NAME}.json").mkdir(parents=True)
    told: list[str] = []
    assert Results(tmp_path, told.append).sound() == {}
    assert f"{NAME}.json" in told[0]
    assert len(read_results(tmp_path).problems) == 1


WHOLE = [json.loads((ONE.parent / f"record_{part}.json").read_text()) for part in ("generator", "transform")]


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_no_damage_to_a_record_breaks_any_reader_of_the_folder(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(WHOLE))
    content = data.draw(mutated(copy.deepcopy(whole)))
    with TemporaryDirectory() as name:
        path = Path(name) / "records" / f"{whole['id']}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content, default=str))
        told: list[str] = []
        results = Results(Path(name), told.append)
        try:
            sound = results.sound()
            assert list(results.outcomes()) == [], "there are no rows"
            problems = read_results(Path(name)).problems
        except NewerRecordError as error:
            assert str(error).startswith(f"{path}: schema: ")
            return
        if sound:
            assert decode_record(path.read_bytes(), path).id in sound
            assert len(problems) == 1, "its rows are not there"
        else:
            assert told[0].startswith(f"{path}: ") and COMMAND in told[0]
            assert all(COMMAND in problem for problem in problems)
