"""Fashion-MNIST: the same pixels from every source, and files that are refused with what to do."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import BenchError, Dataset, ImageSet, Splits, UsageError
from bench.check.findings import Verdict
from bench.check.place import Subject
from bench.check.run import promises, try_promise
from bench.plugins import build_dataset, dataset_card, find

FASHION = import_module("bench.datasets.fashion_mnist.dataset")
REAL = Path(os.environ.get("FASHION_MNIST", FASHION.DEBIAN))
NAMES = [f"{half}-{what}-ubyte" for half in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
SMALL = {"train": 700, "t10k": 100}
SIZES = {"private": 300, "test": 250, "auxiliary": 250}

real = pytest.mark.skipif(
    not (REAL / f"{NAMES[0]}.gz").is_file(),
    reason=f"Fashion-MNIST is not in {REAL}: apt install dataset-fashion-mnist, or FASHION_MNIST=DIR",
)


def idx(values: np.ndarray[Any, Any], magic: int) -> bytes:
    return np.array([magic, *values.shape], dtype=">i4").tobytes() + values.tobytes()


def written(root: Path) -> tuple[Path, str]:
    """Random images in four plain IDX files, and the digest of their pixels and labels."""
    root.mkdir(parents=True)
    chance = np.random.default_rng(0)
    pixels, classes = b"", b""
    for half, count in SMALL.items():
        images = chance.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (root / f"{half}-images-idx3-ubyte").write_bytes(idx(images, 2051))
        (root / f"{half}-labels-idx1-ubyte").write_bytes(idx(labels, 2049))
        pixels, classes = pixels + images.tobytes(), classes + labels.tobytes()
    return root, hashlib.sha256(pixels + classes).hexdigest()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 800 images that stands for the whole data set."""
    root, digest = written(tmp_path / "small")
    card = dataset_card("fashion_mnist").model_copy(update={"sha256": digest})
    monkeypatch.setattr(FASHION, "COUNTS", SMALL)
    monkeypatch.setattr(FASHION, "read_card", lambda path, kind: card)
    return root


def built(root: Path, **parameters: Any) -> Dataset:
    return build_dataset("fashion_mnist", {"root": str(root), **SIZES, **parameters})


def parts(splits: Splits) -> list[ImageSet]:
    return [splits.private_train, splits.private_test, splits.auxiliary]


def same(one: Splits, other: Splits) -> bool:
    pairs = zip(parts(one), parts(other), strict=True)
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def packed(root: Path, *names: str) -> None:
    for name in names:
        (root / f"{name}.gz").write_bytes(gzip.compress((root / name).read_bytes()))
        (root / name).unlink()


def test_splits_have_the_sizes_asked_for_and_share_no_image(files: Path) -> None:
    found = parts(built(files).splits(seed=0))
    assert [len(part) for part in found] == [300, 250, 250]
    for part in found:
        assert part.images.shape[1:] == (1, 32, 32) and part.images.dtype == torch.float32
        assert part.labels.dtype == torch.int64 and part.labels.unique().tolist() == list(range(10))
        assert part.images.min() == 0 and part.images.max() == 1
        border = part.images.clone()
        border[..., 2:-2, 2:-2] = 0
        assert not border.any()
    everything = torch.cat([part.images for part in found])
    assert len(everything.flatten(1).unique(dim=0)) == sum(SMALL.values())


def test_images_keep_their_labels(files: Path) -> None:
    raw = np.frombuffer((files / NAMES[0]).read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    of_image = {image.tobytes(): number % 10 for number, image in enumerate(raw)}
    part = built(files).splits(seed=0).private_train
    pixels = (part.images[:, 0, 2:-2, 2:-2] * 255).round().byte().numpy()
    known = [of_image.get(image.tobytes()) for image in pixels]
    assert sum(label is not None for label in known) > 200  # the rest is of the other half
    assert all(a in (None, b) for a, b in zip(known, part.labels.tolist(), strict=True))


def test_the_seed_decides(files: Path) -> None:
    first = built(files).splits(seed=0)
    assert same(first, built(files).splits(seed=0))
    assert not torch.equal(first.private_train.images, built(files).splits(seed=1).private_train.images)


def test_a_smaller_split_is_the_beginning_of_a_larger_one(files: Path) -> None:
    large, small = built(files).splits(seed=0), built(files, private=250).splits(seed=0)
    assert torch.equal(small.private_train.images, large.private_train.images[:250])


def test_packed_plain_mixed_and_torchvisions_files_are_the_same(files: Path) -> None:
    plain = built(files).splits(seed=3)
    packed(files, NAMES[0], NAMES[3])
    assert same(built(files).splits(seed=3), plain)
    packed(files, NAMES[1], NAMES[2])
    assert same(built(files).splits(seed=3), plain)
    below = files.parent / "torchvision"
    (below / "FashionMNIST").mkdir(parents=True)
    files.rename(below / "FashionMNIST" / "raw")
    assert same(built(below).splits(seed=3), plain)


def test_without_a_root_debians_folder_is_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FASHION, "DEBIAN", files)
    assert same(FASHION.FashionMnist(**SIZES).splits(seed=0), built(files).splits(seed=0))
    assert same(build_dataset("fashion_mnist", dict(SIZES)).splits(seed=0), built(files).splits(seed=0))
    monkeypatch.setattr(FASHION, "DEBIAN", files / "gone")
    with pytest.raises(BenchError, match=rf"gone/{NAMES[0]}.gz.*apt install dataset-fashion-mnist"):
        FASHION.FashionMnist(**SIZES).splits(seed=0)


