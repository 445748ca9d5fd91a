"""Scores of whole releases: one assignment for everything, one bad image disturbs no other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.metrics import PSNR_CAP, ImageScores, Lpips, mse, psnr, score_releases, ssim
from bench.metrics.identity import MIN_POOL

N, B, SIDE, CLASSES = 3, 4, 32, 5


def _images(*shape: int, seed: int) -> Tensor:
    """Random smooth images `[..., 1, SIDE, SIDE]`."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(torch.Size(shape).numel(), 1, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=SIDE, mode="bilinear").reshape(*shape, 1, SIDE, SIDE)


ORIGINALS, POOL = _images(N, B, seed=0), _images(110, seed=1)
LABELS = torch.arange(N * B).reshape(N, B) % CLASSES


def _oracle(images: Tensor) -> Tensor:
    """An evaluator that knows the originals: logits by the nearest one's label."""
    nearest = torch.cdist(images.flatten(1), ORIGINALS.flatten(0, 1).flatten(1)).argmin(1)
    return torch.nn.functional.one_hot(LABELS.flatten()[nearest], CLASSES).float()


def _score(
    reconstructions: Tensor, recovered: Tensor | None = None, lpips: Lpips | None = None
) -> ImageScores:
    return score_releases(
        ORIGINALS, reconstructions, LABELS, recovered, pool=POOL, lpips=lpips, evaluator=_oracle
    )


def _assert_exact(scores: ImageScores) -> None:
    assert (scores.psnr == PSNR_CAP).all()
    assert torch.allclose(scores.ssim, torch.ones(N, B))
    assert scores.identified.all()
    assert (scores.label_correct == 1).all()
    assert (scores.recognised == 1).all()


def test_exact_under_a_three_cycle_scores_as_exact(alex: Lpips) -> None:
    cycle = [1, 2, 0, 3]
    scores = _score(ORIGINALS[:, cycle], LABELS[:, cycle], alex)
    _assert_exact(scores)
    assert float(scores.lpips.max()) < 1e-6
    assert scores.order.tolist() == [[2, 0, 1, 3]] * N


@settings(max_examples=20, deadline=None)
@given(orders=st.lists(st.permutations(range(B)), min_size=N, max_size=N))
def test_exact_under_any_permutation_scores_as_exact(orders: list[list[int]]) -> None:
    shuffled = torch.stack([x[order] for x, order in zip(ORIGINALS, orders, strict=True)])
    labels = torch.stack([y[order] for y, order in zip(LABELS, orders, strict=True)])
    scores = _score(shuffled, labels)
    _assert_exact(scores)
    assert scores.lpips.isnan().all()


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(B)), seed=st.integers(0, 1000))
def test_scores_do_not_depend_on_the_order_of_reconstructions(order: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    noisy = ORIGINALS + 0.3 * torch.randn(ORIGINALS.shape, generator=generator)
    a, b = _score(noisy), _score(noisy[:, order])
    for name in ("psnr", "ssim", "identified", "recognised"):
        assert torch.allclose(getattr(a, name).float(), getattr(b, name).float(), atol=1e-5), name


def test_every_metric_uses_the_same_assignment(alex: Lpips) -> None:
    noisy = ORIGINALS.flip(1) + 0.2 * torch.randn(ORIGINALS.shape, generator=torch.Generator().manual_seed(0))
    scores = _score(noisy, LABELS.flip(1), alex)
    for n in range(N):
        matched = noisy[n][scores.order[n]]
        assert torch.allclose(scores.psnr[n], psnr(ORIGINALS[n], matched))
        assert torch.allclose(scores.ssim[n], ssim(ORIGINALS[n], matched))
        assert torch.allclose(scores.lpips[n], alex.distance(ORIGINALS[n], matched), atol=1e-5)
        right = LABELS[n].flip(0)[scores.order[n]] == LABELS[n]
        assert scores.label_correct[n].tolist() == right.float().tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_reconstruction_disturbs_no_other(alex: Lpips, bad: float) -> None:
    broken = ORIGINALS.clone()
    broken[1, 2, 0, 0, 0] = bad
    scores = _score(broken, None, alex)
    hit = torch.zeros(N, B, dtype=torch.bool)
    hit[1, 2] = True
    for values in (scores.psnr, scores.ssim, scores.lpips):
        assert torch.equal(values.isnan(), hit)
    assert torch.equal(scores.identified, ~hit)
    assert torch.equal(scores.recognised == 0, hit)
    assert scores.label_correct.isnan().all()


def test_without_an_evaluator_recognition_is_unknown() -> None:
    scores = score_releases(ORIGINALS, ORIGINALS, LABELS, None, pool=POOL, lpips=None, evaluator=None)
    assert scores.recognised.isnan().all()
    assert all(getattr(scores, name).shape == (N, B) for name in ImageScores.__dataclass_fields__)


def test_copies_of_an_original_make_no_false_tie() -> None:
    originals = ORIGINALS.clone()
    originals[2, 1] = originals[0, 0]  # the same private image in two releases, and once more in the pool
    pool = torch.cat([POOL, originals[0, :1]])
    scores = score_releases(originals, originals, LABELS, None, pool=pool, lpips=None, evaluator=None)
    assert scores.identified.all()


def test_a_pool_embedded_before_scores_the_same(alex: Lpips) -> None:
    common = {"labels": LABELS, "recovered_labels": None, "pool": POOL, "lpips": alex, "evaluator": None}
    noisy = ORIGINALS + 0.3 * torch.randn(ORIGINALS.shape, generator=torch.Generator().manual_seed(2))
    plain = score_releases(ORIGINALS, noisy, **common)
    shared = score_releases(ORIGINALS, noisy, pool_emb=alex.embed(POOL), **common)
    assert torch.equal(plain.identified, shared.identified)
    assert torch.allclose(plain.lpips, shared.lpips, atol=1e-6)
    lost = score_releases(
        ORIGINALS, noisy, pool_emb=alex.embed(noisy.flatten(0, 1)).repeat(10, 1)[:110], **common
    )
    assert not lost.identified.any(), "copies of the reconstructions are nearer than their originals"


def test_identification_fails_for_a_constant_guess() -> None:
    mean = ORIGINALS.mean((0, 1), keepdim=True).expand_as(ORIGINALS)
    assert _score(mean).identified.sum() <= 1  # at most the one image nearest to the mean


def test_originals_and_reconstructions_are_clamped() -> None:
    white = torch.ones_like(ORIGINALS)
    assert torch.equal(_score(white * 3).psnr, _score(white).psnr)
    assert torch.allclose(_score(white).psnr[0], -10 * mse(ORIGINALS[0], white[0]).log10())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="reconstructions"):
        _score(ORIGINALS[:, :2])
    with pytest.raises(ValueError, match="recovered_labels"):
        _score(ORIGINALS, LABELS[:1])
    with pytest.raises(ValueError, match=str(MIN_POOL)):
        few = POOL[: MIN_POOL - 1]
        score_releases(ORIGINALS, ORIGINALS, LABELS, None, pool=few, lpips=None, evaluator=None)
    with pytest.raises(ValueError, match="finite"):
        score_releases(ORIGINALS / 0, ORIGINALS, LABELS, None, pool=POOL, lpips=None, evaluator=None)
