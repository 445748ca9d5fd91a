"""Distances and identification in a pool."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import cdist

from bench.metrics import MIN_POOL, identified
from bench.metrics.distances import squared_distances


@pytest.fixture
def pool() -> torch.Tensor:
    return torch.rand(MIN_POOL + 4, 6, generator=torch.Generator().manual_seed(0))


def test_distances_equal_scipy_over_several_blocks() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(4, 20_000, generator=generator), torch.rand(3, 20_000, generator=generator)
    want = torch.from_numpy(cdist(a.double().numpy(), b.double().numpy(), "sqeuclidean"))
    assert torch.allclose(squared_distances(a, b), want, rtol=1e-12, atol=0)


def test_equal_rows_are_at_distance_zero_and_nan_stays_in_its_row() -> None:
    a = torch.rand(5, 3000, generator=torch.Generator().manual_seed(2))
    assert float(squared_distances(a, a).diagonal().max()) < 1e-9
    broken = a.clone()
    broken[1] = torch.nan
    nan = squared_distances(broken, a).isnan()
    assert nan.all(1).tolist() == nan.any(1).tolist() == [False, True, False, False, False]


def test_exact_and_near_reconstructions_are_identified(pool: torch.Tensor) -> None:
    index = torch.tensor([0, 1, 2, 3])
    assert identified(pool[:4] + 1e-3, pool, index).tolist() == [True] * 4


def test_nearest_to_another_image_is_not_identified(pool: torch.Tensor) -> None:
    assert identified(pool[[1, 30]], pool, torch.tensor([0, 2])).tolist() == [False, False]


def test_agrees_with_a_plain_search(pool: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    index = torch.tensor([0, 1, 2, 3] * 25)
    guess = pool[index] + 0.3 * torch.randn(100, 6, generator=generator)
    want = cdist(guess.double().numpy(), pool.double().numpy()).argmin(1) == index.numpy()
    assert 0 < want.sum() < 100
    assert identified(guess, pool, index).tolist() == want.tolist()


def test_a_tie_identifies_nobody(pool: torch.Tensor) -> None:
    pool[10] = pool[0]
    assert identified(pool[:2], pool, torch.tensor([0, 1])).tolist() == [False, True]


def test_nan_is_not_identified(pool: torch.Tensor) -> None:
    guess = pool[:2].clone()
    guess[0, 0] = torch.nan
    assert identified(guess, pool, torch.tensor([0, 1])).tolist() == [False, True]


def test_too_few_distractors_and_bad_indices_are_refused(pool: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"{MIN_POOL}.*{MIN_POOL - 1}"):
        identified(pool[:1], pool[:MIN_POOL], torch.tensor([0]))
    assert identified(pool[:1], pool[:3], torch.tensor([0]), min_pool=2).tolist() == [True]
    with pytest.raises(ValueError, match="pool"):
        identified(pool[:1], pool, torch.tensor([len(pool)]))
    with pytest.raises(ValueError, match="original_index"):
        identified(pool[:2], pool, torch.tensor([0]))


@pytest.mark.gpu
def test_a_gpu_identifies_what_a_cpu_identifies(pool: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    index = torch.tensor([0, 1, 2, 3] * 25)
    guess = pool[index] + 0.3 * torch.randn(100, 6, generator=generator)
    got = identified(guess.to("cuda"), pool.to("cuda"), index.to("cuda"))
    assert got.tolist() == identified(guess, pool, index).tolist()
