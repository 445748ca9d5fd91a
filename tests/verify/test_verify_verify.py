"""Numbers are checked against what the code gives, and a forged one is found."""

from __future__ import annotations

import io
import json
import math
import random
import shutil
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from bench.cache.keys import Identity, forget_digests
from bench.cli.main import main
from bench.execute.schedule import Schedule
from bench.matrix.cells import Cell, Variant
from bench.matrix.expand import variant
from bench.plugins import discover
from bench.records.cell_schema import CellSchema
from bench.records.outcome import Keys, Outcome
from bench.records.record import read_record
from bench.records.results import Results
from bench.records.rows import COLUMNS, KEYS, MEASURES, Row, digest, key_of
from bench.records.sheet import sheet
from bench.records.sheet_check import sheet_agrees
from bench.verify.agreement import ALIKE, SAME, same_results, same_scores
from bench.verify.badges import Badge
from bench.verify.contradictions import contradictions, equal
from bench.verify.cover import cover
from tests.world import ATTACK, World, build_world


def _row(image: int, **values: str) -> Row:
    fields = dict.fromkeys(COLUMNS, "") | {"release": "0", "image": str(image), "status": "done"} | values
    return tuple(fields[name] for name in COLUMNS)


def test_scores_of_one_reconstruction_must_be_the_same_image_by_image() -> None:
    rows = [_row(0, psnr="20", lpips="0.5", identified="1"), _row(1, psnr="30", lpips="0.1")]
    found = same_scores(rows, rows)
    assert (found.agrees, found.identical, found.difference) == (
        True,
        True,
        {"psnr": 0.0, "lpips": 0.0, "identified": 0.0},
    )
    near = [_row(0, psnr="20.005", lpips="0.5", identified="1"), rows[1]]
    assert (same_scores(rows, near).agrees, same_scores(rows, near).identical) == (True, False)
    for forged in ({"psnr": "20.1"}, {"lpips": "0.48"}, {"identified": "0"}, {"lpips": ""}, {"ssim": "0.9"}):
        other = _row(0, **{"psnr": "20", "lpips": "0.5", "identified": "1", **forged})
        assert not same_scores(rows, [other, rows[1]]).agrees, forged
    assert same_scores(rows, rows[:1]).reason == "2 images against 1"
    assert not same_scores(rows, rows[:1]).agrees


def test_two_runs_must_agree_in_what_the_tables_show() -> None:
    rows = [_row(n, psnr=str(20 + n), lpips="0.5") for n in range(10)]
    moved = [_row(n, psnr=str(29 - n), lpips="0.51") for n in range(10)]
    found = same_results(rows, moved)
    assert found.agrees and not found.identical
    assert found.shift == {"psnr": 0.0, "lpips": pytest.approx(0.01)}
    assert found.difference is not None and found.difference["psnr"] == 9.0
    worse = [_row(n, psnr=str(20 + n), lpips="0.6") for n in range(10)]
    assert not same_results(rows, worse).agrees
    empty = same_results(rows, [_row(n, psnr=str(20 + n)) for n in range(10)])
    assert not empty.agrees and empty.shift is not None and math.isnan(empty.shift["lpips"])


def test_every_measure_has_its_tolerances() -> None:
    assert SAME.keys() == ALIKE.keys() == {*MEASURES}


def test_rows_of_the_channel_of_classifiers_are_compared_like_any_other() -> None:
    values = {
        "psnr": "12",
        "recognised": "1",
        "recognised5": "1",
        "feature_distance": "1.3",
        "diversity": "0.9",
    }
    rows = [_row(n, **values) for n in range(20)]
    for compare in (same_scores, same_results):
        assert compare(rows, rows).agrees and compare(rows, rows).identical
    rounded = [_row(n, **values | {"feature_distance": "1.3004", "diversity": "0.9001"}) for n in range(20)]
    assert same_scores(rows, rounded).agrees and not same_scores(rows, rounded).identical
    elsewhere = [_row(n, **values | {"feature_distance": "1.35", "diversity": "0.86"}) for n in range(20)]
    assert not same_scores(rows, elsewhere).agrees
    assert same_results(rows, elsewhere).agrees
    for forged in ({"recognised5": "0"}, {"feature_distance": "0.3"}, {"diversity": "2"}, {"diversity": ""}):
        other = [_row(n, **values | forged) for n in range(20)]
        assert not same_scores(rows, other).agrees, forged
        assert not same_results(rows, other).agrees, forged


