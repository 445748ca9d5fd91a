"""Labelled images in one order whatever that of the files, each once, checked, and cut by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.api.dataset import ImageSet, Splits
from bench.api.errors import BenchError, UsageError

NETWORKS = 8
"""Sides are padded to a multiple of it, as the networks need it."""
SHORTEST = 12
"""Hexadecimal digits of a digest that the user names at least."""
FEWEST = 100
"""Distinct images of the user's own that a data set needs."""
FEWEST_OF_A_CLASS = 10
"""Of these; then every class is in every part, however many classes there are."""
FEWEST_OF_A_PART = 20
"""Images of each part of any data set: a fifth of :data:`FEWEST`."""
SHARES = (0.5, 0.2)
"""Of the user's images for private training and private testing; the rest is auxiliary."""
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class Rows(NamedTuple):
    """The distinct ones of some labelled rows.

    Attributes:
        kept: their numbers, in the order of the sha256 of their bytes.
        digest: sha256 of all rows, duplicates included: for each, sorted, the sha256 of its bytes and its
            label as a byte.
    """

    kept: list[int]
    digest: str


def ordered_rows(items: Iterable[bytes], labels: Sequence[int]) -> Rows:
    """Puts rows into an order that does not depend on how they come, and drops duplicates.

    Rows that are equal are kept once; one that occurs with two labels is dropped, since one is wrong.

    Args:
        items: the bytes of each row: its pixels, or what determines them.
        labels: M numbers in 0..255.
    """
    names = [hashlib.sha256(item).digest() for item in items]
    order = sorted(range(len(names)), key=lambda row: (names[row], labels[row]))
    alike: dict[bytes, list[int]] = {}
    for row in order:
        alike.setdefault(names[row], []).append(row)
    kept = [rows[0] for rows in alike.values() if len({labels[row] for row in rows}) == 1]
    return Rows(
        kept, hashlib.sha256(b"".join(names[row] + bytes([labels[row]]) for row in order)).hexdigest()
    )


def checked_prefix(digest: str, name: str) -> str:
    """The digest that the user names for a data set: the beginning of one, or empty.

    Raises:
        UsageError: it is too short, or holds other characters than 0-9 and a-f.
    """
    if digest and (len(digest) < SHORTEST or set(digest) - set("0123456789abcdef")):
        raise UsageError(
            f"dataset {name}: digest: give the first {SHORTEST} or more hexadecimal digits of it"
        )
    return digest


def check_digest(found: str, wanted: str, *, name: str, files: object, fix: str) -> None:
    """Compares the digest of all rows with the beginning of the expected one.

    Args:
        found: of the rows that were read.
        wanted: its beginning; empty where none is known.
        name: the data set.
        files: where the rows are from.
        fix: how to get the right ones.

    Raises:
        BenchError: the rows are others, or nobody has said which they should be.
    """
    if not wanted:
        raise BenchError(
            f"{name}: no digest of {files} is known here; your rows have {found}: check that they are the "
            f"official ones, then name it: digest={found[:16]}"
        )
    if not found.startswith(wanted):
        raise BenchError(
            f"{name}: the digest of {files} is {found}, expected {wanted}: these are other images; {fix}"
        )


def shuffled_parts(count: int, sizes: Sequence[int], *, seed: int, name: str) -> list[Tensor]:
    """Row numbers of disjoint parts, cut from the beginning of all rows as a seed shuffles them.

    Args:
        count: distinct rows that there are.
        sizes: of the parts.
        seed: of the shuffle.
        name: the data set, for the message.

    Raises:
        UsageError: the parts need more rows than there are.
    """
    return _cut(torch.randperm(count, generator=torch.Generator().manual_seed(seed)), sizes, name)


