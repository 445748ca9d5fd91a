"""The user's own images, in one folder for each class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from bench.api import UsageError
from bench.matrix import parse_variant
from bench.plugins import build_dataset, resolve


def photographs(root: Path, count: int = 260, *, size: tuple[int, int] = (40, 30)) -> Path:
    """Random images of three classes, written as PNG and read back by the data set."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        pixels = torch.randint(256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
        folder = root / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(folder / f"{number:03}.png")
    return root


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 40), (1, 28), (3, 11)])
def test_images_are_cut_resized_and_split(tmp_path: Path, channels: int, size: int) -> None:
    root = photographs(tmp_path / "photos")
    parameters = {"path": str(root), "size": size, "channels": channels}
    data = build_dataset("folder", parameters)
    assert (data.num_classes, data.image_shape) == (3, (channels, size, size))
    splits = data.splits(seed=0)
    parts = (splits.private_train, splits.private_test, splits.auxiliary)
    assert [len(part) for part in parts] == [130, 52, 78]
    for part in parts:
        assert part.images.shape[1:] == data.image_shape and part.images.dtype == torch.float32
        assert type(part.images) is torch.Tensor
        assert part.images.min() >= 0 and part.images.max() <= 1 and part.images.std() > 0.05
        assert set(part.labels.tolist()) == {0, 1, 2}
    everything = torch.cat([part.images for part in parts])
    assert len(everything.flatten(1).unique(dim=0)) == 260, "an image is in two splits"
    again = build_dataset("folder", parameters).splits(seed=0)
    assert torch.equal(again.private_train.images, splits.private_train.images)
    counts = [part.labels.bincount().tolist() for part in parts]
    assert counts == [[44, 43, 43], [17, 18, 17], [26, 26, 26]], "each class has its share of every part"
    other = build_dataset("folder", parameters).splits(seed=1)
    assert not torch.equal(other.private_train.images, splits.private_train.images)


def test_equal_images_are_kept_once(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    first = (root / "class0" / "000.png").read_bytes()
    (root / "class1" / "copy.png").write_bytes(first)
    assert sum(map(len, vars(build_dataset("folder", {"path": str(root)}).splits(seed=0)).values())) == 260


def test_the_command_line_names_the_folder(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", 3)
    name, parameters = parse_variant(f"folder[path={root},channels=1]")
    assert resolve("dataset", name, parameters) == {"path": str(root), "size": 32, "channels": 1}


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"path: .*folder\[path=...\]"):
        build_dataset("folder", {})
    with pytest.raises(UsageError, match="gone"):
        build_dataset("folder", {"path": str(tmp_path / "gone")})
    with pytest.raises(UsageError, match=r"\b0 class folders"):
        build_dataset("folder", {"path": str(tmp_path)})
    root = str(photographs(tmp_path / "few", 6))
    with pytest.raises(UsageError, match=r"size: .*11"):
        resolve("dataset", "folder", {"path": root, "size": 10})
    with pytest.raises(UsageError, match=r"\b6\b.*\b100\b"):
        build_dataset("folder", {"path": root}).splits(seed=0)
    root = str(photographs(tmp_path / "few"))
    for content in (b"no image", b"P5 60000 60000 255\n"):
        (tmp_path / "few" / "class0" / "torn.png").write_bytes(content)
        with pytest.raises(UsageError, match=r"torn\.png"):
            build_dataset("folder", {"path": root}).splits(seed=0)
    (tmp_path / "few" / "class3").mkdir()
    with pytest.raises(UsageError, match="class3"):
        build_dataset("folder", {"path": root}).splits(seed=0)
