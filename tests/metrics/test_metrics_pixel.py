"""PSNR and MSE against scikit-image, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as skimage_metrics

from bench.metrics import PSNR_CAP, mse, psnr
from bench.metrics.pixel import finite_images

mean_squared_error: Any = skimage_metrics.mean_squared_error  # untyped
peak_signal_noise_ratio: Any = skimage_metrics.peak_signal_noise_ratio


def _pair(seed: int, count: int = 4, channels: int = 3, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(count, channels, side, side, generator=generator)
    noise = torch.randn(a.shape, generator=generator)
    return a, (a + 0.1 * noise).clamp(0, 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3]), side=st.integers(1, 20))
def test_equals_skimage_per_image(seed: int, channels: int, side: int) -> None:
    a, b = _pair(seed, channels=channels, side=side)
    for i, (x, y) in enumerate(zip(a.double().numpy(), b.double().numpy(), strict=True)):
        assert float(mse(a, b)[i]) == pytest.approx(mean_squared_error(x, y), rel=1e-5)
        want = peak_signal_noise_ratio(x, y, data_range=1)
        assert float(psnr(a, b)[i]) == pytest.approx(min(want, PSNR_CAP), abs=1e-4)


def test_exact_reconstruction_scores_the_cap() -> None:
    a, _ = _pair(0)
    assert psnr(a, a).tolist() == [PSNR_CAP] * 4
    assert float(psnr(a, a + 1e-6).max()) == PSNR_CAP


def test_black_against_white_is_zero_decibel() -> None:
    black = torch.zeros(1, 1, 8, 8)
    assert float(psnr(black, 1 - black)) == 0.0


def test_values_outside_the_range_are_clamped_first() -> None:
    a, b = _pair(1)
    stretched = torch.where(b == 1, 7.0, torch.where(b == 0, -3.0, b))
    assert torch.equal(mse(a, stretched), mse(a, b))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_non_finite_pixel_voids_its_own_image_only(bad: float) -> None:
    a, b = _pair(2)
    broken = b.clone()
    broken[1, 0, 3, 3] = bad
    for metric in (mse, psnr):
        got, want = metric(a, broken), metric(a, b)
        assert got.isnan().tolist() == [False, True, False, False]
        assert torch.equal(got[[0, 2, 3]], want[[0, 2, 3]])


def test_inputs_are_left_alone() -> None:
    a = torch.full((1, 1, 4, 4), 2.0)
    finite_images(a)
    assert float(a.max()) == 2.0


def test_wrong_shapes_and_types_are_named() -> None:
    a, b = _pair(3)
    with pytest.raises(ValueError, match="shape"):
        mse(a, b[:2])
    with pytest.raises(ValueError, match=r"\[M, C, H, W\]"):
        mse(a[0], b[0])
    with pytest.raises(ValueError, match="floating"):
        mse((a * 255).byte(), (b * 255).byte())


@pytest.mark.gpu
@pytest.mark.parametrize("metric", [mse, psnr])
def test_a_gpu_measures_what_a_cpu_measures(
    metric: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    a, b = _pair(0)
    b[1, 0, 0, 0] = torch.nan
    got = metric(a.to("cuda"), b.to("cuda"))
    assert got.device.type == "cuda"
    assert got.tolist() == pytest.approx(metric(a, b).tolist(), rel=1e-5, nan_ok=True)
