"""BCCD: squares around boxes, no photograph in two parts, and annotations that are not trusted."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import BenchError, DataMissing, Dataset, ImageSet
from bench.plugins import build_dataset, dataset_card
from tests.real_data import needs, real

BCCD = import_module("bench.datasets.bccd.dataset")
Box = tuple[str, int, int, int, int]
BOXES: list[Box] = [
    ("WBC", 10, 20, 50, 60), ("Platelets", 60, 5, 75, 20), ("RBC", 90, 70, 119, 89), ("RBC", 1, 60, 25, 88),
    ("RBC", 40, 40, 60, 60),
]  # fmt: skip


def annotation(boxes: list[Box], name: str = "somewhere_else.png") -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in boxes
    )
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def add(root: Path, name: str, number: int, boxes: list[Box]) -> bytes:
    """One photograph whose colours say which it is; returns its bytes."""
    chance = np.random.default_rng(number)
    pixels = chance.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "Annotations" / f"{name}.xml").write_text(annotation(boxes))
    return (root / "JPEGImages" / f"{name}.jpg").read_bytes()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty photographs, of which no digest is asked."""
    monkeypatch.setattr(BCCD, "check_digest", lambda *args, **kwargs: None)
    for number in range(20):
        add(tmp_path / "BCCD", f"photo{number:02}", number, BOXES)
    return tmp_path / "BCCD"


def parts(data: Dataset, seed: int = 0) -> list[ImageSet]:
    splits = data.splits(seed=seed)
    return [splits.private_train, splits.private_test, splits.auxiliary]


def built(root: Path, **parameters: int) -> Dataset:
    return build_dataset("bccd", {"root": str(root), **parameters})


@pytest.mark.parametrize("size", [32, 64])
def test_parts_hold_whole_photographs_and_balanced_classes(root: Path, size: int) -> None:
    found = parts(built(root, size=size))
    for part, photographs in zip(found, (10, 4, 6), strict=True):
        assert part.images.shape[1:] == (3, size, size)
        assert part.labels.bincount().tolist() == [photographs] * 3
    assert [part.labels.bincount().tolist()[1] for part in parts(built(root, red_cells=2))] == [20, 8, 12]
    assert not torch.equal(parts(built(root), 1)[0].labels, found[0].labels)


@pytest.mark.parametrize("seed", range(4))
def test_no_photograph_is_in_two_parts(root: Path, seed: int) -> None:
    cells = [cell for path in sorted((root / "Annotations").iterdir()) for cell in BCCD._cells(path)]
    owners = [{cells[row].photograph for row in part.tolist()} for part in BCCD._by_photograph(cells, seed)]
    assert [len(owner) for owner in owners] == [10, 4, 6]
    assert len(set.union(*owners)) == 20


def test_a_photograph_that_repeats_another_is_used_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = torch.cat([part.images for part in parts(built(root))])
    path = root / "JPEGImages" / "photo03.jpg"
    of_it = BCCD.Bccd(root=str(root))._crops(list(BCCD._cells(root / "Annotations" / "photo03.xml")))
    monkeypatch.setattr(BCCD, "REPEATED", {3: hashlib.sha256(path.read_bytes()).hexdigest()[:12]})
    left = torch.cat([part.images for part in parts(built(root))])
    assert (len(everything), len(left)) == (60, 57)
    shown = {(image * 255).round().byte().permute(1, 2, 0).numpy().tobytes() for image in left}
    assert not shown & {crop.tobytes() for crop in of_it}


def test_names_of_files_and_what_annotations_say_of_them_do_not_matter(root: Path) -> None:
    before = parts(built(root))
    for number in range(20):
        for folder, ending in (("Annotations", "xml"), ("JPEGImages", "jpg")):
            path = root / folder / f"photo{number:02}.{ending}"
            path.rename(root / folder / f"other{(number * 7) % 20:02}.{ending}")
    add(root, "twin", 3, BOXES)  # the same photograph once more
    for left, right in zip(before, parts(built(root)), strict=True):
        assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((10, 20, 50, 60), (6, 16, 48)),  # 40 pixels and a tenth on each side
        ((0, 0, 40, 40), (0, 0, 48)),  # moved inwards
        ((90, 60, 130, 95), (84, 54, 36)),  # cut to the photograph, then moved
        ((0, 0, 120, 90), (15, 0, 90)),  # no square is larger than the photograph
        ((50, 50, 50, 50), None),
        ((60, 50, 50, 70), None),
        ((130, 10, 170, 50), None),
        ((50, 50, 56, 57), None),  # seven pixels
    ],
)
def test_squares_lie_in_the_photograph(box: tuple[int, ...], square: tuple[int, int, int] | None) -> None:
    assert BCCD._square(list(map(float, box)), 120, 90) == square