_RECORDS = [
    Path(__file__).parents[1] / "records" / f"record_{part}.json" for part in ("transform", "generator")
]
"""One with ``perturbed`` and ``bound``, one with a generator."""
_FORGED = [
    (0, "utility.accuracy", 0.999),
    (0, "utility.converged", None),
    (0, "utility.rounds", 1),
    (0, "utility.details", {"absent": 0.97}),
    (0, "attack.evaluations_mean", 1.0),
    (0, "attack.evaluations_max", 10**6),
    (0, "attack.cost_mean", 7.0),
    (0, "attack.task_accuracy", 0.5),
    (0, "bound.psnr", 40.0),
    (0, "bound", None),
    (0, "perturbed.lpips", 0.9),
    (0, "means.identified", 0.25),
    (0, "means.ssim", None),
    (0, "release.zero", 3),
    (0, "seeds.attack", 1),
    (0, "stages.victim", "0" * 64),
    (0, "evaluator_accuracy", 1.0),
    (1, "generator.frechet", 9.0),
    (1, "generator.kind", "vae"),
    (1, "generator", None),
    (1, "means.recognised5", 0.1),
    (1, "means.feature_distance", 3.0),
]


@pytest.mark.parametrize(("number", "name", "value"), _FORGED)
@pytest.mark.parametrize("badge", ["recomputed", "re-run"])
def test_no_part_of_a_record_can_be_forged(
    number: int, name: str, value: object, badge: Badge, tmp_path: Path
) -> None:
    content = json.loads(_RECORDS[number].read_text())
    path = tmp_path / f"{content['id']}.json"
    path.write_text(json.dumps(content))
    honest = read_record(path)
    assert contradictions(honest, honest, badge) == [] and equal(honest, honest)
    node = content
    *outer, last = name.split(".")
    for part in outer:
        node = node[part]
    node[last] = not node[last] if value is None and isinstance(node[last], bool) else value
    path.write_text(json.dumps(content))
    forged = read_record(path)
    found = contradictions(forged, honest, badge)
    assert found and all(text.startswith(name) for text in found), found
    assert not equal(forged, honest)


def test_records_from_before_a_field_are_confirmed_and_a_forged_one_is_not(tmp_path: Path) -> None:
    content = json.loads(_RECORDS[0].read_text())
    path = tmp_path / f"{content['id']}.json"
    read = []
    for value in (None, 0.25, 0.75):
        content["release"]["shared_labels"] = value
        path.write_text(json.dumps(content))
        read.append(read_record(path))
    older, today, forged = read
    assert contradictions(older, today, "re-run") == [] and equal(older, today)
    (found,) = contradictions(forged, today, "re-run")
    assert found.startswith("release.shared_labels") and not equal(forged, today)


