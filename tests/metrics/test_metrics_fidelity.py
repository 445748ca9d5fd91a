"""Quality of a generator: the Frechet distance against references, classes and spread against hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor

from bench.metrics.fidelity import CONFIDENT, confident, effective_classes, frechet_distance, spread


def features(count: int, width: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Correlated normal features."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    plain = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return scale * plain @ mix + shift


def reference(left: Tensor, right: Tensor) -> float:
    """The definition, with scipy's root of a matrix that is not symmetric."""
    a, b = left.double().numpy(), right.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second)
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(first + second - 2 * np.real(root)))


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(2, 12),
    counts=st.tuples(st.integers(40, 80), st.integers(40, 80)),
    seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)),
    scale=st.floats(0.1, 4),
    shift=st.floats(-3, 3),
)
def test_frechet_distance_is_scipys(
    width: int, counts: tuple[int, int], seeds: tuple[int, int], scale: float, shift: float
) -> None:
    left = features(counts[0], width, seeds[0])
    right = features(counts[1], width, seeds[1], scale=scale, shift=shift)
    found = frechet_distance(left, right)
    assert found == pytest.approx(reference(left, right), rel=1e-6)
    assert found == pytest.approx(frechet_distance(right, left), rel=1e-6)


def test_frechet_distance_of_independent_features_is_known() -> None:
    """With diagonal covariances it is ``sum of (m1 - m2)^2 + (s1 - s2)^2``."""
    signs = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).double()
    signs = signs * math.sqrt(7 / 8)  # eight rows with exactly the identity as their covariance
    torch.testing.assert_close(torch.cov(signs.T), torch.eye(3, dtype=torch.float64))
    means = torch.tensor([[0.0, 1.0, -2.0], [3.0, 1.0, 0.5]], dtype=torch.float64)
    widths = torch.tensor([[1.0, 2.0, 0.5], [4.0, 0.0, 0.5]], dtype=torch.float64)
    left, right = (signs * widths[side] + means[side] for side in (0, 1))
    wanted = (means[0] - means[1]).square().sum() + (widths[0] - widths[1]).square().sum()
    assert frechet_distance(left, right) == pytest.approx(wanted.item(), rel=1e-6)


def test_equal_moments_are_no_distance() -> None:
    known = features(50, 8, 0)
    assert frechet_distance(known, known) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(known, known[torch.randperm(50)]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(known, known + 2) == pytest.approx(8 * 4)


def test_turning_the_space_changes_nothing() -> None:
    left, right = features(60, 6, 0), features(70, 6, 1, scale=2, shift=1)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    assert frechet_distance(left @ turn, right @ turn) == pytest.approx(frechet_distance(left, right))


def test_fewer_images_than_features_are_enough() -> None:
    left, right = features(10, 32, 0), features(12, 32, 1)
    assert frechet_distance(left, left) == pytest.approx(0, abs=1e-5)
    first, second = torch.cov(left.T), torch.cov(right.T)
    nuclear = torch.linalg.svdvals((left - left.mean(0)) @ (right - right.mean(0)).T).sum()
    shared = nuclear / math.sqrt(9 * 11)  # the trace of the root is a nuclear norm
    wanted = (left.mean(0) - right.mean(0)).square().sum() + first.trace() + second.trace() - 2 * shared
    # eigenvalues that are zero come out as about 1e-16 of the largest, their roots as 1e-8
    assert frechet_distance(left, right) == pytest.approx(wanted.item(), rel=1e-5)


def test_single_precision_is_summed_in_double() -> None:
    left, right = features(60, 6, 0).float(), features(60, 6, 1).float()
    far = frechet_distance(left.double() + 1000, right.double() + 1000)
    assert far == pytest.approx(frechet_distance(left, right), rel=1e-6)


# --------------------------------------------------------------------------------- classes and variety


@pytest.mark.parametrize("classes", [1, 2, 5, 10])
def test_samples_spread_over_k_classes_count_as_k(classes: int) -> None:
    scores = 100 * torch.eye(10)[torch.arange(100) % classes]
    assert effective_classes(scores) == pytest.approx(classes, rel=1e-6)


def test_what_the_judge_cannot_tell_counts_as_all_classes() -> None:
    assert effective_classes(torch.zeros(7, 10)) == pytest.approx(10)
    uneven = 100 * torch.eye(4)[torch.tensor([0, 0, 0, 1])]
    wanted = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_classes(uneven) == pytest.approx(wanted)


def test_confident_is_the_share_above_the_threshold() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.2, 0.8], [0.05, 0.95], [0.5, 0.5]])
    assert CONFIDENT == 0.9
    assert confident(probabilities.log()) == 0.5
    assert confident(probabilities.log() + 7) == 0.5, "scores have no zero"


def test_spread_is_the_mean_distance_of_two_different_images() -> None:
    images = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pairs = [(images[i] - images[j]).norm().item() for i in range(9) for j in range(i)]
    assert spread(images) == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    assert spread(images[:1].expand(5, -1, -1, -1)) == 0
