from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api.errors import UsageError
from bench.matrix import Cell, Filters, expand, load_matrix, parse_variant
from tests.api.plugin_folders import BLOCK, Folders

TWO_BLOCKS: list[Mapping[str, object]] = [
    {"defenses": [{"name": "blur", "scale": [0.1, 0.2]}], "models": ["lenet"]},
    {"defenses": ["open"], "models": ["convnet"]},
]


def cells_of(folders: Folders, filters: Filters) -> list[Cell]:
    folders.add("defense", "open", {"strength": "", "parameters": {}})
    folders.add("attack", "other")
    path = folders.matrix({"seeds": [0], "block": [{**BLOCK, **block} for block in TWO_BLOCKS]})
    return expand(load_matrix(str(path)), filters)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("dlg", ("dlg", {})),
        ("dlg[]", ("dlg", {})),
        (" noise[sigma=0.01] ", ("noise", {"sigma": 0.01})),
        ("a_b-2[x=1, y=true,z=word , w=-1e-3]", ("a_b-2", {"x": 1, "y": True, "z": "word", "w": -0.001})),
        ("a[x=null,y={},z=]", ("a", {"x": "null", "y": "{}", "z": ""})),
        ('a[x="2"]', ("a", {"x": "2"})),
    ],
)
def test_a_filter_is_a_name_and_parameters(text: str, parsed: tuple[str, dict[str, object]]) -> None:
    assert parse_variant(text) == parsed


@pytest.mark.parametrize(
    ("text", "at_fault"),
    [
        ("", ""),
        ("noise[sigma=1", ""),
        ("noise sigma=1", ""),
        ("noise[sigma]", "'sigma'"),
        ("noise[=1]", "'=1'"),
        ("noise[a=1,a=2]", "a"),
    ],
)
def test_another_form_is_refused(text: str, at_fault: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(repr(text))}: .*{at_fault}"):
        parse_variant(text)


@given(st.text() | st.text("ab[]=,{}\"'0123456789.eE-+ \n\x1b"))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        name, _ = parse_variant(text)
    except UsageError as error:
        assert str(error).startswith(repr(text))
    else:
        assert name


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_a_monstrous_value_is_only_a_word(value: str) -> None:
    assert parse_variant(f"a[x={value}]") == ("a", {"x": value})


def test_without_filters_everything_runs(folders: Folders) -> None:
    found = [(c.defense.name, c.strength, c.model) for c in cells_of(folders, Filters())]
    assert found == [("blur", 0.1, "lenet"), ("blur", 0.2, "lenet"), ("open", None, "convnet")]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        # What the matrix has is restricted, in the blocks that have it.
        (Filters(defenses=("blur",)), [("guess", "blur", 0.1, "lenet"), ("guess", "blur", 0.2, "lenet")]),
        (Filters(defenses=("blur[scale=0.2]",)), [("guess", "blur", 0.2, "lenet")]),
        # As tables print it: with its strength, and with the backslashes of Markdown.
        (Filters(defenses=("blur=0.2",)), [("guess", "blur", 0.2, "lenet")]),
        (Filters(defenses=(r"blur\[shape=flat\] = 0.2",)), [("guess", "blur", 0.2, "lenet")]),
        (Filters(models=("convnet",)), [("guess", "open", None, "convnet")]),
        (
            Filters(defenses=("open", "blur[scale=0.1]")),
            [("guess", "blur", 0.1, "lenet"), ("guess", "open", None, "convnet")],
        ),
        # A parameter that the matrix does not have is added where its plug-in is.
        (Filters(defenses=("blur[scale=3]",)), [("guess", "blur", 3.0, "lenet")]),
        # What the matrix does not have takes the place of its own everywhere.
        (
            Filters(attacks=("other",)),
            [
                ("other", "blur", 0.1, "lenet"),
                ("other", "blur", 0.2, "lenet"),
                ("other", "open", None, "convnet"),
            ],
        ),
        (
            Filters(attacks=("other", "guess"), models=("convnet",)),
            [("other", "open", None, "convnet"), ("guess", "open", None, "convnet")],
        ),
        (Filters(limit=1), [("guess", "blur", 0.1, "lenet")]),
        (Filters(limit=99, models=("convnet", "convnet")), [("guess", "open", None, "convnet")]),
    ],
)
def test_filters_restrict_or_substitute(
    folders: Folders, filters: Filters, found: list[tuple[str, str, float | None, str]]
) -> None:
    cells = cells_of(folders, filters)
    assert [(c.attack.name, c.defense.name, c.strength, c.model) for c in cells] == found


