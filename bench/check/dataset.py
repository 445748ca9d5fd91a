"""The promises of a data set, each a function: it returns what it found, or raises what is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import cast

import torch

from bench.api import BenchError, DataMissing, Dataset, ImageSet, Splits
from bench.api.rows import FEWEST_OF_A_PART, split_sizes
from bench.check.card import build
from bench.check.findings import Broken, Skipped
from bench.check.guard import no_global_randomness
from bench.check.place import Subject
from bench.plugins import dataset_card

PARTS = ("private_train", "private_test", "auxiliary")


def _built(subject: Subject) -> Dataset:
    return cast("Dataset", build(subject))


def _splits(subject: Subject, seed: int = 0) -> Splits:
    return _known_splits(subject, seed)[1]


def _read(subject: Subject) -> Dataset:
    """The data set as it is after its splits were read."""
    return _known_splits(subject, 0)[0]


def _known_splits(subject: Subject, seed: int) -> tuple[Dataset, Splits]:
    key = (subject.folder, tuple(sorted(subject.parameters.items())))
    if (key, seed) not in _known:
        try:
            made = _built(subject)
            _known[key, seed] = made, made.splits(seed=seed)
        except DataMissing as error:
            if _place_is_given(subject):
                raise Broken(str(error), "name the folder that holds the files") from None
            raise Skipped(f"its files are not on this machine: {error}") from None
        except BenchError as error:
            raise Broken(str(error), "correct the files that you name, else splits() or card.toml") from None
    return _known[key, seed]


_known: dict[object, tuple[Dataset, Splits]] = {}


def _place_is_given(subject: Subject) -> bool:
    """Whether the user says where the files lie: they are expected to be there."""
    return any(dataset_card(subject.name).parameters[key].path for key in subject.parameters)


def _parts(subject: Subject) -> Iterator[tuple[str, ImageSet]]:
    splits = _splits(subject)
    for name in PARTS:
        yield name, getattr(splits, name)


def card_is_true(subject: Subject) -> str:
    """Classes and shape are those of the card."""
    dataset, card = _built(subject), dataset_card(subject.name)
    if card.num_classes not in (None, dataset.num_classes):
        raise Broken(
            f"num_classes is {dataset.num_classes}, its card says {card.num_classes}", "correct the wrong one"
        )
    if card.image_shape is not None and tuple(dataset.image_shape) != card.image_shape:
        raise Broken(
            f"image_shape is {tuple(dataset.image_shape)}, its card says {card.image_shape}",
            "correct the wrong one",
        )
    return f"{dataset.num_classes} classes of {'x'.join(map(str, dataset.image_shape))} images"


def shapes(subject: Subject) -> str:
    """Every split holds float32 images of the declared shape and int64 labels."""
    wanted = tuple(_built(subject).image_shape)
    for name, part in _parts(subject):
        if tuple(part.images.shape[1:]) != wanted or part.images.dtype != torch.float32:
            raise Broken(
                f"{name}: images are {tuple(part.images.shape)} {part.images.dtype}, expected [M, "
                f"{', '.join(map(str, wanted))}] float32",
                "convert with .float() and view them as [M, C, H, W]",
            )
        if part.labels.dtype != torch.int64 or tuple(part.labels.shape) != (len(part),):
            raise Broken(
                f"{name}: labels are {tuple(part.labels.shape)} {part.labels.dtype}",
                "one int64 for each image",
            )
        if len(part) < FEWEST_OF_A_PART:
            raise Broken(
                f"{name}: {len(part)} images, at least {FEWEST_OF_A_PART} are needed", "cut larger splits"
            )
    return "; ".join(filter(None, (split_sizes(_splits(subject)), _read(subject).reading())))


def values(subject: Subject) -> str:
    """Grey values are finite and in [0, 1], labels are class numbers."""
    classes = _built(subject).num_classes
    for name, part in _parts(subject):
        low, high = part.images.min().item(), part.images.max().item()
        if not part.images.isfinite().all() or low < 0 or high > 1:
            raise Broken(
                f"{name}: grey values from {low:g} to {high:g}, expected [0, 1]",
                "divide by 255; normalisation belongs to the model, never to the data",
            )
        if part.images.std() == 0:
            raise Broken(f"{name}: all grey values are equal", "read the images")
        if part.labels.min() < 0 or part.labels.max() >= classes:
            raise Broken(
                f"{name}: labels from {int(part.labels.min())} to {int(part.labels.max())}, expected "
                f"0..{classes - 1}",
                "number the classes from 0",
            )
        if len(part.labels.unique()) < classes:
            raise Broken(
                f"{name}: {len(part.labels.unique())} of {classes} classes occur",
                "shuffle before cutting: many sources are sorted by class",
            )
    return "in [0, 1], every class in every split"


def disjoint(subject: Subject) -> str:
    """No image is in two splits."""
    hashes = {name: _hashes(part) for name, part in _parts(subject)}
    for left, right in (PARTS[:2], PARTS[1:], PARTS[::2]):
        if common := hashes[left] & hashes[right]:
            raise Broken(
                f"{left} and {right} share {len(common)} images",
                "cut one shuffled order into three parts, and drop duplicates before",
            )
    return "no image is in two splits"


def _hashes(part: ImageSet) -> set[bytes]:
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in part.images.cpu()}


def deterministic(subject: Subject) -> str:
    """The seed alone decides the order, and another seed gives another one."""
    first = _splits(subject)
    with no_global_randomness():
        again = _built(subject).splits(seed=0)
    for name in PARTS:
        left, right = getattr(first, name), getattr(again, name)
        if not torch.equal(left.images, right.images) or not torch.equal(left.labels, right.labels):
            raise Broken(
                f"{name} differs between two calls with seed 0",
                "shuffle with torch.randperm(..., generator=torch.Generator().manual_seed(seed))",
            )
    if torch.equal(_splits(subject, 1).private_train.images, first.private_train.images):
        raise Broken("seeds 0 and 1 give the same order", "shuffle by the seed")
    return "the seed alone decides"
