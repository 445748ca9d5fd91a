"""A results folder of channel ``model``, made of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.report.conftest import Folder


def quality(seed: int, **changes: float | None) -> dict[str, Any]:
    """What a record says of a generator of that seed."""
    known = {"frechet": 0.3, "frechet_real": 0.02, "confident": 0.55, "confident_real": 0.9, "classes": 9.5}
    part = {"kind": "gan", **known, "diversity": 0.95 + 0.01 * seed} | changes
    return {"generator": part, "stages": {"generator": f"{seed:064x}"}}


def by_class(
    *,
    seeds: int = 3,
    classes: int = 5,
    batch: int = 4,
    model: str = "convnet",
    folder: Folder | None = None,
) -> Folder:
    """A released classifier under two defenses: the better an attack, the more often it is recognised."""
    folder = Folder() if folder is None else folder
    generator = np.random.default_rng(11)
    rows: list[tuple[str, float | None]] = [("none", None), ("smooth", 0.1), ("smooth", 0.3), ("bound", 1.0)]
    attacks = {
        "inverter": 0.9,
        "rival[steps=9]": 0.7,
        "blind": 0.1,
        "blind[guess=noise]": 0.1,
        "other_class": 0.2,
    }
    for place, (defense, strength) in enumerate(rows):
        for seed in range(seeds):
            for number, (attack, rate) in enumerate(attacks.items()):
                size = classes * batch
                floor = attack.split("[")[0] in ("blind", "other_class")
                lpips = np.clip(
                    generator.normal(0.1 + 0.05 * number + 0.04 * place * (not floor), 0.03, size), 0.001, 1
                )
                rates = rate - (0.1 * place) * (not floor)
                seen = generator.random(size) < rates
                folder.add(
                    attack,
                    defense,
                    strength,
                    channel="model",
                    model=model,
                    checkpoint="trained",
                    seed=seed,
                    batch_size=batch,
                    lpips=lpips,
                    psnr=20 - 20 * lpips,
                    ssim=0.5 - lpips,
                    recognised=seen.astype(int),
                    recognised5=(seen | (generator.random(size) < 0.5)).astype(int),
                    feature_distance=1 + 5 * lpips,
                    diversity=generator.uniform(1, 2, size),
                    means={"recognised": float(seen.mean()), "lpips": float(lpips.mean())},
                    accuracy=0.95 - 0.01 * place,
                    **(quality(seed) if attack in ("inverter", "other_class") else {}),
                )
    return folder
