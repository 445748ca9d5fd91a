"""What it costs that attacks run in a process of their own. Wall-clock time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.setting import fresh, table, victims

RELEASES, BUDGET = 15, 1000
MODELS = ("lenet", "convnet", "resnet18")


def received(observation: Any) -> int:
    """What an attack does that does nothing."""
    return int(observation.victims)


def seconds(function: Callable[[], object], turns: int = 5) -> float:
    """The median of some calls."""
    taken = []
    for _ in range(turns):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def started() -> list[dict[str, str]]:
    """Starts of the process: the first one, which starts the server, and those that follow."""
    import torch

    from bench.cells.attack_process import AttackProcess

    def ready() -> None:
        AttackProcess.served(torch.device("cpu")).run(time.perf_counter)

    first = seconds(ready, 1)
    return [{"first": f"{first:.2f} s", "every other": f"{seconds(ready):.2f} s"}]


def moved(model: str) -> dict[str, str]:
    """The way of one cell's observation there, beside one evaluation of its matching gradients."""
    import torch

    from bench.cells.attack_process import AttackProcess
    from bench.cells.transfer import to_bytes
    from bench.engine import Euclidean, Objective, PixelsAndLabels
    from bench.engine.parametrise import starts

    torch.set_num_threads(1)
    seen = victims(model, RELEASES).observation
    process = AttackProcess.served(torch.device("cpu"))
    process.run(received, seen)
    unknowns = PixelsAndLabels.of(seen)
    objective = Objective(seen, unknowns, Euclidean())
    point = starts(seen.ids, unknowns.size, seed=0, like=seen.reference)
    way, step = seconds(lambda: process.run(received, seen)), seconds(lambda: objective(point))
    return {
        "network": model,
        "observation": f"{len(to_bytes(seen, ())) / 2**20:.1f} MB",
        "way": f"{way * 1e3:.0f} ms",
        "one evaluation": f"{step * 1e3:.0f} ms",
        f"way in evaluations, of {BUDGET}": f"{way / step:.1f}",
    }


def report() -> str:
    """The tables."""
    rows = [fresh(moved, model) for model in MODELS]
    head = f"The observation of {RELEASES} releases, sent to an attack that does nothing, and its answer:\n\n"
    return f"{head}{table(rows)}\n\nStarting the process:\n\n{table(fresh(started))}"
