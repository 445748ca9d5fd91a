from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.api.errors import UsageError
from bench.matrix import Cell, expand, load_matrix
from tests.api.plugin_folders import BLOCK, MATRIX, Folders, toml_file
from tests.api.strategies import mutated, read_or_refused

# The folders are only read: examples may share them.
shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

RICH = {
    **BLOCK,
    "attacks": ["guess", {"name": "guess", "steps": [5, 6]}],
    "defenses": [{"name": "blur", "scale": [0.1, 1], "shape": "peaked"}],
    "epochs": 2,
}


@settings(shared, max_examples=150)
@given(text=st.text())
def test_no_text_breaks_the_reader(folders: Folders, text: str) -> None:
    file = folders.root / "mine.toml"
    read_or_refused(file, text, lambda: load_matrix(str(file)))


@settings(shared, max_examples=400)
@given(data=st.data())
def test_no_structure_breaks_the_expansion(folders: Folders, data: st.DataObject) -> None:
    file = folders.root / "mine.toml"
    content = data.draw(mutated(copy.deepcopy({**MATRIX, "block": [RICH, BLOCK]})))
    cells = read_or_refused(file, toml_file(content), lambda: expand(load_matrix(str(file))))
    for cell in cells or []:
        assert Cell.from_json(cell.to_json()) == cell


@pytest.mark.parametrize("key", ["model_config", "sweeps", "__class__", "name_", "model_fields", "self"])
def test_a_parameter_with_an_odd_name_is_only_unknown(folders: Folders, key: str) -> None:
    file = folders.matrix({"block": [{**BLOCK, "attacks": [{"name": "guess", key: 1}]}]})
    with pytest.raises(UsageError, match=f"block.0.attacks.0: .*guess '{key}'"):
        expand(load_matrix(str(file)))
