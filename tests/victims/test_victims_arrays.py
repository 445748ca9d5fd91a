"""One file of NumPy arrays: what it may hold, and what is refused with the reason."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import format as npy

from bench.api import Dataset, ImageSet, UsageError
from bench.matrix import parse_variant
from bench.plugins import build_dataset, resolve
from tests.real_data import needs, real

Made = dict[str, Any]


def made(count: int = 330, *, shape: tuple[int, ...] = (28, 20), seed: int = 0) -> Made:
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 256, (count, *shape), dtype=np.uint8)
    return {"images": pixels, "labels": np.arange(count) % 3}


def built(folder: Path, arrays: Made, **parameters: int | str) -> Dataset:
    np.savez_compressed(folder / "mine.npz", **arrays)
    return build_dataset("arrays", {"path": str(folder / "mine.npz"), **parameters})


def parts(data: Dataset, seed: int = 0) -> list[ImageSet]:
    splits = data.splits(seed=seed)
    return [splits.private_train, splits.private_test, splits.auxiliary]


@pytest.mark.parametrize(
    ("shape", "wanted"), [((28, 20), (1, 32, 24)), ((16, 16, 3), (3, 16, 16)), ((11, 12, 1), (1, 16, 16))]
)
def test_grey_and_colour_are_padded_and_split(
    tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, int, int]
) -> None:
    data = built(tmp_path, made(shape=shape))
    assert (data.num_classes, data.image_shape) == (3, wanted)
    found = parts(data)
    assert [len(part) for part in found] == [165, 66, 99]
    assert all(part.images.shape[1:] == wanted for part in found)
    assert len(torch.cat([part.images for part in found]).flatten(1).unique(dim=0)) == 330
    assert not torch.equal(parts(data, 1)[0].images, found[0].images)
    sized = parts(built(tmp_path, made(shape=shape), private=100, auxiliary=70))
    assert [len(part) for part in sized] == [100, 66, 70]
    assert torch.equal(sized[0].images, found[0].images[:100])


def test_the_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    arrays = made()
    order = np.random.default_rng(1).permutation(330)
    one = parts(built(tmp_path, arrays))
    other = parts(built(tmp_path, {name: held[order] for name, held in arrays.items()}))
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)


def test_labels_with_gaps_are_numbered_in_ascending_order(tmp_path: Path) -> None:
    arrays = made()
    plain = parts(built(tmp_path, arrays))
    arrays["labels"] = np.array([2, 7, 250], np.uint8)[arrays["labels"]]
    for left, right in zip(plain, parts(built(tmp_path, arrays)), strict=True):
        assert torch.equal(left.labels, right.labels)


def test_equal_images_are_kept_once_and_those_with_two_labels_not_at_all(tmp_path: Path) -> None:
    arrays = made()
    arrays["images"][3], arrays["images"][10] = arrays["images"][0], arrays["images"][20]
    assert sum(map(len, parts(built(tmp_path, arrays)))) == 330 - 1 - 2
    with pytest.raises(UsageError, match=r"arrays.*328.*327"):
        parts(built(tmp_path, arrays, private=200, test=64, auxiliary=64))


def test_a_folder_may_hold_the_file(tmp_path: Path) -> None:
    one = parts(built(tmp_path, made()))
    assert torch.equal(parts(build_dataset("arrays", {"path": str(tmp_path)}))[0].images, one[0].images)
    (tmp_path / "second.npz").touch()
    with pytest.raises(UsageError, match=r"\b2 files"):
        build_dataset("arrays", {"path": str(tmp_path)})
    name, parameters = parse_variant(f"arrays[path={tmp_path}/mine.npz,private=100]")
    assert resolve("dataset", name, parameters)["private"] == 100


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"images": np.zeros((330, 16, 16))}, r"images are .*float64.*uint8"),
        ({"images": np.zeros((330, 16, 16, 2), np.uint8)}, r"images are \(330, 16, 16, 2\)"),
        ({"images": np.zeros((330, 256), np.uint8)}, r"images are \(330, 256\)"),
        ({"images": np.zeros((330, 4, 4), np.uint8)}, "8x8"),
        ({"images": np.array([{}] * 330)}, "images"),
        ({"labels": np.zeros(329, int)}, r"labels are \(329,\)"),
        ({"labels": np.zeros(330)}, r"labels are .*float64"),
        ({"labels": np.zeros(330, int)}, "1 different labels"),
        ({"labels": np.arange(330)}, "330 different labels"),
        ({"labels": np.arange(330) % 3 - 1}, "from -1 to 1.*0 or more"),
        ({"classes": np.array(["a", "b"])}, r"from 0 to 2.*0\.\.1"),
        ({"classes": np.array([["a", "b", "c"]])}, r"classes are \(1, 3\)"),
        ({"classes": np.array(["a", None, "c"])}, "classes.*allow_pickle"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, change: Made, facts: str) -> None:
    with pytest.raises(UsageError, match=rf"mine\.npz: .*{facts}"):
        built(tmp_path, {**made(), **change})


def test_torn_and_absent_files_and_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"99.*100"):
        parts(built(tmp_path, made(99)))
    with pytest.raises(UsageError, match=r"19.*20"):
        built(tmp_path, made(), test=19)
    with pytest.raises(UsageError, match="labels"):
        built(tmp_path, {"images": made()["images"]})
    with pytest.raises(UsageError, match=r"arrays\[path=...\]"):
        build_dataset("arrays", {})
    with pytest.raises(UsageError, match="gone"):
        build_dataset("arrays", {"path": str(tmp_path / "gone.npz")})
    (tmp_path / "mine.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(UsageError, match=r"mine\.npz"):
        build_dataset("arrays", {"path": str(tmp_path / "mine.npz")})


def test_a_digest_is_of_the_rows_and_not_of_the_file(tmp_path: Path) -> None:
    from bench.api import BenchError, DataMissing

    with pytest.raises(BenchError, match="expected 000000000000") as error:
        parts(built(tmp_path, made(), digest="0" * 12))
    right = re.findall(r"[0-9a-f]{64}", str(error.value))[0]
    arrays, order = made(), np.random.default_rng(1).permutation(330)
    assert parts(built(tmp_path, {name: held[order] for name, held in arrays.items()}, digest=right[:20]))
    other = {**arrays, "labels": (arrays["labels"] + 1) % 3}
    with pytest.raises(BenchError, match=right[:12]):
        parts(built(tmp_path, other, digest=right))
    with pytest.raises(UsageError, match="digest"):
        built(tmp_path, arrays, digest="0123")
    gone = build_dataset("arrays", {"path": str(tmp_path / "gone.npz"), "digest": right})
    assert "gone.npz" in gone.missing() and right in gone.missing()
    with pytest.raises(DataMissing):
        gone.splits(seed=0)


def zipped(path: Path, patch: dict[int, int]) -> None:
    """Patches bytes of both headers that a zip has for each file; places are those in the first one."""
    content = bytearray(path.read_bytes())
    for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        for found in re.finditer(mark, bytes(content)):
            for place, value in patch.items():
                content[found.start() + place + shift] = value
    path.write_bytes(content)


@pytest.mark.parametrize("patch", [{6: 1}, {8: 99}], ids=["encrypted", "unknown compression"])
def test_files_that_zip_cannot_unpack_are_named(tmp_path: Path, patch: dict[int, int]) -> None:
    built(tmp_path, made())
    zipped(tmp_path / "mine.npz", patch)
    with pytest.raises(UsageError, match=r"mine\.npz: images cannot be read"):
        build_dataset("arrays", {"path": str(tmp_path)})


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    built(tmp_path, made())
    head = io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(tmp_path / "mine.npz") as held:
        images = held.read("images.npy")
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as held:
        held.writestr("images.npy", images)
        held.writestr("labels.npy", head.getvalue())
    with pytest.raises(UsageError, match=r"mine\.npz: labels"):
        build_dataset("arrays", {"path": str(tmp_path)})


@needs("arrays/mednist_64.npz")
def test_a_real_file_is_found_below_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real("arrays").parent))
    data = build_dataset(
        "arrays", {"path": "arrays/mednist_64.npz", "private": 2000, "test": 500, "auxiliary": 500}
    )
    assert (data.num_classes, data.image_shape) == (6, (1, 64, 64))
    assert parts(data)[0].labels.bincount().min() > 250
