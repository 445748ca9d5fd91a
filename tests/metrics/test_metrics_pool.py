"""The pool: all private images, the same for every cell of a seed, in an order that tells nothing."""

from __future__ import annotations

import pytest
import torch

from bench.metrics.pool import PIXELS, POOL, by_digest, others, pool_of

IMAGES = torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_all_images_are_in_the_pool_up_to_its_size() -> None:
    assert sorted(pool_of(IMAGES, seed=3).tolist()) == list(range(300))
    many = torch.zeros(1, 1, 1, 1).expand(POOL + 7, 1, 1, 1)
    assert len(pool_of(many, seed=3)) == POOL
    large = torch.zeros(1).expand(POOL, 1, 224, 224)
    assert len(pool_of(large, seed=3)) == PIXELS // 224**2
    assert len(pool_of(large, seed=3, size=POOL)) == POOL, "a record is scored as it was"


@pytest.mark.parametrize("size", [40, 300])
def test_originals_and_distractors_are_as_many_as_it_says(size: int) -> None:
    released = torch.tensor([[5], [77], [299]])
    drawn = pool_of(IMAGES, seed=1, size=size)
    rows = drawn[others(drawn, released)]
    assert len(rows) == size - 3
    assert not torch.isin(rows, released).any()
    assert len(set(rows.tolist())) == len(rows)


def test_the_order_of_a_list_depends_on_its_images_alone() -> None:
    shuffled = IMAGES[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(by_digest(shuffled), by_digest(IMAGES))
    assert not torch.equal(by_digest(IMAGES), IMAGES)
