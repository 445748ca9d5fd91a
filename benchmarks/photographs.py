"""DLG on crops of natural photographs, where a single start often fails."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.setting import fresh, table, victims

COUNT = 48
BUDGET = 4000


def crops(count: int, *, seed: int = 0) -> Any:
    """Random squares of scikit-image's and scikit-learn's photographs: ``[count, 1, 3, 32, 32]``."""
    import numpy as np
    import torch
    from skimage import data
    from skimage.transform import resize
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(seed)
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), *load_sample_images().images]
    rows = []
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        side = int(draw.integers(64, min(height, width) + 1))
        top, left = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
        piece = resize(photo[top : top + side, left : left + side], (32, 32), anti_aliasing=True)
        rows.append(torch.from_numpy(piece).float().permute(2, 0, 1))
    return torch.stack(rows).unsqueeze(1).clamp(0, 1)


def rebuilt(attack: str, arguments: dict[str, Any]) -> dict[str, str]:
    """One row: success, PSNR and cost on the crops."""
    import torch

    from bench.metrics.pixel import mse, psnr
    from bench.plugins import build_attack

    torch.set_num_threads(1)
    seen = victims("lenet", COUNT, images=crops(COUNT))
    start = time.process_time()
    found = build_attack(attack, arguments).reconstruct(seen.observation, budget=BUDGET, seed=0)
    seconds = time.process_time() - start
    flat, truth = found.images.flatten(0, 1), seen.images.flatten(0, 1)
    level = psnr(flat, truth)
    low, middle, high = level.nanquantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return {
        "attack": attack + "".join(f", {name} {value}" for name, value in arguments.items()),
        "success": f"{(mse(flat, truth) < 1e-3).double().mean():.1%}",
        "PSNR 10 / 50 / 90 %": f"{low:.0f} / {middle:.0f} / {high:.0f} dB",
        "evaluations": f"{found.evaluations.double().mean():.0f}",
        "CPU s per victim": f"{seconds / COUNT:.2f}",
    }


def report() -> str:
    """The table."""
    rows = [
        fresh(rebuilt, "dlg", {"restarts": 0}),
        fresh(rebuilt, "dlg", {}),
        fresh(rebuilt, "idlg", {}),
        fresh(rebuilt, "analytic", {}),
    ]
    head = (
        f"{COUNT} random squares of six colour photographs at 32x32, `lenet@initial`, at most {BUDGET:,} "
        "evaluations for each image, restarts included:"
    )
    return "\n".join([head, "", table(rows)])
