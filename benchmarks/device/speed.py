"""Stage: how fast attacks are, by the engine for N victims at once and by the plain loop."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.cells.determinism import make_deterministic
from bench.metrics.pixel import mse, psnr
from bench.plugins import build_attack
from benchmarks.attacks import SUCCESS
from benchmarks.device import material, plan
from benchmarks.device.book import FAILED, MEASURED, UNMEASURED
from benchmarks.device.supervise import begin, report

SHORT = 2.0
"""Seconds below which a measurement is repeated, and the median taken."""
TURNS = 3
WARM_UP = 6
FACTOR = 8
"""So many times as many victims are not tried if this many times the time is over the limit."""


@dataclass(frozen=True)
class Result:
    """What one turn found."""

    images: Tensor
    evaluations: Tensor


def main(device: str, keys: list[str]) -> None:
    """Measures the rows in their order; one that fails costs itself alone."""
    make_deterministic(torch.device(device))
    taken: dict[tuple[str, str], dict[int, float]] = {}
    for key in keys:
        case = plan.Case.of(key)
        known = taken.setdefault((case.attack, case.model), {}) if case.way == "engine" else {}
        begin(key)
        # A GPU takes hardly longer for more victims, until it is full: nothing can be said ahead.
        unlikely = None if device.startswith("cuda") else _unlikely(known, case.victims)
        row = unlikely or attempt(case, device)
        report({"key": key, **row})
        if row["status"] == MEASURED:
            known[case.victims] = row["seconds"]
        _still_there(device)


def attempt(case: plan.Case, device: str) -> dict[str, Any]:
    """One row, or the reason why there is none."""
    try:
        return {"status": MEASURED, "reason": "", **measure(case, device)}
    except torch.OutOfMemoryError as error:
        return {"status": FAILED, "reason": f"out of GPU memory: {str(error).partition('. ')[0]}"}
    except Exception as error:
        return {"status": FAILED, "reason": f"{type(error).__name__}: {error}"[:400]}


def measure(case: plan.Case, device: str) -> dict[str, Any]:
    """Wall-clock seconds of an attack after one to warm up, what it found, and its peak memory."""
    clear(device)
    given = material.material(case.attack, case.model, case.victims, device)
    once = _loop(case.attack, given) if case.way == "loop" else _engine(case.attack, given)
    once(min(WARM_UP, case.budget))
    reset_peak(device)
    found, seconds = timed(once, case.budget, device)
    return {
        "seconds": statistics.median(seconds),
        "turns": len(seconds),
        "evaluations": int(found.evaluations.sum()),
        **quality(found.images, given.images),
        "peak_mb": peak_mb(device),
    }


def timed(once: Callable[[int], Result], budget: int, device: str) -> tuple[Result, list[float]]:
    """One turn, or several if they are short; every turn finds the same."""
    seconds: list[float] = []
    while True:
        synchronise(device)
        start = time.perf_counter()
        found = once(budget)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
        if len(seconds) == TURNS or sum(seconds) > SHORT:
            return found, seconds


def quality(found: Tensor, wanted: Tensor) -> dict[str, float]:
    """Median PSNR, and the share of images below the error of a success."""
    images, truth = found.flatten(0, 1), wanted.flatten(0, 1)
    return {
        "psnr": psnr(images, truth).nan_to_num(0.0).median().item(),
        "success": (mse(images, truth) < SUCCESS).double().mean().item(),
    }


def _engine(attack: str, given: material.Material) -> Callable[[int], Result]:
    one: Any = build_attack(attack, {})

    def once(budget: int) -> Result:
        found = one.reconstruct(given.observation, budget=budget, seed=0)
        return Result(found.images, found.evaluations)

    return once


def _loop(attack: str, given: material.Material) -> Callable[[int], Result]:
    def once(budget: int) -> Result:
        found = material.looped(attack, given.observation, budget)
        return Result(
            torch.stack([one.image for one in found]), torch.tensor([one.evaluations for one in found])
        )

    return once


def _unlikely(known: dict[int, float], victims: int) -> dict[str, Any] | None:
    """A row that is not tried, since fewer victims took so long."""
    for size, seconds in known.items():
        expected = seconds * victims / size
        if victims >= FACTOR * size and size > 1 and expected > plan.ROW_SECONDS:
            reason = (
                f"{size} victims took {seconds:.0f} s, so that {victims} would take about {expected:.0f} s, "
                f"over the limit of {plan.ROW_SECONDS:.0f} s for one row"
            )
            return {"status": UNMEASURED, "reason": reason}
    return None


def clear(device: str) -> None:
    """Gives memory that nobody uses back, so that the engine sees how much there is."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def synchronise(device: str) -> None:
    """Waits for the GPU, whose work goes on after the call that asked for it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Starts a new measurement of memory."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> float | None:
    """Peak GPU memory in MB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else None


def _still_there(device: str) -> None:
    """Leaves with an error if the GPU answers no more: the caller starts a new process for the other rows."""
    synchronise(device)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
