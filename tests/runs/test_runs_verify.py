"""Numbers are checked against what the code gives, and a forged one is found."""

from __future__ import annotations

import gzip
import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from bench.cli.main import main
from bench.plugins import discover
from bench.runs.agreement import same_results, same_scores
from bench.runs.identity import forget_digests
from bench.runs.rows import COLUMNS, Row
from bench.runs.sheet import sheet
from bench.runs.sheet_check import sheet_agrees

from .conftest import ATTACK, World, build_world


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
    for damage in (b"", b"no picture", honest[:60]):
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
    text = ("\n".join(lines) + "\n").encode()
    (copy.out / "images.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    result = _verify(copy, "--sample", "0")
    assert result.exit_code == 1
    assert "does not agree" in result.stdout and "lpips" in result.stdout
    assert "recomputed  4  3 agree" in result.stdout
    assert sorted(item["agrees"] for item in _badges(copy).values()) == [False, True, True, True]


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


def test_other_code_cannot_verify_and_says_so(copy: World) -> None:
    code = copy.root / "plugins/attacks/toy/attack.py"
    code.write_text(ATTACK + "# edited\n")
    result = _verify(copy)
    assert result.exit_code == 1
    assert "none of 4 done cells can be verified: they were measured with other code" in result.stderr
    assert not (copy.out / "verification.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": 3}', '{"cells": {"x": 1}}', "\x00"])
def test_a_damaged_file_of_badges_is_written_anew(copy: World, text: str) -> None:
    (copy.out / "verification.json").write_text(text)
    assert _verify(copy, "--sample", "0", "--no-rescore").exit_code == 0
    assert _badges(copy) == {}
