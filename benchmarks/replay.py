"""Would a recorded or a compiled graph pay? The same evaluation eager, replayed by torch.fx, compiled."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.setting import alternated, fresh, table, victims

SIZES = (11, 64)


def _evaluation(size: int) -> tuple[Any, Any]:
    import torch

    from bench.engine import Euclidean, Objective, PixelsAndLabels
    from bench.engine.parametrise import starts

    seen = victims("lenet", size).observation
    unknowns = PixelsAndLabels.of(seen)
    objective = Objective(seen, unknowns, Euclidean())

    def evaluate(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = point.detach().requires_grad_()
        total = objective.costs(leaf)
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), gradient

    return evaluate, starts(seen.ids, unknowns.size, seed=0, like=seen.reference)


def recorded(size: int, *, compiled: bool) -> dict[str, float]:
    """Wall-clock seconds to make the graph once, and CPU seconds per evaluation."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    torch.set_num_threads(1)
    evaluate, point = _evaluation(size)
    want = evaluate(point)
    start = time.perf_counter()
    graph = make_fx(evaluate)(point)
    with torch.no_grad():
        if compiled:
            graph = torch.compile(graph, fullgraph=True)
        found = graph(point)
        once = time.perf_counter() - start
        gap = max((a - b).abs().max().item() / b.abs().max().item() for a, b in zip(found, want, strict=True))
        taken = alternated(
            {"eager": lambda: eagerly(evaluate, point), "other": lambda: graph(point)}, rounds=15
        )
    return {**taken, "once": once, "gap": gap}


def eagerly(evaluate: Any, point: Any) -> Any:
    import torch

    with torch.enable_grad():
        return evaluate(point)


def met(size: int) -> tuple[int, int]:
    """Evaluations that a search of so many victims makes, and batch sizes that it meets as they leave it."""
    import torch

    from bench.engine import Objective
    from bench.plugins import build_attack

    torch.set_num_threads(1)
    sizes: list[int] = []
    evaluate = Objective.__call__

    def counted(self: Objective, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(point))
        return evaluate(self, point)

    Objective.__call__ = counted  # type: ignore[method-assign]  # in a process of its own
    build_attack("idlg", {}).reconstruct(victims("lenet", size).observation, budget=1200, seed=0)
    return len(sizes), len(set(sizes))


def _row(what: str, size: int, one: dict[str, float]) -> dict[str, str]:
    gain = one["eager"] - one["other"]
    pays = f"{one['once'] / gain:,.0f}" if gain > 0 else "never"
    return {
        "": what,
        "N": str(size),
        "eager": f"{one['eager'] * 1e3:.1f} ms",
        "this": f"{one['other'] * 1e3:.1f} ms",
        "gain": f"{one['eager'] / one['other']:.2f}x",
        "paid once per shape": f"{one['once']:.1f} s",
        "pays after evaluations": pays,
        "largest relative difference": f"{one['gap']:.0e}",
    }


def report() -> str:
    """The table; torch.compile needs a C++ compiler and says so where there is none."""
    evaluations, shapes = fresh(met, SIZES[-1])
    head = (
        f"A search of iDLG on {SIZES[-1]} victims makes {evaluations} evaluations of {shapes} shapes, as "
        "victims that are done leave the batch. A graph pays only if it serves a shape more often than the "
        "table says, so none is built in."
    )
    rows = [_row("replayed by torch.fx", size, fresh(recorded, size, compiled=False)) for size in SIZES]
    lines = []
    try:
        rows += [_row("torch.compile", size, fresh(recorded, size, compiled=True)) for size in SIZES]
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        lines = ["", f"torch.compile fails here: {type(error).__name__}: {reason}"]
    import torch

    if not torch.cuda.is_available():
        lines += ["", "CUDA graphs: not measured, there is no CUDA device on this machine."]
    return "\n".join([head, "", table(rows), *lines])
