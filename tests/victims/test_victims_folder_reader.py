"""What becomes of each kind of image file, and which files of a folder count."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import UsageError
from bench.datasets.folder.listing import class_folders, list_images
from bench.datasets.folder.reader import GROUND, read_picture, scale_of
from bench.plugins import build_dataset
from tests.victims.test_victims_folder import photographs

Array = np.ndarray[Any, Any]
RAMP = np.linspace(0, 1, 24 * 16).reshape(24, 16)
"""Darker above than below: 24 rows, 16 columns."""


def saved(place: Path, image: Image.Image, **options: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    image.save(place, **options)
    return place


def grey(path: Path) -> Array:
    """The file's pixels as they are read in grey, 8-bit values as shares of white."""
    picture = read_picture(path, channels=1)
    values = np.asarray(picture.image, np.float64)
    return values / 255 if picture.image.mode == "L" else values


def deep_folder(root: Path, draw: Any, ending: str) -> torch.Tensor:
    """All images of a folder of two classes of such images."""
    chance = np.random.default_rng(0)
    for number in range(100):
        saved(root / f"c{number % 2}" / f"{number}{ending}", Image.fromarray(draw(chance)))
    parts = vars(build_dataset("folder", {"path": str(root), "channels": 1}).splits(seed=0))
    return torch.cat([part.images for part in parts.values()])


@pytest.mark.parametrize(
    ("draw", "ending"),
    [
        (lambda chance: chance.integers(0, 256, (32, 32)).astype(np.uint8), ".png"),
        (lambda chance: chance.integers(0, 1024, (32, 32)).astype(np.uint16), ".png"),
        (lambda chance: chance.integers(0, 4096, (32, 32)).astype(np.uint16), ".tif"),
        (lambda chance: chance.integers(0, 65536, (32, 32)).astype(np.uint16), ".PNG"),
        (lambda chance: chance.integers(0, 65536, (32, 32)).astype(np.uint16), ".pgm"),
        (lambda chance: chance.integers(0, 4096, (32, 32)).astype(np.int32), ".tiff"),
        (lambda chance: chance.random((32, 32)).astype(np.float32), ".tiff"),
    ],
)
def test_every_depth_fills_the_range_from_black_to_white(tmp_path: Path, draw: Any, ending: str) -> None:
    images = deep_folder(tmp_path, draw, ending)
    assert images.min() < 0.01 and images.max() > 0.99 and abs(images.mean() - 0.5) < 0.02
    assert (images == 1).float().mean() < 0.02


def test_all_files_of_16_bits_have_one_white(tmp_path: Path) -> None:
    def draw(chance: np.random.Generator) -> Array:
        return chance.integers(0, 4096 if chance.random() < 0.1 else 500, (32, 32)).astype(np.uint16)

    assert sorted(deep_folder(tmp_path, draw, ".png").amax((1, 2, 3)).tolist())[50] < 500 / 4095 + 1e-4
    assert [scale_of(value) for value in (0, 255, 256, 4095, 4096, 65535)] == [
        255, 255, 1023, 4095, 16383, 65535,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        (RAMP * 255, "0 to 255"),
        (RAMP - 0.5, "-0.5 to 0.5"),
        (np.where(RAMP > 0.5, np.nan, RAMP), "nan"),
        ((RAMP * 4000 - 1024).astype(np.int32), "-1024 to 2976"),
        ((RAMP * 2**20).astype(np.int32), "0 to 1048576"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(tmp_path: Path, values: Array, facts: str) -> None:
    photographs(tmp_path)
    kind = np.float32 if values.dtype == np.float64 else values.dtype
    saved(tmp_path / "class0" / "odd.tif", Image.fromarray(values.astype(kind)))
    with pytest.raises(UsageError, match=rf"odd\.tif.*{facts}.*(scale|save)"):
        build_dataset("folder", {"path": str(tmp_path)}).splits(seed=0)


def test_white_as_zero_is_right_in_8_bits_and_refused_in_16(tmp_path: Path) -> None:
    tags = {262: 0}
    bright = saved(tmp_path / "a.tif", Image.fromarray((RAMP * 255).astype(np.uint8)), tiffinfo=tags)
    assert Image.open(bright).tag_v2[262] == 0  # type: ignore[attr-defined]
    assert grey(bright)[0, 0] == pytest.approx(0, abs=0.01)
    deep = saved(tmp_path / "b.tif", Image.fromarray((RAMP * 65535).astype(np.uint16)))
    held = deep.read_bytes().replace(
        b"\x06\x01\x03\x00\x01\x00\x00\x00\x01", b"\x06\x01\x03\x00\x01\x00\x00\x00\x00"
    )
    deep.write_bytes(held)
    with pytest.raises(ValueError, match="white is zero"):
        read_picture(deep, channels=1)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_orientation_is_applied_first(tmp_path: Path, ending: str, kind: type[np.generic]) -> None:
    if kind is np.uint16 and ending in (".jpg", ".webp"):
        pytest.skip("this format has no 16 bits")
    tag = Image.Exif()
    tag[0x0112] = 6
    most = np.iinfo(kind).max  # type: ignore[type-var]
    lying = Image.fromarray(np.rot90((RAMP * most).astype(kind)).copy())
    path = saved(tmp_path / f"a{ending}", lying, exif=tag)
    picture = read_picture(path, channels=1).image
    assert picture.size == (16, 24)
    values = np.asarray(picture, np.float64) / most
    assert np.abs(values - RAMP).max() < 0.1


@pytest.mark.parametrize(
    "name", ["rgba.png", "la.png", "palette.png", "keyed.png", "a.gif", "a.webp", "a.tif"]
)
def test_transparent_pixels_lie_on_the_colour_of_the_card(tmp_path: Path, name: str) -> None:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[4:12, 4:12] = 255
    image: Image.Image = Image.fromarray(pixels)
    options: dict[str, Any] = {}
    if name == "la.png":
        image = image.convert("LA")
    if name in ("palette.png", "keyed.png"):
        image = Image.fromarray(np.where(pixels[..., 3] > 0, 255, 7).astype(np.uint8))
        image = image.convert("P") if name == "palette.png" else image
        options = {"transparency": 7}
    path = saved(tmp_path / name, image, **options)
    for channels in (1, 3):
        values = np.asarray(read_picture(path, channels=channels).image)
        assert values[:4].std() == 0 and abs(int(values[0, 0].max()) - GROUND[0]) <= 1
        assert values[5:11, 5:11].min() >= 240


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_are_what_a_viewer_shows(tmp_path: Path, mode: str) -> None:
    shown = Image.fromarray((RAMP * 255).astype(np.uint8)).convert("RGB")
    path = saved(tmp_path / "a.tif", shown.convert(mode))
    values = np.asarray(read_picture(path, channels=3).image.convert("L"), np.float64)
    assert values[:4].mean() < 64 and values[-4:].mean() > 190


def test_the_first_image_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (12, 12), (value, 0, 0)) for value in (250, 20)]
    for ending in (".gif", ".webp", ".png", ".tif"):
        path = saved(tmp_path / f"a{ending}", frames[0], save_all=True, append_images=frames[1:])
        assert np.asarray(read_picture(path, channels=3).image)[..., 0].mean() > 240


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", None]
)
def test_broken_files_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    photographs(tmp_path)
    place = tmp_path / "class1" / "torn.PNG"
    whole = (tmp_path / "class1" / "001.png").read_bytes()
    place.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UsageError, match=r"class1/torn\.PNG"):
        build_dataset("folder", {"path": str(tmp_path)}).splits(seed=0)


