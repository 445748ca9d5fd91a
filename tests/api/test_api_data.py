"""Where files of data sets are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.api import UsageError, data_folder, find_data, searched
from bench.cache.sources import content_digest
from bench.plugins import build_dataset, resolve
from tests.real_data import needs, real


def test_a_relative_path_is_looked_for_here_and_then_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here/both", "data/both", "data/there"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert data_folder() is None
    assert find_data("there") == Path("there") and str(tmp_path / "here") in searched()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    assert find_data("there") == tmp_path / "data" / "there"
    assert find_data("both") == Path("both")
    assert find_data("neither") == Path("neither")
    assert find_data(str(tmp_path / "here" / "both")) == tmp_path / "here" / "both"
    assert str(tmp_path / "data") in searched()


def test_a_data_folder_that_is_no_folder_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", "/nowhere/at/all")
    with pytest.raises(UsageError, match=r"BENCH_DATA.*/nowhere/at/all"):
        find_data("faces")


def test_a_path_that_is_nowhere_names_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(UsageError) as raised:
        resolve("dataset", "folder", {"path": "faces"})
    assert str(Path.cwd()) in str(raised.value) and str(tmp_path) in str(raised.value)


@needs("orl_faces")
def test_real_images_of_the_data_folder_are_read_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = real("orl_faces")
    monkeypatch.setenv("BENCH_DATA", str(place.parent))
    monkeypatch.chdir(tmp_path)
    data = build_dataset("folder", {"path": "orl_faces", "channels": 1})
    splits = data.splits(seed=0)
    parts = (splits.private_train, splits.private_test, splits.auxiliary)
    assert data.num_classes == 40 and sum(map(len, parts)) == 400
    assert all(part.images.std() > 0.1 for part in parts)
    assert content_digest(find_data("orl_faces")) == content_digest(place), "results know the images by bytes"