def test_what_another_processor_rounds_differently_is_no_contradiction(tmp_path: Path) -> None:
    content = json.loads(_RECORDS[0].read_text())
    path = tmp_path / f"{content['id']}.json"
    path.write_text(json.dumps(content))
    first = read_record(path)
    content["utility"]["accuracy"] -= 0.01
    content["attack"]["cost_mean"] *= 1.3
    content["means"]["lpips"] += 0.005
    path.write_text(json.dumps(content))
    second = read_record(path)
    assert contradictions(first, second, "re-run") == []
    assert not equal(first, second)
    named = contradictions(first, second, "recomputed")
    assert [text.split()[0] for text in named] == ["attack.cost_mean", "means.lpips", "utility.accuracy"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = build_world(tmp_path_factory.mktemp("verify") / "world")
    world.matrix("guess", "some", "raise")
    result = world.run()
    assert result.returncode == 1, result.stdout + result.stderr
    return world


@pytest.fixture
def copy(finished: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(Path(shutil.copytree(finished.root, tmp_path / "copy")))
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(world.root / "plugins"))
    monkeypatch.setenv("BENCH_CACHE", str(world.cache))
    monkeypatch.setenv("BENCH_TEST_CALLS", str(world.root / "calls"))
    (world.root / "calls").unlink()
    discover.cache_clear()
    forget_digests()
    yield world
    discover.cache_clear()
    forget_digests()


def _verify(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", str(world.out), "--device", "cpu", "-j", "1", *arguments])


def _badges(world: World) -> dict[str, Any]:
    cells: dict[str, Any] = json.loads((world.out / "verification.json").read_text())["cells"]
    return cells


def test_honest_results_are_confirmed(copy: World) -> None:
    result = _verify(copy, "--sample", "0")
    assert result.exit_code == 0, result.output
    assert "recomputed  4  4 agree  4 to the last digit" in result.stdout
    assert copy.calls() == [], "scoring again attacks nobody"
    cells = _badges(copy)
    keys = {record["id"]: record["key"] for record in copy.records() if record["status"] == "done"}
    assert {name: item["key"] for name, item in cells.items()} == keys
    assert {(item["badge"], item["agrees"]) for item in cells.values()} == {("recomputed", True)}

    before = sorted(path for path in copy.cache.rglob("*") if "locks" not in path.parts)
    again = _verify(copy, "--sample", "1", "--no-rescore", "--seed", "3")
    assert again.exit_code == 0, again.output
    assert ": identical" in again.stdout
    assert "the draw has --seed 3" in again.stdout
    assert len(copy.calls()) == 1
    assert sorted(item["badge"] for item in _badges(copy).values()) == ["re-run"] + ["recomputed"] * 3
    assert sorted(path for path in copy.cache.rglob("*") if "locks" not in path.parts) == before

    assert _verify(copy, "--sample", "0").exit_code == 0
    assert sorted(i["badge"] for i in _badges(copy).values())[0] == "re-run", "the stronger check stays"


def test_cells_are_scored_again_seed_by_seed_and_victim_by_victim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker keeps the images of one seed only, and few victims."""
    world = build_world(tmp_path / "world")
    world.matrix("guess", "some", seeds="[0, 1, 2]", checkpoints='["trained"]', budget="2")
    assert world.run().returncode == 0
    orders = []

    class Watched(Schedule):
        def __init__(self, cells: Iterable[tuple[Cell, Keys]], **rest: Any) -> None:
            work = list(cells)
            orders.append([cell.seed for cell, _ in work])
            super().__init__(work, **rest)

    monkeypatch.setattr("bench.verify.verify.Schedule", Watched)
    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(world.root / "plugins"))
    monkeypatch.setenv("BENCH_CACHE", str(world.cache))
    discover.cache_clear()
    forget_digests()
    try:
        result = _verify(world, "--sample", "0")
    finally:
        discover.cache_clear()
        forget_digests()
    assert result.exit_code == 0, result.output
    assert orders == [[0, 0, 1, 1, 2, 2]]
    ids = [path.stem for path in sorted((world.out / "records").iterdir())]
    seeds = {record["id"]: record["cell"]["seed"] for record in world.records()}
    assert [seeds[name] for name in ids] != orders[0], "another order would do by chance"


def test_a_sheet_that_contradicts_its_rows_is_found(copy: World) -> None:
    sheets = sorted(copy.out.glob("sheets/*.png"))
    assert len(sheets) == 4
    honest = sheets[0].read_bytes()
    flattering = np.array(Image.open(io.BytesIO(honest)))
    flattering[32:] = flattering[:32]  # as if every image had been rebuilt
    Image.fromarray(flattering).save(sheets[0])
    result = _verify(copy, "--sample", "0", "--no-rescore")
    assert result.exit_code == 1
    assert "3 of 4 contact sheets show errors like the PSNR of their rows" in result.stdout
    assert "its sheet contradicts its rows: toy" in result.stdout
    # A few bytes that claim to be 10 gigapixels are no reason to stop.
    size = struct.pack(">IIBBBBB", 10**5, 10**5, 8, 0, 0, 0, 0)
    bomb = honest[:12] + b"IHDR" + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + honest[33:]
    for damage in (b"", b"no picture", honest[:60], bomb):
        sheets[0].write_bytes(damage)
        assert _verify(copy, "--sample", "0", "--no-rescore").exit_code == 1
    sheets[0].write_bytes(honest)
    assert _verify(copy, "--sample", "0", "--no-rescore").exit_code == 0


def test_the_bound_on_sheets_is_that_of_rounding() -> None:
    images = torch.rand(2, 1, 3, 8, 8)
    rebuilt = (images + 0.1 * torch.randn_like(images)).clamp(0, 1)
    picture = sheet(images, rebuilt, torch.zeros(2, 1, dtype=torch.int64))
    psnr = [-10 * float(((images - rebuilt) ** 2)[n].mean().log10()) for n in range(2)]
    rows = [_row(0, release=str(n), psnr=f"{psnr[n]:.6g}") for n in range(2)]
    assert sheet_agrees(picture, rows)
    assert sheet_agrees(picture, rows[::-1])
    assert sheet_agrees(picture, [_row(0, release="0"), rows[1]]), (
        "without a score there is nothing to compare"
    )
    assert not sheet_agrees(picture, [_row(0, release="0", psnr=f"{psnr[0] + 1:.6g}"), rows[1]])
    assert not sheet_agrees(picture, [*rows, _row(1, psnr="20")]), "it has another number of images"


def test_a_forged_number_is_found(copy: World) -> None:
    lines = copy.rows()
    place = next(n for n, line in enumerate(lines) if ",done," in line and "act=some" not in line)
    fields = lines[place].split(",")
    fields[COLUMNS.index("lpips")] = "0.9999"
    lines[place] = ",".join(fields)
    honest = {path: path.read_bytes() for path in copy.out.glob("records/*.json")}
    copy.forge(lines)
    result = _verify(copy, "--sample", "0")
    assert result.exit_code == 1
    assert "does not agree" in result.stdout and "lpips" in result.stdout
    assert "recomputed  4  3 agree" in result.stdout
    assert sorted(item["agrees"] for item in _badges(copy).values()) == [False, True, True, True]
    for path, data in honest.items():
        path.write_bytes(data)
    assert _verify(copy, "--sample", "0").exit_code == 1, "its rows are not those of its record"


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("utility", "accuracy", 0.999, "utility.accuracy is 0.999 in the record"),
        ("attack", "evaluations_mean", 1.0, "attack.evaluations_mean is 1.0 in the record and 4.0 now"),
        ("cell", "attack", None, "cell.attack is shown as gentle, its parameters make it toy"),
    ],
)
def test_a_forged_record_earns_no_badge(
    copy: World, part: str, field: str, value: object, words: str
) -> None:
    record = next(r for r in copy.records() if r["status"] == "done")
    if part == "cell":
        rows = copy.rows()
        own, label = f",{record['cell']['checkpoint']},", record["cell"]["attack"]["label"]
        shown = [row.replace(f",{label},", ",gentle,") if own in row else row for row in rows]
        copy.forge(shown)
        record["rows_sha256"] = ""
        value = record["cell"]["attack"] | {"label": "gentle"}
    record[part][field] = value
    (copy.out / "records" / f"{record['id']}.json").write_text(json.dumps(record))
    result = _verify(copy, "--sample", "4", "--seed", "1")
    assert result.exit_code == 1, result.output
    assert words in result.stdout
    assert {name for name, item in _badges(copy).items() if not item["agrees"]} == {record["id"]}
    assert words in _badges(copy)[record["id"]]["reason"]


EVIL = """
from pathlib import Path
Path("imported").touch()

def net(*, num_classes, image_shape):
    raise RuntimeError("run")
"""


def _strange(copy: World, **changes: object) -> None:
    """Adds a record whose key is today's and whose cell names something of its author's own."""
    first = next(o for o in Results(copy.out).outcomes() if o.record.status == "done")
    cell = replace(first.record.asked, **changes)  # type: ignore[arg-type]
    question = CellSchema.model_validate(cell.to_json())
    key = Identity("cpu").keys(cell).scores
    rows = tuple((*key_of(cell), *row[len(KEYS) :]) for row in first.rows)
    changes = {"cell": question, "id": cell.id, "key": key, "rows_sha256": digest(rows)}
    record = first.record.model_copy(update=changes)
    Results(copy.out).commit(Outcome(record, rows))


def test_code_and_files_that_a_record_names_are_left_alone_unless_the_user_trusts_them(
    copy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    Path("evil.py").write_text(EVIL)
    Path("photos").mkdir()
    _strange(copy, model="evil:net")
    photos = Variant(
        name="folder", parameters=variant("dataset", "folder", {"path": "photos"}).parameters, label="tiny"
    )
    _strange(copy, dataset=photos)
    result = _verify(copy, "--sample", "9", "--no-rescore")
    assert result.exit_code == 0, result.output
    assert "re-run      4  4 agree" in result.stdout
    for name in ("evil:net", "photos"):
        assert (
            f"not loaded, so its cells are not verified; if you trust it: --trust {name}\n" in result.stdout
        )
    assert not Path("imported").exists()

    trusting = _verify(copy, "--sample", "9", "--no-rescore", "--trust", "evil:net")
    assert trusting.exit_code == 1
    assert "does not agree: failed: victim: " in trusting.stdout
    assert "--trust evil:net" not in trusting.stdout and "--trust photos" in trusting.stdout
    assert Path("imported").exists()


def test_a_plug_in_of_the_working_folder_is_left_alone_unless_the_user_trusts_it(
    copy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(copy.root / "plugins/attacks/toy", tmp_path / "there/attacks/mine")
    monkeypatch.chdir(tmp_path / "there")
    discover.cache_clear()
    _strange(copy, attack=Variant(name="mine", parameters=(("act", "guess"), ("pause", 0.0)), label="mine"))
    result = _verify(copy, "--sample", "9", "--no-rescore")
    assert result.exit_code == 0, result.output
    assert "re-run      4  4 agree" in result.stdout
    assert "if you trust it: --trust mine\n" in result.stdout
    trusting = _verify(copy, "--sample", "9", "--no-rescore", "--trust", "mine")
    assert "re-run      5 " in trusting.stdout and "--trust mine" not in trusting.stdout


def test_a_folder_of_foreign_networks_only_says_how_to_verify_it(copy: World, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "net.pt2")
    _strange(copy, model=str(tmp_path / "net.pt2"))
    for record in copy.records():
        if not record["cell"]["model"].endswith("net.pt2"):
            (copy.out / "records" / f"{record['id']}.json").unlink()
    result = _verify(copy)
    assert result.exit_code == 1
    assert f"none of 1 done cells can be verified: they load {tmp_path / 'net.pt2'}, or" in result.stderr
    assert "If you trust these: --trust TEXT for each" in result.stderr


def test_reconstructions_that_are_not_those_of_the_record_do_not_count(copy: World) -> None:
    record = next(r for r in copy.records() if r["status"] == "done")
    path = copy.out / "records" / f"{record['id']}.json"
    path.write_text(json.dumps(record | {"reconstruction_sha256": "0" * 64}))
    found = copy.cache / "reconstruction"
    tensors = sorted(found.glob("*/*/tensors.safetensors"))
    other = next(p for p in tensors if p.parent.name != record["stages"]["reconstruction"])
    other.write_bytes(other.read_bytes()[:-1] + b"\0")
    result = _verify(copy, "--sample", "0")
    assert "2 done cells have no reconstruction in the cache" in result.stdout
    assert "recomputed  2  2 agree" in result.stdout
    assert copy.calls() == []


def test_what_other_code_has_measured_is_measured_again_with_todays(copy: World) -> None:
    code = copy.root / "plugins/attacks/toy/attack.py"
    code.write_text(ATTACK + "EDITED = 1\n")
    result = _verify(copy)
    assert result.exit_code == 0, result.output
    assert "4 done cells were measured with other code" in result.stdout
    assert "recomputed  0  0 agree" in result.stdout, "nothing in the cache is theirs"
    assert sorted(copy.calls()) == ["guess", "some"], "each attack and each of the two settings once"
    assert "re-run      2  2 agree  2 to the last digit" in result.stdout
    keys = {record["id"]: record["key"] for record in copy.records()}
    assert all(item["key"] == keys[name] and item["agrees"] for name, item in _badges(copy).items())

    forget_digests()
    code.write_text(ATTACK.replace("torch.rand(n, b", "0.5 * torch.rand(n, b"))
    for name in [name for name in sys.modules if name.startswith("bench.attacks.toy")]:
        del sys.modules[name]
    moved = _verify(copy)
    assert moved.exit_code == 1
    assert "re-run      2  0 agree" in moved.stdout and "does not agree: means." in moved.stdout, moved.stdout


def test_every_attack_defense_and_setting_is_drawn_once() -> None:
    cells = {
        f"{number}": replace(_cell(attack, defense), model=model, seed=seed)
        for number, (attack, defense, model, seed) in enumerate(
            product(("dlg", "idlg", "prior"), ("none", "noise"), ("lenet", "convnet"), (0, 1))
        )
    }
    for number in range(5):
        chosen = [cells[name] for name in cover(cells, random.Random(number))]
        assert len(chosen) == 3, "as few as the longest of the three lists"
        assert {cell.attack.label for cell in chosen} == {"dlg", "idlg", "prior"}
        seeing = [cell for cell in chosen if cell.attack.label != "prior"]
        assert {cell.defense.label for cell in seeing} == {"none", "noise"}, "no floor stands for a defense"
        assert {cell.model for cell in seeing} == {"lenet", "convnet"}
        assert len({cell.seed for cell in chosen}) == 1, "seeds are shared where that costs nothing"
    assert len({tuple(cover(cells, random.Random(n))) for n in range(5)}) > 1, "they are drawn"
    assert cover({}, random.Random(0)) == []


def _cell(attack: str, defense: str) -> Cell:
    record = json.loads(_RECORDS[0].read_text())
    cell = Cell.from_json(record["cell"])
    named = Variant(name=attack, parameters=(), label=attack)
    return replace(cell, attack=named, defense=Variant(name=defense, parameters=(), label=defense))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": 3}', '{"cells": {"x": 1}}', "\x00"])
def test_a_damaged_file_of_badges_is_written_anew(copy: World, text: str) -> None:
    (copy.out / "verification.json").write_text(text)
    assert _verify(copy, "--sample", "0", "--no-rescore").exit_code == 0
    assert _badges(copy) == {}
