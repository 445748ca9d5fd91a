"""A victim's result depends neither on its neighbours, nor on their order, nor on the chunk it is in.

The results are not bit-equal: a batched matrix product picks another kernel, hence another order of its sums,
for another batch size, and L-BFGS multiplies such differences of the last digit along its path: by about 1e4
over 25 evaluations. In float64 they stay below any difference that a mix-up of rows would make.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import Attack, GradientObservation, Reconstruction, per_victim
from bench.engine import Cosine, Objective, Pixels, SignedAdam
from bench.engine.memory import AT_ONCE, bytes_per_victim, chunk_size
from bench.engine.parametrise import starts
from bench.engine.transforms.inputs import InputSpace
from bench.plugins import build_attack
from tests.engine.devices import moved
from tests.engine.observations import batches, observation

LIMIT = "bench.engine.memory._limit"

BUDGET = 25


@pytest.fixture(scope="module")
def seen() -> GradientObservation:
    return observation("lenet", *batches(6, 1), dtype=torch.float64)


def searched_in_double(attack: Attack, seen: GradientObservation) -> Reconstruction:
    """What an attack finds, with its images as they were before they were rounded to single precision.

    Rounding would turn a difference of 1e-12 into one of 3e-8 wherever it crosses a step.
    """
    kept, original = [], InputSpace.images

    def spy(self: InputSpace, images: torch.Tensor) -> torch.Tensor:
        kept.append(original(self, images))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InputSpace, "images", spy)
        found = attack.reconstruct(seen, budget=BUDGET, seed=0)
    images = torch.cat(kept)
    assert images.dtype == torch.float64
    assert torch.equal(images.float(), found.images)
    return replace(found, images=images)


@pytest.fixture(scope="module")
def reference(seen: GradientObservation) -> Reconstruction:
    return searched_in_double(build_attack("dlg", {}), seen)


def assert_same(got: Reconstruction, want: Reconstruction, rows: torch.Tensor) -> None:
    assert torch.equal(got.evaluations, want.evaluations[rows])
    torch.testing.assert_close(got.images, want.images[rows], rtol=0, atol=1e-8)
    torch.testing.assert_close(got.cost, want.cost[rows], rtol=1e-8, atol=1e-10)
    assert got.labels is not None and want.labels is not None
    assert torch.equal(got.labels, want.labels[rows])


def test_order_does_not_matter(seen: GradientObservation, reference: Reconstruction) -> None:
    rows = torch.tensor([4, 0, 5, 2, 1, 3])
    got = searched_in_double(build_attack("dlg", {}), seen.select(rows))
    assert_same(got, reference, rows)


def test_chunks_do_not_matter(
    seen: GradientObservation, reference: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_victim = bytes_per_victim(seen, unknowns=1034, pairs=100)
    monkeypatch.setattr(LIMIT, 4 * per_victim + 1)
    assert chunk_size(seen, unknowns=1034, pairs=100) == 4
    got = searched_in_double(build_attack("dlg", {}), seen)
    assert_same(got, reference, torch.arange(6))


def test_a_cpu_has_a_limit_without_being_given_one(
    seen: GradientObservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chunk_size(seen, unknowns=1034, pairs=100) == AT_ONCE
    per_victim = bytes_per_victim(seen, unknowns=1034, pairs=100)
    monkeypatch.setattr("bench.engine.memory.CPU_BYTES", 4 * per_victim + 1)
    assert chunk_size(seen, unknowns=1034, pairs=100) == 4


def test_one_victim_at_a_time_gives_the_same(seen: GradientObservation, reference: Reconstruction) -> None:
    inner = build_attack("dlg", {})

    class OneByOne(Attack):
        @per_victim
        def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
            assert observation.victims == 1
            return inner.reconstruct(observation, budget=budget, seed=seed)

    got = searched_in_double(OneByOne(), seen)
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


STEPS = 6


@cache
def some_victims(batch_size: int, own: bool) -> GradientObservation:
    seeds = [1, 2, 3, 4, 5] if own else 1
    return observation("convnet", *batches(5, batch_size), seeds=seeds, dtype=torch.float64)


def searched(some: GradientObservation, labels: torch.Tensor) -> torch.Tensor:
    unknowns = Pixels.of(some, labels)
    start = starts(some.ids, unknowns.size, seed=3, like=some.reference)
    steps = torch.full_like(some.ids, STEPS)
    return SignedAdam().minimise(Objective(some, unknowns, Cosine()), start, evaluations=steps).point


@cache
def found_together(batch_size: int, own: bool) -> torch.Tensor:
    return searched(some_victims(batch_size, own), batches(5, batch_size)[1])


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(5)),
    cut=st.integers(1, 5),
    batch_size=st.sampled_from([1, 3]),
    own=st.booleans(),
)
def test_any_order_in_any_pieces_gives_every_victim_the_same(
    order: list[int], cut: int, batch_size: int, own: bool
) -> None:
    """Signs of objective gradients near zero may differ in the last digit: almost all pixels must agree."""
    seen, labels = some_victims(batch_size, own), batches(5, batch_size)[1]
    rows = torch.tensor(order)
    pieces = [searched(seen.select(part), labels[part]) for part in rows.split(cut)]
    gap = (torch.cat(pieces) - found_together(batch_size, own)[rows]).abs()
    assert (gap < 1e-6).double().mean() > 0.999


@pytest.mark.gpu
@pytest.mark.parametrize("attack", ["dlg", "idlg", "inverting_gradients", "analytic"])
def test_a_gpu_finds_what_a_cpu_finds(
    attack: str, seen: GradientObservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = moved(seen, "cuda")
    chunk = chunk_size(there, unknowns=1034, pairs=100)
    assert chunk == there.victims
    want = build_attack(attack, {}).reconstruct(seen, budget=BUDGET, seed=0)
    got = build_attack(attack, {}).reconstruct(there, budget=BUDGET, seed=0)
    assert got.images.device == there.reference.device
    assert torch.equal(got.evaluations.cpu(), want.evaluations)
    assert (got.images.cpu() - want.images).abs().median() < 1e-4
    monkeypatch.setattr(LIMIT, 2 * bytes_per_victim(there, unknowns=1034, pairs=100))
    pieces = build_attack(attack, {}).reconstruct(there, budget=BUDGET, seed=0)
    assert (pieces.images - got.images).abs().median() < 1e-4


def test_one_victim_is_attacked_however_small_the_limit(
    seen: GradientObservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMIT, 1)
    assert chunk_size(seen, unknowns=1034) == 1