def test_a_crop_shows_what_is_in_its_box(root: Path) -> None:
    marked = np.zeros((90, 120, 3), np.uint8)
    marked[20:60, 10:50] = 255
    Image.fromarray(marked).save(root / "JPEGImages" / "photo00.jpg", quality=100)
    cells = list(BCCD._cells(root / "Annotations" / "photo00.xml"))
    image = BCCD.Bccd(root=str(root))._crops(cells[:1])[0]
    assert image[8:24, 8:24].min() > 240 and image[:2].max() < 15


def test_a_file_that_is_torn_or_a_trap_is_named(root: Path) -> None:
    path = root / "Annotations" / "photo05.xml"
    bomb = '<!DOCTYPE a [<!ENTITY b "bbb">]><annotation><filename>&b;</filename></annotation>'
    for text in (
        "<annotation>",
        bomb,
        annotation([("Yeast", 1, 1, 40, 40)]),
        annotation(BOXES).replace("<xmin>10</xmin>", ""),
    ):
        path.write_text(text)
        with pytest.raises(BenchError, match=r"photo05\.xml"):
            parts(built(root))
    path.write_text(annotation(BOXES))
    jpeg = root / "JPEGImages" / "photo05.jpg"
    for content in (jpeg.read_bytes()[:700], b"P5 60000 60000 255\n"):
        jpeg.write_bytes(content)
        with pytest.raises(BenchError, match=r"photo05\.jpg"):
            parts(built(root))
        with pytest.raises(BenchError, match=r"photo05\.jpg"):
            BCCD._decoded(jpeg)
    jpeg.unlink()
    with pytest.raises(BenchError, match=r"photo05\.jpg"):
        parts(built(root))
    (root / "JPEGImages").rename(root / "elsewhere")
    with pytest.raises(DataMissing, match=r"JPEGImages.*bench data get bccd"):
        parts(built(root))


def test_other_photographs_than_the_cards_are_refused(tmp_path: Path) -> None:
    names = [
        hashlib.sha256(
            hashlib.sha256(add(tmp_path, f"photo{n}", n, BOXES[:1])).digest() + b"(6, 16, 48)"
        ).digest()
        for n in range(4)
    ]
    digest = hashlib.sha256(b"".join(name + bytes([2]) for name in sorted(names))).hexdigest()
    with pytest.raises(BenchError, match=f"{digest}.*{dataset_card('bccd').sha256}"):
        parts(built(tmp_path))


@needs("BCCD/Annotations")
def test_the_real_photographs_are_those_of_the_card() -> None:
    found = parts(built(real("BCCD")))
    counts = torch.stack([part.labels.bincount(minlength=3) for part in found])
    assert counts.sum(0).tolist() == [326, 315, 332]
    everything = torch.cat([part.images for part in found]).flatten(1)
    assert len(everything.unique(dim=0)) == 973


@needs("BCCD/Annotations")
def test_no_repeated_photograph_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[Path] = set()
    crops = BCCD.Bccd._crops

    def watched(self: Dataset, cells: list[Any]) -> Any:
        used.update(cell.path for cell in cells)
        return crops(self, cells)

    monkeypatch.setattr(BCCD.Bccd, "_crops", watched)
    parts(built(real("BCCD")))
    repeated = {real("BCCD") / "JPEGImages" / f"BloodImage_{number:05}.jpg" for number in BCCD.REPEATED}
    assert len(repeated) == 38 and all(path.is_file() for path in repeated)
    assert len(used) == 326 and not used & repeated
