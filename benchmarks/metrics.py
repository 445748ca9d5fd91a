"""Batched metrics against their references, image by image; LPIPS against one pair at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.setting import fresh, table

PAIRS = 1000
REFERENCE = 100


def _best(function: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return min(taken)


def measured() -> list[dict[str, str]]:
    """CPU seconds for 1,000 colour pairs at 32x32; the references on 100 of them."""
    import torch
    from skimage import metrics

    from bench.metrics.perceptual import Lpips
    from bench.metrics.pixel import psnr
    from bench.metrics.ssim import ssim

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(PAIRS, 3, 32, 32, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    few = list(zip(a[:REFERENCE].numpy(), b[:REFERENCE].numpy(), strict=True))

    def similarity() -> None:
        for x, y in few:
            metrics.structural_similarity(
                x,
                y,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1,
                channel_axis=0,
            )

    def peak() -> None:
        for x, y in few:
            metrics.peak_signal_noise_ratio(x, y, data_range=1)

    lpips = Lpips("alex")

    def alone() -> None:
        for i in range(REFERENCE):
            lpips.distance(a[i : i + 1], b[i : i + 1])

    rows = []
    for name, ours, reference, whose in (
        ("SSIM", lambda: ssim(a, b), similarity, "scikit-image"),
        ("PSNR", lambda: psnr(a, b), peak, "scikit-image"),
        ("LPIPS", lambda: lpips.distance(a, b), alone, "one pair at a time"),
    ):
        mine, theirs = _best(ours), _best(reference) * PAIRS / REFERENCE
        rows.append(
            {
                "metric": name,
                "batched": f"{mine:.3f} s",
                "reference": f"{theirs:.3f} s ({whose})",
                "ratio": f"{theirs / mine:.1f}x",
            }
        )
    return rows


def report() -> str:
    """The table."""
    return f"{PAIRS:,} colour pairs at 32x32, one thread:\n\n" + table(fresh(measured))