def cut(data: bytes) -> bytes:
    return data[:-1]


def longer(data: bytes) -> bytes:
    return data + b"\0"


def other_magic(data: bytes) -> bytes:
    return b"\x00\x00\x0d\x03" + data[4:]


def other_pixel(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


BROKEN: list[Any] = [
    (cut, r"{name}.*\d+ bytes.*\d+"),
    (longer, r"{name}.*\d+ bytes.*\d+"),
    (other_magic, r"{name}.*00000d03.*0000080[13].*700"),
    (lambda data: b"", "{name}"),
    (other_pixel, r"sha256.*[0-9a-f]{{64}}.*[0-9a-f]{{64}}"),
]


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(("change", "facts"), BROKEN)
@pytest.mark.parametrize("name", NAMES[:2])
def test_other_bytes_are_refused(
    files: Path, name: str, change: Callable[[bytes], bytes], facts: str, pack: bool
) -> None:
    (files / name).write_bytes(change((files / name).read_bytes()))
    if pack:
        packed(files, name)
    shown = f"{name}.gz" if pack else name
    with pytest.raises(BenchError, match=rf"fashion_mnist: .*{facts.format(name=shown)}.*root=DIR"):
        built(files).splits(seed=0)


@pytest.mark.parametrize("change", [cut, lambda data: data[: len(data) // 2], lambda data: b"no archive"])
def test_a_torn_archive_is_named(files: Path, change: Callable[[bytes], bytes]) -> None:
    packed(files, NAMES[2])
    path = files / f"{NAMES[2]}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BenchError, match=re.escape(path.name)):
        built(files).splits(seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named_with_what_to_do(files: Path, name: str) -> None:
    (files / name).unlink()
    with pytest.raises(BenchError, match=rf"{files}/{name}.gz .*download=true"):
        built(files).splits(seed=0)


def test_some_of_the_files_are_not_here(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FASHION, "DEBIAN", files)
    monkeypatch.setenv("BENCH_DATA", str(files.parent))
    ours = files.parent / "fashion_mnist"
    ours.mkdir()
    (ours / NAMES[0]).write_bytes((files / NAMES[0]).read_bytes())
    data = FASHION.FashionMnist(**SIZES)
    assert data.missing() == "" and data.place() == files, "the other folder holds all four"
    (files / NAMES[3]).unlink()
    assert NAMES[3] in data.missing() and NAMES[1] not in data.missing()
    assert "bench data get fashion_mnist" in data.missing()


def test_nothing_is_downloaded_unless_asked_for(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(root: str, *, download: bool) -> None:
        asked.append(root)
        assert download
        (Path(root) / "FashionMNIST").mkdir()
        files.rename(Path(root) / "FashionMNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", fetch)
    empty = files.parent / "empty"
    empty.mkdir()
    with pytest.raises(BenchError, match=str(empty)):
        built(empty).splits(seed=0)
    with pytest.raises(UsageError, match="root=DIR"):
        FASHION.FashionMnist(**SIZES, download=True)
    asking = built(empty, download=True)
    assert asked == []
    assert len(asking.splits(seed=0).auxiliary) == 250
    assert asked == [str(empty)]


def test_a_failed_download_says_what_else_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(root: str, *, download: bool) -> None:
        raise RuntimeError("unreachable")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", fetch)
    with pytest.raises(BenchError, match=f"{tmp_path}.*unreachable"):
        built(tmp_path, download=True).splits(seed=0)


def test_more_images_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"70001.*70000"):
        built(tmp_path, private=60_000, test=5000, auxiliary=5001)
    with pytest.raises(UsageError, match=r"auxiliary: .*249.*250"):
        built(tmp_path, auxiliary=249)


@real
def test_the_real_files_hold_70000_different_images() -> None:
    pixels, classes = FASHION._load(REAL)
    assert len({hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels}) == 70_000
    assert classes.bincount().tolist() == [7000] * 10


@real
@pytest.mark.parametrize("name", [name for name in promises("dataset") if name != "imports"])
def test_the_real_files_keep_every_promise(name: str) -> None:
    folder = find("dataset", "fashion_mnist").folder
    item = try_promise(name, Subject("dataset", "fashion_mnist", folder, {"root": str(REAL)}))
    assert item.verdict is Verdict.OK, item.message
