"""ORL faces: a share of every person in each part, whatever the order of the files."""

from __future__ import annotations

import hashlib
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import BenchError, DataMissing, Dataset, ImageSet
from bench.plugins import build_dataset, dataset_card
from tests.real_data import needs, real

FACES = import_module("bench.datasets.faces.dataset")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Random pictures in the official layout, and the digest that the card's notes describe."""
    root = tmp_path_factory.mktemp("orl") / "orl_faces"
    chance = np.random.default_rng(0)
    names = []
    for person in range(40):
        (root / f"s{person + 1}").mkdir(parents=True)
        for number in range(10):
            pixels = chance.integers(0, 256, (112, 92), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"s{person + 1}" / f"{number + 1}.pgm")
            names.append(hashlib.sha256(pixels.tobytes()).digest() + bytes([person]))
    return root, hashlib.sha256(b"".join(sorted(names))).hexdigest()


@pytest.fixture
def orl(written: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them that the card takes for the official ones."""
    card = dataset_card("faces").model_copy(update={"sha256": written[1]})
    monkeypatch.setattr(FACES, "read_card", lambda path, kind: card)
    return Path(shutil.copytree(written[0], tmp_path / "orl_faces"))


def parts(data: Dataset, seed: int = 0) -> list[ImageSet]:
    splits = data.splits(seed=seed)
    return [splits.private_train, splits.private_test, splits.auxiliary]


@pytest.mark.parametrize("size", [32, 64])
def test_each_part_has_its_share_of_every_person(orl: Path, size: int) -> None:
    data = build_dataset("faces", {"root": str(orl), "size": size})
    assert (data.num_classes, data.image_shape) == (40, (1, size, size))
    found = parts(data)
    for part, each in zip(found, (6, 2, 2), strict=True):
        assert part.labels.bincount().tolist() == [each] * 40
        assert part.images.shape == (40 * each, 1, size, size)
        assert part.labels.tolist() != sorted(part.labels.tolist())
    assert len(torch.cat([part.images for part in found]).flatten(1).unique(dim=0)) == 400
    assert not torch.equal(parts(data, 1)[0].images, found[0].images)


def test_the_order_of_a_persons_pictures_does_not_matter(orl: Path) -> None:
    data = build_dataset("faces", {"root": str(orl)})
    before = parts(data)
    for person in range(1, 41):
        names = [orl / f"s{person}" / f"{number}.pgm" for number in range(1, 11)]
        held = [name.read_bytes() for name in names]
        for name, content in zip(names, held[3:] + held[:3], strict=True):
            name.write_bytes(content)
    for left, right in zip(before, parts(data), strict=True):
        assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)


def test_the_square_is_the_middle_of_the_picture(orl: Path) -> None:
    data = FACES.Faces(size=64, root=str(orl))
    picture = Image.new("L", (92, 112), 255)
    picture.paste(0, (0, 10, 92, 102))
    assert data._face(picture).max() == 0


def test_what_is_no_official_picture_is_refused(orl: Path, tmp_path: Path) -> None:
    data = build_dataset("faces", {"root": str(orl)})
    path = orl / "s7" / "3.pgm"
    Image.new("L", (92, 112), 9).save(path)
    with pytest.raises(BenchError, match=r"digest.*orl_faces"):
        parts(data)
    Image.new("L", (112, 92), 9).save(path)
    with pytest.raises(BenchError, match=r"s7/3\.pgm.*112x92.*92x112"):
        parts(data)
    for content in (b"P5 torn", b"P5 60000 60000 255\n"):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"s7/3\.pgm"):
            parts(data)
    path.unlink()
    with pytest.raises(BenchError, match=r"s7/3\.pgm"):
        parts(data)
    shutil.rmtree(orl / "s1")
    with pytest.raises(DataMissing, match=r"s1.*bench data get faces"):
        parts(data)


@needs("orl_faces")
def test_the_real_pictures_are_those_of_the_card() -> None:
    assert len(parts(build_dataset("faces", {"root": str(real("orl_faces"))}))[0]) == 240