def test_seeds_replace_the_matrix_s(folders: Folders) -> None:
    assert {cell.seed for cell in cells_of(folders, Filters(seeds=(7, 9)))} == {7, 9}


@pytest.mark.parametrize(
    ("filters", "facts"),
    [
        (Filters(attacks=("gess",)), "attack.*gess.*'guess'"),
        (Filters(attacks=("guess[stps=3]",)), r"guess\[stps=3].*'stps'.*'steps'"),
        (Filters(defenses=("blur[scale=-1]",)), r"blur\[scale=-1].*scale.*-1\.0"),
        (Filters(defenses=("blur = -1",)), r"blur = -1.*scale.*-1\.0"),
        (Filters(defenses=("blur[scale=1]=1",)), "scale.*twice"),
        (Filters(defenses=("blur==1",)), "blur==1"),
        (Filters(defenses=("open=1",)), "open has no strength"),
        (Filters(attacks=("guess=1",)), "guess has no strength"),
        (Filters(datasets=("dot",)), "dataset.*'dot'.*'dots'"),
        (Filters(models=("lenett",)), "model.*'lenett'.*'lenet'"),
        (Filters(defenses=("blur",), models=("convnet",)), r"mine\.toml"),  # they share no block
    ],
)
def test_a_wrong_filter_is_explained(folders: Folders, filters: Filters, facts: str) -> None:
    with pytest.raises(UsageError, match=facts):
        cells_of(folders, filters)


PLACES: list[Mapping[str, object]] = [
    {"models": ["lenet"], "checkpoints": ["initial", "trained"]},
    {"models": ["splitnet"], "checkpoints": ["trained"], "channel": "smashed"},
]


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (Filters(), {("gradients", "initial"), ("gradients", "trained"), ("smashed", "trained")}),
        (Filters(channels=("smashed",)), {("smashed", "trained")}),
        (Filters(checkpoints=("trained",)), {("gradients", "trained"), ("smashed", "trained")}),
        (Filters(channels=("gradients",), checkpoints=("trained",)), {("gradients", "trained")}),
        (
            Filters(channels=("smashed", "gradients"), checkpoints=("initial", "trained")),
            {("gradients", "initial"), ("gradients", "trained"), ("smashed", "trained")},
        ),
    ],
)
def test_channels_and_checkpoints_only_restrict(
    folders: Folders, filters: Filters, left: set[tuple[str, str]]
) -> None:
    path = folders.matrix({"seeds": [0], "block": [{**BLOCK, **block} for block in PLACES]})
    cells = expand(load_matrix(str(path)), filters)
    assert {(str(cell.channel), str(cell.checkpoint)) for cell in cells} == left


@pytest.mark.parametrize(
    ("filters", "facts"),
    [
        (Filters(channels=("smashd",)), "channel.*'smashd'.*'smashed'"),
        (Filters(checkpoints=("smashed", "old")), "checkpoint.*'smashed'.*initial.*trained"),
        (Filters(channels=("smashed",), checkpoints=("initial",)), r"mine\.toml"),
        (Filters(channels=("model",)), r"mine\.toml"),
    ],
)
def test_what_no_block_has_is_said(folders: Folders, filters: Filters, facts: str) -> None:
    path = folders.matrix({"seeds": [0], "block": [{**BLOCK, **block} for block in PLACES]})
    with pytest.raises(UsageError, match=facts):
        expand(load_matrix(str(path)), filters)
