"""One matching-gradient evaluation: per victim, against the plain loop and against the machine's limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.setting import alternated, fresh, table, victims

SIZES = {"lenet": (1, 8, 64, 256), "convnet": (1, 8, 64, 256), "resnet18": (1, 8)}
ATTACKS = {"dlg": "squared distance over pixels and labels", "inverting_gradients": "one step of the attack"}


def sgemm_peak() -> float:
    """FLOP/s of a large float32 matrix product on one thread: the best of ten."""
    import torch

    left, right = torch.randn(1536, 1536), torch.randn(1536, 1536)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * 1536**3 / best


def _objective(model: str, attack: str, size: int) -> tuple[Any, Callable[[], object]]:
    import torch

    from bench.engine import Cosine, Euclidean, Objective, Pixels, PixelsAndLabels, total_variation
    from bench.engine.parametrise import starts

    seen = victims(model, size)
    if attack == "dlg":
        unknowns: Any = PixelsAndLabels.of(seen.observation)
        objective = Objective(seen.observation, unknowns, Euclidean(), alone=size == 1)
    else:
        unknowns = Pixels.of(seen.observation, seen.labels)
        prior = ((1e-3, total_variation),)
        objective = Objective(seen.observation, unknowns, Cosine(), prior, alone=size == 1)
    point = starts(seen.observation.ids, unknowns.size, seed=0, like=seen.observation.reference)
    if attack == "dlg":
        return seen, lambda: objective(point)

    def step() -> None:  # what SignedAdam does around an evaluation
        nonlocal point
        _, gradient = objective(point)
        first, second = torch.lerp(gradient.sign(), gradient, 0.9), gradient.square()
        point = (point - 1e-4 * first / (second.sqrt() + 1e-8)).clamp(0, 1)

    return seen, step


def timed(model: str, attack: str, size: int) -> dict[str, float]:
    """CPU seconds per victim, all measured in turns in one process."""
    import torch

    from bench.engine.gradients import one_hot
    from benchmarks.plain import evaluation, signed_adam_loop

    torch.set_num_threads(1)
    seen, batch = _objective(model, attack, size)
    observed = [value[0] for value in seen.observation.gradients.values()]
    weights, target = dict(seen.observation.parameters), one_hot(seen.labels[0], 10)
    steps = 10 if attack == "dlg" else 16
    network, shape = seen.observation.model, tuple(seen.images.shape[2:])
    once = evaluation(network, weights, observed, torch.rand_like(seen.images[0]), target)

    def loop() -> None:
        if attack == "dlg":
            for _ in range(steps):
                once()
        else:
            signed_adam_loop(network, weights, observed, shape, label=target, iterations=steps, seed=0)

    def without() -> None:
        with torch.backends.mkldnn.flags(enabled=False):
            loop()

    taken = alternated({"batch": batch, "plain": loop, "off": without})
    return {
        "batch": taken["batch"] / size,
        "plain": taken["plain"] / steps,
        "off": taken["off"] / steps,
    }


def flops(model: str) -> float:
    """Floating-point operations of one evaluation, counted by PyTorch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bench.engine.gradients import one_hot
    from benchmarks.plain import dummy_gradient, leaves

    seen = victims(model, 1)
    weights = leaves(dict(seen.observation.parameters))
    image = torch.rand_like(seen.images[0]).requires_grad_()
    target = one_hot(seen.labels[0], 10).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        dummy = dummy_gradient(seen.observation.model, weights, image, target)
        torch.stack([value.square().sum() for value in dummy]).sum().backward(inputs=[image, target])
    return float(counter.get_total_flops())


def report() -> str:
    """A table per network and attack."""
    peak = fresh(sgemm_peak)
    parts = [f"One thread's sgemm peak in this run: {peak / 1e9:.0f} GFLOP/s.", ""]
    for model, sizes in SIZES.items():
        work = fresh(flops, model)
        bound = work / peak
        parts += [
            f"One evaluation of `{model}` is {work / 1e6:.1f} MFLOP: {bound * 1e6:.0f} us at that peak.",
            "",
        ]
        rows = []
        for attack, what in ATTACKS.items():
            for size in sizes:
                one = fresh(timed, model, attack, size)
                rows.append(
                    {
                        "": f"{attack}: {what}",
                        "N": str(size),
                        "us per victim": f"{one['batch'] * 1e6:,.0f}",
                        "plain loop": f"{one['plain'] * 1e6:,.0f}",
                        "plain, oneDNN off": f"{one['off'] * 1e6:,.0f}",
                        "against the loop": f"{one['plain'] / one['batch']:.1f}x",
                        "with oneDNN off": f"{one['off'] / one['batch']:.1f}x",
                        "share of the peak": f"{bound / one['batch']:.0%}",
                    }
                )
        parts += [table(rows), ""]
    return "\n".join(parts)
