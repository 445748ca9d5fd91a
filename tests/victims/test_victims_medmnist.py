"""MedMNIST's official files: one order whatever the file's, no image twice, and nothing unchecked."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import BenchError, DataMissing, Dataset, ImageSet, UsageError
from bench.matrix import Filters, expand, load_matrix, parse_variant
from bench.matrix.absent import without_data
from bench.plugins import build_dataset, dataset_card, resolve
from tests.real_data import needs, real
from tests.victims.test_victims_arrays import zipped

SUBSETS = import_module("bench.datasets.medmnist.dataset").SUBSETS
SIZES = {"private": 250, "test": 64, "auxiliary": 64}
Arrays = dict[str, np.ndarray[Any, Any]]


def official(
    seed: int = 0, *, side: int = 28, channels: int = 1, classes: int = 2, count: int = 400
) -> Arrays:
    """Random images in the layout of an official file; they carry no more than that."""
    chance = np.random.default_rng(seed)
    shape = (count, side, side) if channels == 1 else (count, side, side, channels)
    pixels = chance.integers(0, 256, shape, dtype=np.uint8)
    labels = chance.integers(0, classes, (count, 1), dtype=np.uint8)
    cuts = {"train": slice(0, 280), "val": slice(280, 330), "test": slice(330, count)}
    made = {f"{part}_images": pixels[cut] for part, cut in cuts.items()}
    return made | {f"{part}_labels": labels[cut] for part, cut in cuts.items()}


def shuffled(arrays: Arrays, seed: int = 1) -> Arrays:
    """The same rows in another order, over the borders of the parts."""
    parts = ("train", "val", "test")
    pixels, labels = (np.concatenate([arrays[f"{p}_{kind}"] for p in parts]) for kind in ("images", "labels"))
    order = np.random.default_rng(seed).permutation(len(labels))
    ends = np.cumsum([len(arrays[f"{p}_labels"]) for p in parts])[:-1]
    made = dict(zip((f"{p}_images" for p in parts), np.split(pixels[order], ends), strict=True))
    return made | dict(zip((f"{p}_labels" for p in parts), np.split(labels[order], ends), strict=True))


def digest(arrays: Arrays) -> str:
    """As the card's notes say."""
    rows = [
        hashlib.sha256(image.tobytes()).digest() + label.tobytes()
        for part in ("train", "val", "test")
        for image, label in zip(arrays[f"{part}_images"], arrays[f"{part}_labels"], strict=True)
    ]
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def dataset(folder: Path, arrays: Arrays, name: str = "pneumoniamnist.npz", **parameters: Any) -> Dataset:
    np.savez_compressed(folder / name, **arrays)  # type: ignore[arg-type]
    return build_dataset("medmnist", {"root": str(folder), "digest": digest(arrays), **SIZES, **parameters})


def parts(data: Dataset, seed: int = 0) -> list[ImageSet]:
    splits = data.splits(seed=seed)
    return [splits.private_train, splits.private_test, splits.auxiliary]


def test_images_are_bytes_over_255_padded_in_black(tmp_path: Path) -> None:
    arrays = official()
    data = dataset(tmp_path, arrays)
    assert (data.num_classes, data.image_shape) == (2, (1, 32, 32))
    held = {}
    for part in ("train", "val", "test"):
        for image, label in zip(arrays[f"{part}_images"], arrays[f"{part}_labels"], strict=True):
            held[image.tobytes()] = int(label[0])
    for found, count in zip(parts(data), SIZES.values(), strict=True):
        assert found.images.shape == (count, 1, 32, 32) and found.images.dtype == torch.float32
        inner = found.images[:, 0, 2:-2, 2:-2]
        border = found.images.clone()
        border[..., 2:-2, 2:-2] = 0
        assert not border.any()
        for image, label in zip((inner * 255).round().byte().numpy(), found.labels.tolist(), strict=True):
            assert held[image.tobytes()] == label


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_in_the_file_does_not_matter(tmp_path: Path, seed: int) -> None:
    arrays = official()
    (tmp_path / "copy").mkdir()
    one, other = (
        parts(dataset(folder, rows), seed)
        for folder, rows in ((tmp_path, arrays), (tmp_path / "copy", shuffled(arrays)))
    )
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)
    again = parts(
        build_dataset("medmnist", {"root": str(tmp_path), "digest": digest(arrays), **SIZES}), seed + 1
    )
    assert not torch.equal(again[0].images, one[0].images)


def test_equal_images_are_kept_once_and_those_with_two_labels_not_at_all(tmp_path: Path) -> None:
    arrays = official(count=379)  # one more than the three parts take, two twins below
    arrays["test_images"][3] = arrays["train_images"][5]
    arrays["test_labels"][3] = arrays["train_labels"][5]
    found = torch.cat([part.images for part in parts(dataset(tmp_path, arrays))]).flatten(1)
    assert len(found) == len(found.unique(dim=0)) == sum(SIZES.values())
    arrays["test_labels"][3] = 1 - arrays["train_labels"][5]
    with pytest.raises(UsageError, match=r"pneumoniamnist.*378.*377"):
        parts(dataset(tmp_path, arrays))


