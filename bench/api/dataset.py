"""The contract of a data set: three disjoint splits and where they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Labelled images.

    Attributes:
        images: float32 ``[M, C, H, W]`` in [0, 1].
        labels: int64 ``[M]``.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """M, the number of images."""
        return self.images.shape[0]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Disjoint parts of one data set.

    Attributes:
        private_train: what the victims train on and release.
        private_test: measures utility accuracy.
        auxiliary: all that an attacker's prior, and the independent evaluator, may be trained on.
    """

    private_train: ImageSet
    private_test: ImageSet
    auxiliary: ImageSet


class Dataset(ABC):
    """Base class of all data sets.

    Attributes:
        num_classes: K.
        image_shape: (C, H, W).
    """

    num_classes: int
    image_shape: tuple[int, int, int]

    @abstractmethod
    def splits(self, *, seed: int) -> Splits:
        """The three disjoint splits, shuffled by ``seed``.

        Raises:
            BenchError: the files are missing or their sha256 is not the declared one.
        """

    def missing(self) -> str:
        """Why its files are not where they should be, and what helps; empty if they are. Reads none."""
        return ""

    def place(self) -> Path | None:
        """The file or folder that it reads, or would; None where a package brings its files. Reads none."""
        return None

    def reading(self) -> str:
        """What the last :meth:`splits` read and what it left out, in one line; empty if it does not say."""
        return ""


@dataclass(frozen=True)
class Data:
    """One data set as one seed splits it, on the worker's device."""

    dataset: Dataset
    splits: Splits
