"""Data sets whose files are elsewhere: their cells are ``n/a``, with the command that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.api.errors import UsageError
from bench.matrix import Filters, expand, load_matrix
from bench.matrix.absent import without_data
from bench.matrix.user_inputs import within_data
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


def test_a_file_with_a_named_digest_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    asked = load_matrix("smoke")
    with pytest.raises(UsageError, match=r"there is no sub/mine\.npz"):
        expand(asked, Filters(datasets=("arrays[path=sub/mine.npz]",)))
    with pytest.raises(UsageError, match=r"write arrays\[path=...\]"):
        expand(asked, Filters(datasets=("arrays[digest=0123456789ab]",)))

    named = Filters(datasets=("arrays[path=sub/mine.npz,digest=0123456789ab]",))
    cells = without_data(expand(asked, named))
    assert cells and all(cell.incompatible for cell in cells)
    reasons = {cell.incompatible for cell in cells if "mine.npz" in cell.incompatible}
    assert len(reasons) == 1 and str(tmp_path) not in reasons.pop(), "the same on every machine"
    within_data(cells, named)

    (tmp_path / "sub").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (330, 16, 16), dtype=np.uint8)
    np.savez_compressed(tmp_path / "sub" / "mine.npz", images=pixels, labels=np.arange(330) % 3)
    cells = without_data(expand(asked, named))
    assert not all(cell.incompatible for cell in cells)
    with pytest.raises(UsageError, match=r"mine\.npz is [0-9a-f]{64}, expected 0123456789ab") as refused:
        within_data(cells, named)
    right = str(refused.value).partition("mine.npz is ")[2][:16]
    found = Filters(datasets=(f"arrays[path=sub/mine.npz,digest={right}]",))
    within_data(without_data(expand(asked, found)), found)
