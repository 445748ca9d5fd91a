"""What several tests of training share: few images, and whether two trainings ended alike."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from bench.api import Defense, ImageSet, Splits
from bench.victims.releases import Source
from tests.engine.observations import DIGITS, digits


def few(count: int) -> Splits:
    """So few digits of each part that a training takes no time."""
    parts = {item.name: getattr(digits(), item.name) for item in fields(Splits)}
    cut = {name: ImageSet(part.images[:count], part.labels[:count]) for name, part in parts.items()}
    return Splits(**cut)


def digits_source(model: str, parameters: dict[str, Tensor], **changes: Any) -> Source:
    """What clients or an owner of digits release: one image in each of four releases, undefended."""
    plain = Source(
        model=model, parameters=parameters, private=digits().private_train, num_classes=10,
        image_shape=DIGITS, defense=Defense(), releases=4, batch_size=1, seed=0, device=torch.device("cpu"),
    )  # fmt: skip
    return replace(plain, **changes)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two states have the same entries to the last bit."""
    assert list(left) == list(right)
    return all(torch.equal(left[name], right[name]) for name in left)
