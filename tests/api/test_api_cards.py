from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api.cards import AttackCard, Kind, Parameter, Value, read_card, read_toml
from bench.api.errors import PluginError, UsageError
from tests.api.plugin_folders import CARDS, toml_file
from tests.api.strategies import KINDS, mutated, read_or_refused


def write(path: Path, kind: Kind, /, **changes: object) -> Path:
    file = path / "card.toml"
    file.write_text(toml_file({**CARDS[kind], **changes}), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_card_is_read(tmp_path: Path, kind: Kind) -> None:
    card = read_card(write(tmp_path, kind), kind)
    assert card.kind == kind
    assert card.year == 2020


def test_all_wrong_fields_are_listed_at_once_with_file_and_field(tmp_path: Path) -> None:
    parameters = {
        "steps": {"default": 5, "description": "x", "maximum": 3},
        "rate": {"default": 0.1},
        "norm": {"default": "l3", "description": "x", "choices": ["l1", "l2"]},
    }
    file = write(
        tmp_path,
        "attack",
        title="",
        year="last",
        channels=["telepathy"],
        adversaries=[],
        parameters=parameters,
        max_batch_size=4,
        colour="red",
    )
    with pytest.raises(PluginError) as error:
        read_card(file, "attack")
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    fields = sorted(line.removeprefix(f"{file}: ").partition(": ")[0] for line in lines)
    assert fields == [
        "adversaries",
        "channels.0",
        "colour",
        "max_batch_reason",
        "parameters.norm",
        "parameters.rate.description",
        "parameters.steps",
        "title",
        "year",
    ]


@pytest.mark.parametrize(
    ("kind", "changes", "facts"),
    [
        ("defense", {"strength": "power"}, "strength: .*'power'"),
        ("attack", {"max_batch_reason": "because"}, "max_batch_reason: .*max_batch_size"),
        ("attack", {"kind": "defense"}, "kind: .*'attack'"),
        (
            "attack",
            {"parameters": {"rate": {"default": 0.1, "description": "Step.", "published": "small"}}},
            r"parameters\.rate: published: .*'small'",
        ),
        ("dataset", {"sha256": "abc"}, "sha256: "),
        ("dataset", {"image_shape": [1, 0, 8]}, r"image_shape\.1: .*0"),
    ],
)
def test_fields_are_checked_against_each_other(
    tmp_path: Path, kind: Kind, changes: dict[str, object], facts: str
) -> None:
    file = write(tmp_path, kind, **changes)
    with pytest.raises(PluginError, match=f"^{re.escape(str(file))}: {facts}"):
        read_card(file, kind)


def test_a_batch_limit_with_its_reason_is_sound(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, "attack", max_batch_size=1, max_batch_reason="one label"), "attack")
    assert isinstance(card, AttackCard)
    assert card.max_batch_size == 1


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"kind = ", b"x = " + b"9" * 5000, b"x = " + b"[" * 100_000, b"a = 1\na = 2"]
)
def test_a_file_that_is_no_toml_is_one_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "card.toml"
    file.write_bytes(content)
    with pytest.raises(PluginError) as error:
        read_card(file, "attack")
    assert str(error.value).startswith(f"{file}: ")


def test_a_byte_order_mark_in_front_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_bytes(b"\xef\xbb\xbfname = 'marked'\n")
    assert read_toml(tmp_path / "card.toml") == {"name": "marked"}


def test_a_path_that_cannot_be_read_is_an_error_of_the_kind_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml: "):
        read_toml(tmp_path / "gone.toml", UsageError)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        read_toml(tmp_path, UsageError)
    with pytest.raises(UsageError, match="null"):
        read_toml(Path("nul\0.toml"), UsageError)


@pytest.mark.parametrize(
    ("parameter", "value", "facts"),
    [
        ({"default": 1.0}, 2, None),
        ({"default": 1.0}, 2.5, None),
        ({"default": 1}, 2.0, "int.*2.0"),
        ({"default": 1}, True, "int.*True"),
        ({"default": True}, 1, "bool.*1"),
        ({"default": "a"}, 1, "str.*1"),
        ({"default": 1, "minimum": 1, "maximum": 3}, 3, None),
        ({"default": 1, "minimum": 1, "maximum": 3}, 4, "4.*maximum 3"),
        ({"default": 1, "minimum": 1, "maximum": 3}, 0, "0.*minimum 1"),
        ({"default": 1.0}, float("inf"), "finite.*inf"),
        ({"default": 1}, 2**63, "number"),
        ({"default": "a", "choices": ["a", "b"]}, "c", "'c'.*'a', 'b'"),
    ],
)
def test_a_parameter_says_what_is_wrong_with_a_value(
    parameter: dict[str, Any], value: Value, facts: str | None
) -> None:
    problem = Parameter(description="x", **parameter).problem(value)
    assert problem is None if facts is None else re.search(facts, str(problem))


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "card.toml"


@settings(max_examples=150, deadline=None)
@given(text=st.text(), kind=st.sampled_from(KINDS))
def test_no_text_breaks_the_reader(file: Path, text: str, kind: Kind) -> None:
    read_or_refused(file, text, lambda: read_card(file, kind))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_no_structure_breaks_the_reader(file: Path, data: st.DataObject, kind: Kind) -> None:
    content = data.draw(mutated(copy.deepcopy(CARDS[kind])))
    read_or_refused(file, toml_file(content), lambda: read_card(file, kind))