def check_counts(images: Mapping[str, int], *, name: str) -> None:
    """Compares the images of the user's classes with the least numbers.

    Args:
        images: how many there are of each class, by the name of the class.
        name: the data set, for the message.

    Raises:
        UsageError: there are too few at all, or of a class.
    """
    if sum(images.values()) < FEWEST:
        raise UsageError(
            f"dataset {name}: it has {sum(images.values())} distinct images, {FEWEST} are the least"
        )
    few = [f"class {key} has {count}" for key, count in images.items() if count < FEWEST_OF_A_CLASS]
    if few:
        raise UsageError(
            f"dataset {name}: {', '.join(few)} distinct images, {FEWEST_OF_A_CLASS} of each class are the "
            "least: add images, or take the class out"
        )


def parts_by_class(
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    sizes: Sequence[int] = (0, 0, 0),
    seed: int,
    name: str,
) -> list[Tensor]:
    """Row numbers of disjoint parts in which every class has its share.

    The rows of each class are shuffled and spread evenly over [0, 1]; the parts are cut from all of them in
    that order, so that a part has of a class what it has of all images, but for rounding: each cut is off by
    half an image of a class at most. How many it has does not depend on the seed.

    Args:
        labels: of each row, the position of its class.
        classes: what the user calls the classes, for messages.
        sizes: of private training, private test and auxiliary images; 0: :data:`SHARES` and the rest.
        seed: of the shuffle.
        name: the data set, for messages.

    Raises:
        UsageError: there are too few images at all, of a class, or for a part of this size.
    """
    found = torch.tensor(labels)
    counts = found.bincount(minlength=len(classes)).tolist()
    check_counts(dict(zip(classes, counts, strict=True)), name=name)
    private, test = (size or int(share * len(found)) for size, share in zip(sizes, SHARES, strict=False))
    wanted = [private, test, sizes[2] or max(len(found) - private - test, FEWEST_OF_A_PART)]
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    place = torch.empty(len(found), dtype=torch.float64)
    for number, count in enumerate(counts):
        place[found[order] == number] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    parts = _cut(order[place.argsort(stable=True)], wanted, name)
    for part in parts:
        if absent := set(range(len(classes))) - set(found[part].tolist()):
            raise UsageError(
                f"dataset {name}: of {len(part)} images of a part none is of class "
                f"{classes[min(absent)]}, which has {counts[min(absent)]} of {len(found)}: make it larger"
            )
    return parts


def _cut(order: Tensor, sizes: Sequence[int], name: str) -> list[Tensor]:
    if sum(sizes) > len(order):
        raise UsageError(
            f"dataset {name}: private + test + auxiliary are {sum(sizes)} images, there are {len(order)} "
            "distinct ones"
        )
    return list(order[: sum(sizes)].split(list(sizes)))


def split_sizes(splits: Splits) -> str:
    """How many images the parts have, and how good a guess is that looks at none, in words."""
    tests = splits.private_test.labels
    guess = tests.bincount().max().item() / len(tests)
    return (
        f"{len(splits.private_train)} private_train, {len(tests)} private_test, {len(splits.auxiliary)} "
        f"auxiliary; chance level of accuracy {guess:.0%}"
    )


def padded(side: int) -> int:
    """The next multiple of 8 pixels."""
    return -(-side // NETWORKS) * NETWORKS


def as_splits(pixels: Bytes, labels: Sequence[int], parts: Sequence[Tensor]) -> Splits:
    """The images of three parts.

    Args:
        pixels: ``[M, H, W]``, or ``[M, H, W, C]``.
        labels: M class numbers.
        parts: row numbers of private training, private test and auxiliary images.

    Returns:
        Grey values divided by 255, sides padded in black to a multiple of 8 pixels.
    """
    classes = torch.tensor(labels)
    private, test, auxiliary = (ImageSet(_images(pixels[part.numpy()]), classes[part]) for part in parts)
    return Splits(private_train=private, private_test=test, auxiliary=auxiliary)


def _images(pixels: Bytes) -> Tensor:
    """Float32 ``[M, C, H, W]`` in [0, 1]."""
    planes = torch.from_numpy(pixels).reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2).float() / 255
    height, width = planes.shape[2:]
    top, left = (padded(height) - height) // 2, (padded(width) - width) // 2
    return pad(planes, (left, padded(width) - width - left, top, padded(height) - height - top)).contiguous()
