"""Data sets whose files are elsewhere: their cells are ``n/a``, with the command that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.matrix import Filters, expand, load_matrix
from bench.matrix.absent import without_data
from bench.plugins import build_dataset, discover

PINNED = [
    name
    for name, plugin in discover("dataset").plugins.items()
    if getattr(plugin.card, "sha256", "") and any(item.path for item in plugin.card.parameters.values())
]


@pytest.mark.parametrize("name", PINNED)
def test_absent_data_are_not_applicable_and_name_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    data = build_dataset(name, {})
    if not data.missing():
        pytest.skip(f"{name} is on this machine: {data.place()}")
    cells = without_data(expand(load_matrix("smoke"), Filters(datasets=(name,))))
    assert cells and all(cell.incompatible for cell in cells)
    assert any(f"bench data get {name}" in cell.incompatible for cell in cells)