def test_other_sets_and_sizes_are_read_with_a_digest_of_the_users(tmp_path: Path) -> None:
    arrays = official(side=64, channels=3, classes=8)
    data = dataset(tmp_path, arrays, "bloodmnist_64.npz", subset="bloodmnist", size=64)
    assert (data.num_classes, data.image_shape) == (8, (3, 64, 64))
    first = parts(data)[0].images[0]
    assert (first * 255).round().byte().permute(1, 2, 0).numpy().tobytes() in {
        image.tobytes() for part in ("train", "val", "test") for image in arrays[f"{part}_images"]
    }
    named: dict[str, Any] = {
        "root": str(tmp_path / "bloodmnist_64.npz"),
        "subset": "bloodmnist",
        "size": 64,
        **SIZES,
    }
    short = build_dataset("medmnist", {**named, "digest": digest(arrays)[:12]})
    assert torch.equal(parts(short)[0].images[0], first)
    with pytest.raises(BenchError, match=f"digest={digest(arrays)[:16]}"):
        parts(build_dataset("medmnist", named))
    with pytest.raises(UsageError, match="digest"):
        build_dataset("medmnist", {**named, "digest": "abc"})


def test_what_is_not_the_official_file_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **official())  # type: ignore[arg-type]
    plain = build_dataset("medmnist", {"root": str(tmp_path)})
    with pytest.raises(BenchError, match=str(dataset_card("medmnist").sha256)):
        plain.splits(seed=0)
    with pytest.raises(BenchError, match=r"train.*\(280, 14, 14\) uint8.*\(M, 28, 28\)"):
        parts(dataset(tmp_path, official(side=14)))
    with pytest.raises(BenchError, match="labels"):
        parts(dataset(tmp_path, official(classes=9)))
    objects = official()
    objects["val_images"] = np.array([{"a": 1}] * 50, dtype=object)
    np.savez(tmp_path / "pneumoniamnist.npz", **objects)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="allow_pickle"):
        plain.splits(seed=0)
    for patch in ({6: 1}, {8: 99}):  # encrypted, or packed in an unknown way
        np.savez(tmp_path / "pneumoniamnist.npz", **official())  # type: ignore[arg-type]
        zipped(tmp_path / "pneumoniamnist.npz", patch)
        with pytest.raises(BenchError, match=r"pneumoniamnist\.npz cannot be read"):
            plain.splits(seed=0)
    (tmp_path / "pneumoniamnist.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(BenchError, match=r"pneumoniamnist\.npz"):
        plain.splits(seed=0)


def test_without_the_file_cells_are_impossible_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"pneumoniamnist\.npz"):
        build_dataset("medmnist", {}).splits(seed=0)
    smoke = load_matrix("smoke")
    cells = without_data(expand(smoke, Filters(datasets=("medmnist",))))
    assert cells and all(cell.incompatible for cell in cells)
    assert any("pneumoniamnist.npz" in cell.incompatible for cell in cells)
    named = expand(smoke, Filters(datasets=(f"medmnist[root={tmp_path}]",)))
    assert without_data(named) == named, "a place that the user names is looked at when it is read"
    (tmp_path / "medmnist").mkdir()
    np.savez(tmp_path / "medmnist" / "pneumoniamnist.npz", **official())  # type: ignore[arg-type]
    here = expand(smoke, Filters(datasets=("medmnist",)))
    assert without_data(here) == here and any(not cell.incompatible for cell in here)
    ours = expand(smoke, Filters(datasets=("mnist5k",)))
    assert without_data(ours) == ours


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("size", [28, 64, 128])
def test_only_sets_that_can_be_fetched_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subset: str, size: int
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    why = build_dataset("medmnist", {"subset": subset, "size": size}).missing()
    assert ("bench data get" in why) is (size != 128)


def test_a_label_names_set_and_size() -> None:
    name, parameters = parse_variant("medmnist[subset=bloodmnist,size=64]")
    assert resolve("dataset", name, parameters)["size"] == 64
    with pytest.raises(UsageError, match=r"'chestmnist'.*'bloodmnist'"):
        build_dataset("medmnist", {"subset": "chestmnist"})


@needs("medmnist/pneumoniamnist.npz")
def test_the_official_chest_x_rays_are_those_of_the_card() -> None:
    data = build_dataset("medmnist", {"root": str(real("medmnist")), "private": 3000, "test": 1327})
    found = parts(data)
    assert [len(part) for part in found] == [3000, 1327, 1500]  # all that are left of 5,856
    everything = torch.cat([part.images for part in found]).flatten(1)
    assert len(everything.unique(dim=0)) == 5827
    assert torch.cat([part.labels for part in found]).double().mean().item() == pytest.approx(0.73, abs=0.005)


@needs("medmnist/pneumoniamnist.npz")
@pytest.mark.parametrize(("seed", "known"), [(0, "cf6a92acc6b37bfb"), (31, "d23785a2190da923")])
def test_published_splits_of_the_chest_x_rays_stay_as_they_are(seed: int, known: str) -> None:
    total = hashlib.sha256()
    for part in parts(build_dataset("medmnist", {"root": str(real("medmnist"))}), seed):
        total.update(part.images.numpy().tobytes() + part.labels.numpy().tobytes())
    assert total.hexdigest().startswith(known)
