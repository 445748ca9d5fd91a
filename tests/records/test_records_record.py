"""The schema of a record: what a finished one says, and what becomes of other ones."""

from __future__ import annotations

import copy
import gzip
import json
import re
from dataclasses import fields as fields_of
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.matrix.cells import Cell, Variant
from bench.records.record import MAX_BYTES, SCHEMA, CorruptRecordError, NewerRecordError, decode_record
from bench.records.rows import COLUMNS, CorruptRowsError, encode, unpack
from tests.api.strategies import mutated
from tests.world import World

HERE = Path(__file__).parent
ONE = HERE / "record_generator.json"
NAME = json.loads(ONE.read_text())["id"]


def test_a_finished_cell_says_how_it_came_about(world: World) -> None:
    world.matrix("guess", "raise", checkpoints='["trained"]')
    result = world.run(workers=1)
    assert result.returncode == 1, result.stdout + result.stderr
    found = {record["status"]: record for record in world.records()}
    for record in found.values():
        assert record["schema"] == SCHEMA
        assert record["stages"].pop("generator") == "", "these attacks have none"
        assert set(record["stages"]) == {"victim", "evaluator", "release", "reconstruction"}
        assert all(number > 0 for number in record["seeds"].values())
        machine = record["provenance"]
        assert (machine["device"], machine["threads"], machine["cuda"]) == ("cpu", 1, "")
        assert machine["determinism"]["algorithms"] is True
        assert machine["determinism"]["tf32"] is False
        assert all(
            machine[name] for name in ("python", "torch", "numpy", "scipy", "instructions", "platform")
        )
    done = found["done"]
    for part in ("memory_mb", "seconds"):
        assert done[part].pop("generator") is None
    assert all(value > 0 for value in done["memory_mb"].values())
    assert done["memory_mb"]["reconstruction"] == done["peak_memory_mb"]
    assert all(value > 0 for value in done["seconds"].values())
    stored = world.cache / "reconstruction" / done["stages"]["reconstruction"][:2]
    meta = json.loads((stored / done["stages"]["reconstruction"] / "meta.json").read_text())
    assert meta["sha256"] == done["reconstruction_sha256"]
    assert found["failed"]["reconstruction_sha256"] == ""


def test_a_record_is_written_again_as_it_is() -> None:
    for path in (ONE, HERE / "record_transform.json"):
        data = path.read_bytes()
        assert decode_record(data, Path(f"{json.loads(data)['id']}.json")).encode() == data


def test_the_page_about_records_is_that_of_the_models() -> None:
    from bench.records.schema import markdown
    from bench.text import BEGIN, END, rewritten

    page = Path(__file__).parents[2] / "docs" / "records.md"
    text = page.read_text(encoding="utf-8")
    assert rewritten(text, markdown()) == text, "python -m bench.records.schema docs/records.md"
    for field in json.loads(ONE.read_text()):
        assert f"| `{field}` |" in text
    tables = text[text.index(BEGIN) : text.index(END)]
    assert not re.findall(r"\| *\|$", tables, re.MULTILINE), "every field says what it means"
    for part, fields in (("cell", fields_of(Cell)), ("cell.dataset", fields_of(Variant))):
        table = tables.partition(f"### `{part}`")[2].partition("###")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [field.name for field in fields]
    with pytest.raises(ValueError, match=re.escape(BEGIN)):
        rewritten("no marks", "")


RECORD = json.loads(ONE.read_text())
shared = settings(deadline=None, max_examples=300)


@shared
@given(data=st.data())
def test_no_damage_to_a_record_breaks_its_reader(data: st.DataObject) -> None:
    content = data.draw(mutated(copy.deepcopy(RECORD)))
    text = json.dumps(content, default=str)
    path = Path("0061c1d4da729c11.json")
    try:
        record = decode_record(text.encode(), path)
    except (CorruptRecordError, NewerRecordError) as error:
        # A higher number of the schema is one of the damages, and is refused in its own words.
        lines = str(error).splitlines()
        # A field is its parts with dots between them; a part with a colon in its name stands in quotes.
        quoted = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
        form = re.compile(rf"0061c1d4da729c11\.json: (?:{quoted}|[^:])+: .")
        assert all(form.match(line) for line in lines), lines
        return
    assert len(record.encode()) <= MAX_BYTES or len(text) > MAX_BYTES


@shared
@given(data=st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_records(data: bytes) -> None:
    with pytest.raises(CorruptRecordError, match=r"^x\.json: "):
        decode_record(data, Path("x.json"))


@shared
@given(place=st.integers(0, len(ONE.read_bytes()) - 1), byte=st.integers(0, 255))
def test_no_flipped_byte_breaks_the_reader(place: int, byte: int) -> None:
    text = bytearray(ONE.read_bytes())
    text[place] = byte
    try:
        decode_record(bytes(text), Path("0061c1d4da729c11.json"))
    except (CorruptRecordError, NewerRecordError) as error:
        assert str(error).startswith("0061c1d4da729c11.json: ")


@shared
@given(data=st.data())
def test_no_damage_to_rows_breaks_their_reader(data: st.DataObject) -> None:
    good = gzip.compress(encode([tuple("0" for _ in COLUMNS)]), mtime=0)
    raw = data.draw(st.one_of(st.binary(max_size=80), st.text().map(str.encode).map(gzip.compress)))
    place = data.draw(st.integers(0, len(good) - 1))
    for damaged in (raw, good[:place], good[:place] + raw + good[place:]):
        try:
            rows = unpack(damaged, "rows.csv.gz")
        except CorruptRowsError as error:
            assert str(error).startswith("rows.csv.gz: ")
        else:
            assert all(len(row) == len(COLUMNS) for row in rows)
