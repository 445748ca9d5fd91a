"""The compact form of L-BFGS gives the direction of the textbook's two-loop recursion."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.engine.history import History

Pairs = list[tuple[Tensor, Tensor]]


def add(memory: History, step: Tensor, change: Tensor, rows: Tensor) -> None:
    """Stores pairs without looking at a direction."""
    memory.turn(step, change, torch.zeros_like(step), rows)


def direction(memory: History, slope: Tensor) -> Tensor:
    """The direction without a new pair."""
    nothing = torch.zeros_like(slope)
    return memory.turn(nothing, nothing, slope, torch.zeros(len(slope), dtype=torch.bool))


def two_loops(pairs: Pairs, slope: Tensor) -> Tensor:
    """Nocedal and Wright, Algorithm 7.4, for one row; pairs from oldest to newest."""
    remaining, shares = slope.clone(), []
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
    # One entry per time and row: store a pair, store nothing, or forget everything.
    acts=st.lists(st.tuples(*[st.sampled_from(["add", "add", "add", "skip", "forget"])] * 3), max_size=14),
)
def test_direction_is_that_of_the_two_loop_recursion(
    seed: int, size: int, unknowns: int, acts: list[tuple[str, str, str]]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    memory = History.empty(3, size, torch.zeros(3, unknowns, dtype=torch.float64))
    remembered: list[Pairs] = [[], [], []]
    for turn in acts:
        drawn = [curved(unknowns, generator) for _ in range(3)]
        memory.forget(torch.tensor([act == "forget" for act in turn]))
        for row, act in enumerate(turn):
            if act == "forget":
                remembered[row] = []
            elif act == "add":
                remembered[row] = [*remembered[row], drawn[row]][-size:]
        add(
            memory,
            torch.stack([step for step, _ in drawn]),
            torch.stack([change for _, change in drawn]),
            torch.tensor([act == "add" for act in turn]),
        )
    slope = torch.randn(3, unknowns, generator=generator, dtype=torch.float64)
    want = torch.stack([two_loops(pairs, g) for pairs, g in zip(remembered, slope, strict=True)])
    assert (direction(memory, slope) - want).abs().max() <= 1e-8 * want.abs().max()
    assert memory.filled().tolist() == [bool(pairs) for pairs in remembered]


def test_the_ring_forgets_the_oldest_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [curved(20, generator) for _ in range(23)]
    memory = History.empty(1, 7, torch.zeros(1, 20, dtype=torch.float64))
    slope = torch.randn(1, 20, generator=generator, dtype=torch.float64)
    for end, (step, change) in enumerate(pairs, start=1):
        found = memory.turn(step[None], change[None], slope, torch.tensor([True]))[0]
        want = two_loops(pairs[max(0, end - 7) : end], slope[0])
        torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(direction(memory, slope)[0], found, rtol=1e-12, atol=1e-14)


def test_pairs_without_positive_curvature_are_not_stored() -> None:
    memory = History.empty(3, 4, torch.zeros(3, 2))
    step = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    change = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    add(memory, step, change, torch.tensor([True, True, True]))
    assert not memory.filled().any()
    slope = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert torch.equal(direction(memory, slope), -slope)


def test_keep_carries_each_rows_own_memory() -> None:
    generator = torch.Generator().manual_seed(1)
    memory = History.empty(4, 3, torch.zeros(4, 8, dtype=torch.float64))
    for turn in range(5):
        drawn = [curved(8, generator) for _ in range(4)]
        add(
            memory,
            torch.stack([s for s, _ in drawn]),
            torch.stack([y for _, y in drawn]),
            torch.arange(4) <= turn,
        )
    slope = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(direction(memory.keep(rows), slope[rows]), direction(memory, slope)[rows])
