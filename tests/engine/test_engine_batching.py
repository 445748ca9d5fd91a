"""A victim's result depends neither on its neighbours, nor on their order, nor on the chunk it is in.

The results are not bit-equal: a batched matrix product picks another kernel, hence another order of its sums,
for another batch size, and L-BFGS multiplies such differences of the last digit along its path: by about 1e4
over 25 evaluations. In float64 they stay below any difference that a mix-up of rows would make.
"""

from __future__ import annotations

import pytest
import torch

from bench.api import Attack, GradientObservation, Reconstruction, UsageError, per_victim
from bench.engine.memory import LIMIT, bytes_per_victim, victims_at_once
from bench.plugins import build_attack
from tests.engine.observations import batches, observation

BUDGET = 25


@pytest.fixture(scope="module")
def seen() -> GradientObservation:
    return observation("lenet", *batches(6, 1), dtype=torch.float64)


@pytest.fixture(scope="module")
def reference(seen: GradientObservation) -> Reconstruction:
    return build_attack("dlg", {}).reconstruct(seen, budget=BUDGET, seed=0)


def assert_same(got: Reconstruction, want: Reconstruction, rows: torch.Tensor) -> None:
    assert torch.equal(got.evaluations, want.evaluations[rows])
    torch.testing.assert_close(got.images, want.images[rows], rtol=0, atol=1e-8)
    torch.testing.assert_close(got.cost, want.cost[rows], rtol=1e-8, atol=1e-10)
    assert got.labels is not None and want.labels is not None
    assert torch.equal(got.labels, want.labels[rows])


def test_order_does_not_matter(seen: GradientObservation, reference: Reconstruction) -> None:
    rows = torch.tensor([4, 0, 5, 2, 1, 3])
    got = build_attack("dlg", {}).reconstruct(seen.select(rows), budget=BUDGET, seed=0)
    assert_same(got, reference, rows)


def test_chunks_do_not_matter(
    seen: GradientObservation, reference: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_victim = bytes_per_victim(seen, unknowns=1034, pairs=100)
    monkeypatch.setenv(LIMIT, str(4 * per_victim + 1))
    assert victims_at_once(seen, unknowns=1034, pairs=100) == 4
    got = build_attack("dlg", {}).reconstruct(seen, budget=BUDGET, seed=0)
    assert_same(got, reference, torch.arange(6))


def test_one_victim_at_a_time_gives_the_same(seen: GradientObservation, reference: Reconstruction) -> None:
    inner = build_attack("dlg", {})

    class OneByOne(Attack):
        @per_victim
        def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
            assert observation.victims == 1
            return inner.reconstruct(observation, budget=budget, seed=seed)

    got = OneByOne().reconstruct(seen, budget=BUDGET, seed=0)
    assert_same(got, reference, torch.arange(6))


def test_one_victim_at_a_time_may_recover_no_labels(seen: GradientObservation) -> None:
    class NoLabels(Attack):
        @per_victim
        def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
            images = torch.full((1, 1, *observation.image_shape), float(observation.ids.item()))
            return Reconstruction(images=images, cost=torch.zeros(1), evaluations=observation.ids + budget)

    got = NoLabels().reconstruct(seen, budget=3, seed=0)
    assert got.labels is None
    assert got.images[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert got.evaluations.tolist() == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_limit_that_is_no_number_of_bytes_is_named(
    text: str, seen: GradientObservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, text)
    with pytest.raises(UsageError, match=LIMIT):
        victims_at_once(seen, unknowns=1034)


def test_one_victim_is_attacked_however_small_the_limit(
    seen: GradientObservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1")
    assert victims_at_once(seen, unknowns=1034) == 1
