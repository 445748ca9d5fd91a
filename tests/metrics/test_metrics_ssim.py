"""Batched SSIM against scikit-image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as skimage_metrics

from bench.metrics.ssim import gaussian_band, ssim

structural_similarity: Any = skimage_metrics.structural_similarity  # untyped


def _reference(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """One call of scikit-image per image, in float64."""
    return [
        structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]


def _assert_equal(a: torch.Tensor, b: torch.Tensor) -> None:
    assert ssim(a, b).tolist() == pytest.approx(_reference(a, b), abs=1e-5)
    exact = ssim(a.double(), b.double()).tolist()
    assert exact == pytest.approx(_reference(a, b), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3]),
    height=st.integers(11, 40),
    width=st.integers(11, 40),
    noise=st.floats(0, 1),
)
def test_equals_skimage(seed: int, channels: int, height: int, width: int, noise: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(3, channels, height, width, generator=generator)
    b = (a + noise * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    _assert_equal(a, b)


@pytest.mark.parametrize("base", [0.0, 0.5, 1.0])
def test_equals_skimage_on_flat_images(base: float) -> None:
    a = torch.full((2, 1, 32, 32), base)
    noise = 1e-3 * torch.rand(a.shape, generator=torch.Generator().manual_seed(0))
    _assert_equal(a, (a + noise - 5e-4).clamp(0, 1))


def test_negative_values_stay_negative() -> None:
    a = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert float(ssim(a, 1 - a).max()) < 0
    _assert_equal(a, 1 - a)


def test_batch_equals_one_image_at_a_time() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 150, 1, 32, 32, generator=generator)  # several chunks
    single = torch.cat([ssim(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    assert torch.allclose(ssim(a, b), single, atol=1e-7, rtol=0)


def test_identical_images_score_one() -> None:
    a = torch.rand(3, 3, 16, 20, generator=torch.Generator().manual_seed(2))
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 3, abs=1e-7)


def test_a_non_finite_image_voids_itself_only() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.rand(2, 3, 1, 16, 16, generator=generator)
    broken = b.clone()
    broken[0, 0, 0, 0] = torch.nan
    got = ssim(a, broken)
    assert got.isnan().tolist() == [True, False, False]
    assert torch.equal(got[1:], ssim(a, b)[1:])


def test_window_sums_to_one_and_too_small_images_are_refused() -> None:
    assert gaussian_band(20).sum(1).tolist() == pytest.approx([1.0] * 10, abs=1e-15)
    tiny = torch.rand(1, 1, 10, 32)
    with pytest.raises(ValueError, match="11x11"):
        ssim(tiny, tiny)


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_measures_what_a_cpu_measures(channels: int) -> None:
    a, b = torch.rand(2, 5, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    got = ssim(a.to("cuda"), b.to("cuda"))
    assert got.device.type == "cuda"
    assert got.tolist() == pytest.approx(ssim(a, b).tolist(), abs=1e-6)
