"""Rows: an order of their own, no row twice, and parts that a seed cuts."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bench.api import (
    BenchError,
    UsageError,
    as_splits,
    check_digest,
    checked_prefix,
    ordered_rows,
    padded,
    parts_by_class,
    shuffled_parts,
)

ROWS = st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.integers(0, 255)), max_size=20)


@given(ROWS, st.randoms())
def test_rows_and_their_digest_do_not_depend_on_the_order_they_come_in(
    rows: list[tuple[bytes, int]], chance: random.Random
) -> None:
    turned = list(rows)
    chance.shuffle(turned)
    one, other = (ordered_rows([item for item, _ in some], [n for _, n in some]) for some in (rows, turned))
    assert one.digest == other.digest
    assert [rows[row] for row in one.kept] == [turned[row] for row in other.kept]


@given(ROWS)
def test_each_row_is_kept_once_and_those_with_two_labels_never(rows: list[tuple[bytes, int]]) -> None:
    labels: dict[bytes, set[int]] = {}
    for item, label in rows:
        labels.setdefault(item, set()).add(label)
    kept = [rows[row] for row in ordered_rows([item for item, _ in rows], [n for _, n in rows]).kept]
    assert sorted(kept) == sorted((item, *found) for item, found in labels.items() if len(found) == 1)


def test_the_digest_is_that_of_sorted_names_and_labels() -> None:
    names = sorted(
        hashlib.sha256(item).digest() + bytes([n]) for item, n in [(b"a", 3), (b"b", 0), (b"b", 0)]
    )
    assert ordered_rows([b"b", b"a", b"b"], [0, 3, 0]).digest == hashlib.sha256(b"".join(names)).hexdigest()


def test_a_digest_is_compared_with_what_is_known_of_it() -> None:
    asked = {"name": "mine", "files": "here.npz", "fix": "get others"}
    check_digest("ab" * 32, "ab" * 6, **asked)
    with pytest.raises(BenchError, match=r"mine.*here\.npz.*digest=(ab){8}"):
        check_digest("ab" * 32, "", **asked)
    with pytest.raises(BenchError, match=r"here\.npz.*ab.*cd.*get others"):
        check_digest("ab" * 32, "cd" * 32, **asked)
    assert checked_prefix("", "mine") == "" and checked_prefix("ab" * 6, "mine") == "ab" * 6
    for wrong in ("abc", "AB" * 32):
        with pytest.raises(UsageError, match="mine: digest"):
            checked_prefix(wrong, "mine")


def test_parts_are_disjoint_and_the_beginning_of_larger_ones() -> None:
    small, large = (shuffled_parts(50, [size, 10, 5], seed=3, name="mine") for size in (10, 35))
    assert [len(part) for part in small] == [10, 10, 5]
    assert len(torch.cat(large).unique()) == 50
    assert torch.equal(small[0], large[0][:10])
    assert not torch.equal(shuffled_parts(50, [10, 10, 5], seed=4, name="mine")[0], small[0])
    with pytest.raises(UsageError, match=r"mine.*51.*50"):
        shuffled_parts(50, [36, 10, 5], seed=3, name="mine")


@pytest.mark.parametrize(("shape", "wanted"), [((9, 10), (1, 16, 16)), ((8, 16, 3), (3, 8, 16))])
def test_images_are_bytes_over_255_in_the_middle_of_black(
    shape: tuple[int, ...], wanted: tuple[int, int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (6, *shape), dtype=np.uint8)
    parts = [torch.tensor(rows) for rows in ([4, 0], [2], [1, 3])]
    found = as_splits(pixels, [0, 1, 2, 3, 4, 5], parts)
    assert found.private_train.labels.tolist() == [4, 0]
    images = found.auxiliary.images
    assert images.shape == (2, *wanted) and images.dtype == torch.float32
    top, left = ((padded(side) - side) // 2 for side in shape[:2])
    inner = images[..., top : top + shape[0], left : left + shape[1]]
    assert np.array_equal(
        (inner * 255).round().byte().permute(0, 2, 3, 1).numpy().reshape(2, *shape), pixels[[1, 3]]
    )
    assert images.sum() == pytest.approx(inner.sum().item())


@given(st.lists(st.integers(10, 40), min_size=1, max_size=12), st.integers(0, 3))
@example(sizes=[11, 14, 14], seed=0)
def test_every_class_has_its_share_of_every_part_whatever_the_seed(sizes: list[int], seed: int) -> None:
    sizes = [*sizes, 100]
    labels = [label for label, count in enumerate(sizes) for _ in range(count)]
    names = [f"c{label}" for label in range(len(sizes))]
    parts = parts_by_class(labels, names, seed=seed, name="mine")
    assert sorted(torch.cat(parts).tolist()) == list(range(len(labels)))
    assert [len(part) for part in parts[:2]] == [int(share * len(labels)) for share in (0.5, 0.2)]
    # Between two cuts a class has what its share of [0, 1] says, give or take one, and all of them
    # together set how long that share is.
    allowed = 1 + torch.tensor(sizes) * (len(sizes) + 1) / len(labels)
    for part, share in zip(parts, (0.5, 0.2, 0.3), strict=True):
        counts = torch.tensor(labels)[part].bincount(minlength=len(sizes))
        assert (counts > 0).all() and ((counts - share * torch.tensor(sizes)).abs() <= allowed).all()
    again = parts_by_class(labels, names, seed=seed + 1, name="mine")
    assert not torch.equal(parts[0], again[0])


def test_too_few_images_of_a_class_or_a_part_are_refused_with_the_numbers() -> None:
    def parts(*counts: int, sizes: tuple[int, int, int] = (0, 0, 0)) -> list[torch.Tensor]:
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        return parts_by_class(labels, ["cat", "dog", "eel"][: len(counts)], sizes=sizes, seed=0, name="mine")

    with pytest.raises(UsageError, match=r"mine: .*\b99\b.*\b100\b"):
        parts(50, 49)
    with pytest.raises(UsageError, match=r"mine: class dog has 9, class eel has 0 .*\b10\b"):
        parts(91, 9, 0)
    with pytest.raises(UsageError, match=r"mine: of 20 images .*class dog, which has 10 of 4010"):
        parts(4000, 10, sizes=(2000, 20, 1000))
    with pytest.raises(UsageError, match=r"mine: .*\b300\b.*\b200\b"):
        parts(100, 100, sizes=(100, 100, 100))