def test_what_is_no_image_of_a_class_is_counted_and_named(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    image = (root / "class0" / "000.png").read_bytes()
    for place in (
        ".ipynb_checkpoints/a.png", "__MACOSX/class0/._a.png", "class0/._a.png", "class0/.hidden/a.png",
        "class1/Thumbs.db", "class1/scan.DCM", "class1/README", "loose.png",
    ):  # fmt: skip
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(image)
    (root / ".git").mkdir()
    (root / "class2" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "class2" / "around").symlink_to(root)
    os.mkfifo(root / "class2" / "pipe.png")
    assert class_folders(root) == ["class0", "class1", "class2"]
    listing = list_images(root)
    assert sum(map(len, listing.files.values())) == 260
    assert listing.skipped == {
        "hidden": 4, ".db": 1, ".dcm": 1, "without an ending": 1, "outside the class folders": 1,
        "links to nothing": 1, "links to a folder above them": 1, "no files": 1,
    }  # fmt: skip
    data = build_dataset("folder", {"path": str(root)})
    assert data.num_classes == 3 and sum(map(len, vars(data.splits(seed=0)).values())) == 260
    assert "\n" not in data.reading()
    for fact in ("260 image files", "3 classes", "class0 87", "1 .dcm", "4 hidden", "1 links to nothing"):
        assert fact in data.reading()


def test_names_links_and_folders_below_a_class_change_nothing(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    plain = build_dataset("folder", {"path": str(root)}).splits(seed=0)
    (root / "class0" / "000.png").rename(root / "class0" / os.fsdecode(b"000\xe9.PNG"))
    (tmp_path / "elsewhere").mkdir()
    for place in root.iterdir():
        place.rename(tmp_path / "elsewhere" / place.name)
        place.symlink_to(tmp_path / "elsewhere" / place.name)
    deeper = tmp_path / "elsewhere" / "class2" / "z"
    deeper.mkdir()
    (tmp_path / "elsewhere" / "class2" / "257.png").rename(deeper / "257.png")
    moved = build_dataset("folder", {"path": str(root)}).splits(seed=0)
    assert torch.equal(plain.private_train.images, moved.private_train.images)


def test_an_image_of_two_classes_is_told(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    (root / "class1" / "copy.png").write_bytes((root / "class0" / "000.png").read_bytes())
    data = build_dataset("folder", {"path": str(root)})
    data.splits(seed=0)
    assert "1 equal" in data.reading() and "1 of them in another class" in data.reading()


def test_a_class_with_too_few_images_is_refused_with_its_count(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    for count in (0, 1, 9):
        (root / "seldom").mkdir(exist_ok=True)
        for number in range(count):
            pixels = torch.full((20, 20), 10 * number, dtype=torch.uint8)
            saved(root / "seldom" / f"{number}.png", Image.fromarray(pixels.numpy()))
        with pytest.raises(UsageError, match=rf"seldom has {count} .*\b10\b"):
            build_dataset("folder", {"path": str(root)}).splits(seed=0)
    saved(root / "seldom" / "9.png", Image.new("L", (20, 20), 200))
    parts = vars(build_dataset("folder", {"path": str(root)}).splits(seed=0)).values()
    assert [part.labels.bincount()[3].item() for part in parts] == [5, 2, 3]


def test_folders_without_classes_say_what_they_hold(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", 6)
    with pytest.raises(UsageError, match=r"0 class folders and 2 files"):
        build_dataset("folder", {"path": str(root / "class0")})
    (root / "one").mkdir()
    (root / "class0").rename(root / "one" / "class0")
    with pytest.raises(UsageError, match=r"1 class folders"):
        build_dataset("folder", {"path": str(root / "one")})
