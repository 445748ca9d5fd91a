from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api.cards import Value
from bench.api.threat import Adversary, Channel, Checkpoint
from bench.matrix import Cell, Variant
from bench.search_path import channel_names

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
_VALUES: st.SearchStrategy[Value] = st.booleans() | st.integers(-(2**63), 2**63 - 1) | _NUMBERS | st.text()
_PARAMETERS = st.dictionaries(st.text(), _VALUES, max_size=3).map(lambda items: tuple(sorted(items.items())))
_VARIANTS = st.builds(
    Variant,
    name=st.text(min_size=1),
    parameters=_PARAMETERS,
    label=st.just("label"),
    strength=st.none() | _NUMBERS,
)
CELLS = st.builds(
    Cell,
    dataset=_VARIANTS,
    model=st.text(),
    checkpoint=st.sampled_from(Checkpoint),
    channel=st.sampled_from([Channel(name) for name in channel_names()]),
    batch_size=st.integers(1, 8),
    releases=st.integers(1, 8),
    epochs=st.none() | st.floats(0.1, 10),
    defense=_VARIANTS,
    attack=_VARIANTS,
    adversary=st.sampled_from(Adversary),
    seed=st.integers(0, 2**32 - 1),
    budget=st.integers(1, 100),
    incompatible=st.text(),
)
_PLAIN = Variant(name="a", parameters=(("x", 1),), label="a")
_CELL = Cell(
    dataset=_PLAIN,
    model="lenet",
    checkpoint=Checkpoint.INITIAL,
    channel=Channel.GRADIENTS,
    batch_size=1,
    releases=4,
    epochs=None,
    defense=_PLAIN,
    attack=_PLAIN,
    adversary=Adversary.NAIVE,
    seed=0,
    budget=100,
)


@given(CELLS)
def test_a_cell_survives_a_json_file(cell: Cell) -> None:
    again = Cell.from_json(json.loads(json.dumps(cell.to_json())))
    assert again == cell
    assert again.id == cell.id
    assert hash(again) == hash(cell)
    assert isinstance(again.checkpoint, Checkpoint)


@given(CELLS, CELLS)
def test_cells_that_ask_different_questions_have_different_names(one: Cell, other: Cell) -> None:
    def question(cell: Cell) -> Cell:
        plain = {
            role: replace(variant, label="", strength=None)
            for role, variant in [
                ("dataset", cell.dataset),
                ("defense", cell.defense),
                ("attack", cell.attack),
            ]
        }
        return replace(cell, incompatible="", **plain)  # type: ignore[arg-type]

    assert (one.id == other.id) == (question(one) == question(other))


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": replace(_PLAIN, name="b")},
        {"model": "convnet"},
        {"checkpoint": Checkpoint.TRAINED},
        {"batch_size": 2},
        {"releases": 5},
        {"epochs": 1.0},
        {"defense": replace(_PLAIN, parameters=(("x", 2),))},
        {"attack": replace(_PLAIN, parameters=(("x", 1.5),))},
        {"attack": replace(_PLAIN, parameters=(("x", "1"),))},
        {"adversary": Adversary.ADAPTIVE},
        {"seed": 1},
        {"budget": 101},
    ],
)
def test_every_part_of_the_question_is_part_of_the_name(change: dict[str, object]) -> None:
    assert replace(_CELL, **change).id != _CELL.id  # type: ignore[arg-type]


def test_what_follows_from_the_cards_is_no_part_of_the_name() -> None:
    reworded = replace(_CELL, incompatible="cannot be", attack=replace(_PLAIN, label="a[x=1]"))
    assert reworded.id == _CELL.id


def test_the_name_of_a_cell_never_changes() -> None:
    # Published records are named like this: a change here orphans them.
    assert _CELL.id == "2dc22b6a5e4bb9cb"


@pytest.mark.parametrize(
    "damage",
    [
        {"attack": None},
        {"checkpoint": "never"},
        {"attack": {"name": "a"}},
        {"attack": {"name": "a", "parameters": [1], "label": "a"}},
        {"colour": "red"},
    ],
)
def test_what_is_no_cell_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Cell.from_json({**_CELL.to_json(), **damage})
