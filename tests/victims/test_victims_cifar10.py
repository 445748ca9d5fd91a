"""CIFAR-10's binary version: from archive or files, never one copy for the other."""

from __future__ import annotations

import hashlib
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import BenchError, DataMissing, Dataset, ImageSet, UsageError
from bench.api.cards import Value
from bench.check.findings import Verdict
from bench.check.place import Subject
from bench.check.run import promises, try_promise
from bench.plugins import build_dataset, dataset_card, find
from tests.real_data import needs, real

CIFAR = import_module("bench.datasets.cifar10.dataset")
SIZES = {"private": 250, "test": 64, "auxiliary": 64}
COUNTS = {"official": [60] * 5 + [100], "jpeg": [80] * 5 + [50]}
Rows = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR, "COUNTS", COUNTS)


def official(copy: str = "official", seed: int = 0) -> Rows:
    """Random rows: a label, then 3,072 bytes."""
    chance = np.random.default_rng(seed)
    rows = chance.integers(0, 256, (sum(COUNTS[copy]), CIFAR.ROW), dtype=np.uint8)
    rows[:, 0] %= 10
    return rows


def written(root: Path, rows: Rows, copy: str = "official") -> Path:
    folder = root / CIFAR.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(CIFAR.FILES, np.split(rows, np.cumsum(COUNTS[copy])[:-1]), strict=True):
        (folder / name).write_bytes(part.tobytes())
    return folder


def digest(rows: Rows) -> str:
    """As the card's notes say."""
    named = sorted(hashlib.sha256(row[1:].tobytes()).digest() + row[:1].tobytes() for row in rows)
    return hashlib.sha256(b"".join(named)).hexdigest()


def built(root: Path, rows: Rows, **parameters: Any) -> Dataset:
    return build_dataset("cifar10", {"root": str(root), "digest": digest(rows), **SIZES, **parameters})


def parts(data: Dataset, seed: int = 0) -> list[ImageSet]:
    splits = data.splits(seed=seed)
    return [splits.private_train, splits.private_test, splits.auxiliary]


def same(one: list[ImageSet], other: list[ImageSet]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def test_planes_are_colours_and_keep_their_labels(tmp_path: Path) -> None:
    rows = official()
    held = {row[1:].tobytes(): int(row[0]) for row in rows}
    for found, count in zip(parts(built(written(tmp_path, rows), rows)), SIZES.values(), strict=True):
        assert found.images.shape == (count, 3, 32, 32) and found.images.dtype == torch.float32
        for image, label in zip((found.images * 255).round().byte().numpy(), found.labels, strict=True):
            assert held[image.tobytes()] == label


def test_the_order_in_the_files_does_not_matter(tmp_path: Path) -> None:
    rows = official()
    turned = np.random.default_rng(1).permutation(rows)
    one, other = (
        built(written(tmp_path / name, some), rows) for name, some in (("one", rows), ("other", turned))
    )
    assert same(parts(one), parts(other))
    assert not torch.equal(parts(one, 1)[0].images, parts(one)[0].images)


def test_equal_images_are_kept_once_and_those_with_two_labels_not_at_all(tmp_path: Path) -> None:
    rows = official()
    rows[5], rows[7], rows[350] = rows[300], rows[200], rows[200]
    rows[7, 0] = (rows[200, 0] + 1) % 10
    folder = written(tmp_path, rows)
    count = len(rows) - 1 - 3
    found = parts(built(folder, rows, auxiliary=count - 314))
    assert len(torch.cat([part.images for part in found]).flatten(1).unique(dim=0)) == count
    with pytest.raises(UsageError, match=rf"{count + 1}.*{count}"):
        parts(built(folder, rows, auxiliary=count - 313))


def test_the_archive_is_known_by_its_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = official()
    folder = written(tmp_path / "files", rows)
    data = tmp_path / "data"
    data.mkdir()
    with tarfile.open(data / CIFAR.ARCHIVE, "w:gz") as archive:
        archive.add(folder, CIFAR.FOLDER)
    monkeypatch.setenv("BENCH_DATA", str(data))
    plain = build_dataset("cifar10", SIZES)
    with pytest.raises(BenchError, match=f"MD5.*{CIFAR.MD5}"):
        parts(plain)
    monkeypatch.setattr(CIFAR, "MD5", hashlib.md5((data / CIFAR.ARCHIVE).read_bytes()).hexdigest())
    assert same(parts(plain), parts(built(folder, rows)))
    assert build_dataset("cifar10", {"copy": "jpeg"}).missing(), "an archive is the official copy"
    (data / CIFAR.ARCHIVE).write_bytes(b"torn")
    monkeypatch.setattr(CIFAR, "MD5", hashlib.md5(b"torn").hexdigest())
    with pytest.raises(BenchError, match=CIFAR.ARCHIVE):
        parts(plain)


def test_neither_copy_is_taken_for_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = official(), official("jpeg", 1)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    jpeg = built(tmp_path, theirs, copy="jpeg")
    written(tmp_path / "other", theirs, "jpeg")
    with pytest.raises(DataMissing, match="bench data get cifar10"):
        build_dataset("cifar10", {}).splits(seed=0)
    assert parts(jpeg)
    folder = written(tmp_path, ours)
    assert same(
        parts(jpeg), parts(build_dataset("cifar10", {**SIZES, "copy": "jpeg", "digest": digest(theirs)}))
    )
    assert same(
        parts(built(folder, ours)), parts(build_dataset("cifar10", {**SIZES, "digest": digest(ours)}))
    )
    with pytest.raises(BenchError, match=f"digest={digest(ours)[:16]}"):
        build_dataset("cifar10", {}).splits(seed=0)
    with pytest.raises(BenchError, match=f"{digest(ours)}.*{digest(theirs)}"):
        parts(built(folder, theirs))
    with pytest.raises(BenchError, match=rf"{digest(theirs)}.*{dataset_card('cifar10').sha256}"):
        build_dataset("cifar10", {"copy": "jpeg"}).splits(seed=0)


def test_labels_and_torn_files_are_refused(tmp_path: Path) -> None:
    rows = official()
    rows[3, 0] = 10
    folder = written(tmp_path, rows)
    with pytest.raises(BenchError, match=r"label 10.*0\.\.9"):
        parts(built(folder, rows))
    (folder / CIFAR.FILES[2]).write_bytes(b"short")
    with pytest.raises(DataMissing, match=str(folder)):
        parts(built(folder, rows))


@needs("cifar-10-jpeg/cifar-10-batches-bin")
def test_the_jpeg_copy_is_that_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR, "COUNTS", {"jpeg": [2_000] * 5 + [5_000]})
    data = build_dataset("cifar10", {"copy": "jpeg", "root": str(real("cifar-10-jpeg"))})
    found = parts(data)
    assert [len(part) for part in found] == [5000, 2000, 5000]
    assert all(part.labels.bincount().min() > len(part) / 13 for part in found)


@needs("cifar-10-jpeg/cifar-10-batches-bin")
@pytest.mark.parametrize("name", [name for name in promises("dataset") if name != "imports"])
def test_the_jpeg_copy_keeps_every_promise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR, "COUNTS", {"jpeg": [2_000] * 5 + [5_000], "official": [10_000] * 6})
    parameters: dict[str, Value] = {"copy": "jpeg", "root": str(real("cifar-10-jpeg"))}
    item = try_promise(name, Subject("dataset", "cifar10", find("dataset", "cifar10").folder, parameters))
    assert item.verdict is Verdict.OK, item.message
