"""The compact form of L-BFGS gives the direction of the textbook's two-loop recursion."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.engine.minimisers.history import History

Pairs = list[tuple[Tensor, Tensor]]


class Walk:
    """A memory beside the gradients that its rows have met: each pair's change leads to the next one."""

    def __init__(self, rows: int, size: int, unknowns: int, dtype: torch.dtype = torch.float64) -> None:
        self.memory = History.empty(rows, size, torch.zeros(rows, unknowns, dtype=dtype))
        generator = torch.Generator().manual_seed(rows + size + unknowns)
        self.gradient = torch.randn(rows, unknowns, generator=generator, dtype=torch.float64).to(dtype)

    def add(self, step: Tensor, change: Tensor, rows: Tensor) -> Tensor:
        """The direction after some rows have gone a step."""
        self.gradient = torch.where(rows.unsqueeze(1), self.gradient + change, self.gradient)
        return self.memory.turn(step, change, self.gradient, rows)

    def direction(self) -> Tensor:
        """The direction without a new pair."""
        nothing = torch.zeros_like(self.gradient)
        return self.memory.turn(nothing, nothing, self.gradient, torch.zeros(len(nothing), dtype=torch.bool))

    def want(self, pairs: list[Pairs]) -> Tensor:
        """The textbook's directions where the rows are now."""
        return torch.stack([two_loops(own, g) for own, g in zip(pairs, self.gradient, strict=True)])


def two_loops(pairs: Pairs, gradient: Tensor) -> Tensor:
    """Nocedal and Wright, Algorithm 7.4, for one row; pairs from oldest to newest."""
    remaining, shares = gradient.clone(), []
    for step, change in reversed(pairs):
        share = (step @ remaining) / (step @ change)
        remaining = remaining - share * change
        shares.append(share)
    if pairs:
        step, change = pairs[-1]
        remaining = remaining * (step @ change) / (change @ change)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        remaining = remaining + step * (share - (change @ remaining) / (step @ change))
    return -remaining


def curved(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A step and the change of the gradient of a random convex quadratic along it."""
    step = torch.randn(size, generator=generator, dtype=torch.float64)
    scale = 0.1 + torch.rand(size, generator=generator, dtype=torch.float64)
    return step, scale * step


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 5),
    unknowns=st.integers(6, 12),
    # One entry per time and row: store a pair, store nothing, forget everything, or that and store a pair.
    acts=st.lists(
        st.tuples(*[st.sampled_from(["add", "add", "add", "skip", "forget", "renew"])] * 3), max_size=14
    ),
)
def test_direction_is_that_of_the_two_loop_recursion(
    seed: int, size: int, unknowns: int, acts: list[tuple[str, str, str]]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    walk = Walk(3, size, unknowns)
    remembered: list[Pairs] = [[], [], []]
    for turn in acts:
        drawn = [curved(unknowns, generator) for _ in range(3)]
        walk.memory.forget(torch.tensor([act in ("forget", "renew") for act in turn]))
        for row, act in enumerate(turn):
            if act in ("forget", "renew"):
                remembered[row] = []
            if act in ("add", "renew"):
                remembered[row] = [*remembered[row], drawn[row]][-size:]
        found = walk.add(
            torch.stack([step for step, _ in drawn]),
            torch.stack([change for _, change in drawn]),
            torch.tensor([act in ("add", "renew") for act in turn]),
        )
        want = walk.want(remembered)
        assert (found - want).abs().max() <= 1e-8 * want.abs().max()
        assert (walk.direction() - want).abs().max() <= 1e-8 * want.abs().max()
    assert walk.memory.filled().tolist() == [bool(pairs) for pairs in remembered]


def test_the_ring_forgets_the_oldest_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [curved(20, generator) for _ in range(23)]
    walk = Walk(1, 7, 20)
    for end, (step, change) in enumerate(pairs, start=1):
        found = walk.add(step[None], change[None], torch.tensor([True]))
        torch.testing.assert_close(found, walk.want([pairs[max(0, end - 7) : end]]), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(walk.direction(), found, rtol=1e-12, atol=1e-14)


def test_pairs_without_positive_curvature_are_not_stored() -> None:
    walk = Walk(3, 4, 2, torch.float32)
    step = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    change = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = walk.add(step, change, torch.tensor([True, True, True]))
    assert not walk.memory.filled().any()
    assert torch.equal(found, -walk.gradient)


def test_keep_carries_each_rows_own_memory() -> None:
    generator = torch.Generator().manual_seed(1)
    walk = Walk(4, 3, 8)
    remembered: list[Pairs] = [[], [], [], []]

    def add(rows: Tensor) -> Tensor:
        drawn = [curved(8, generator) for _ in rows]
        for row in rows.nonzero()[:, 0].tolist():
            remembered[row] = [*remembered[row], drawn[row]][-3:]
        return walk.add(torch.stack([s for s, _ in drawn]), torch.stack([y for _, y in drawn]), rows)

    for turn in range(5):
        add(torch.arange(4) <= turn)
    rows = torch.tensor([3, 1])
    walk.memory, walk.gradient = walk.memory.keep(rows), walk.gradient[rows]
    remembered = [remembered[3], remembered[1]]
    # What a pair is worth depends on products that were made before the others left.
    found = add(torch.tensor([True, True]))
    torch.testing.assert_close(found, walk.want(remembered), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(walk.direction(), found)
