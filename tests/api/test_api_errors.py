from __future__ import annotations

import re
import subprocess
import sys

import pytest

import bench.api
from bench.api.errors import nearest, unknown


@pytest.mark.parametrize(
    ("name", "known", "facts"),
    [
        ("dgl", ["dlg", "prior"], "'dgl'.*'dlg'"),
        ("x", ["dlg", "prior"], "'x'.*dlg, prior"),
        ("x", [], "'x'.*none"),
    ],
)
def test_a_misspelt_name_is_answered_with_what_was_meant(name: str, known: list[str], facts: str) -> None:
    error = str(unknown("attack", name, known))
    assert re.search(f"attack {facts}", error)
    assert str(unknown("attack", name, known, where="f.toml: block.0")) == f"f.toml: block.0: {error}"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dgl", "dlg"),
        ("idgl", "idlg"),
        ("inverting_gradeints", "inverting_gradients"),
        ("inverting-gradients", "inverting_gradients"),
        ("DLG", "dlg"),
        ("ggll", "ggl"),
        ("quite_another", ""),
    ],
)
def test_letters_that_have_changed_places_are_one_mistake(typed: str, meant: str) -> None:
    known = ["dlg", "idlg", "ggl", "glass", "gias", "inverting_gradients", "inverse_network"]
    assert nearest(typed, known) == meant


def test_every_public_name_can_be_imported() -> None:
    for name in bench.api.__all__:
        assert getattr(bench.api, name) is not None
    with pytest.raises(AttributeError, match="'Atack'"):
        _ = bench.api.Atack


def test_the_contracts_load_torch_only_when_it_is_needed() -> None:
    code = "import sys; from bench.api import Channel, PluginError; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
