"""Whole attacks: successful reconstructions per CPU second, batched against one victim at a time."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.setting import fresh, peak_mb, table, victims

BUDGET = 1200
ITERATIONS = 240
SUCCESS = 1e-3
PIECE = 16
TURNS = 2
SIZES = (1, 8, 64, 256)
ONCE = 256
"""Batches of this size are measured in the last turn only, as is the published rule."""

PUBLISHED = ("dlg", "idlg")
"""Attacks whose algorithm as published is measured in the engine, too."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way of attacking reached and took; ``levels`` are the PSNR of its victims."""

    who: str
    success: float
    levels: tuple[float, ...]
    seconds: float
    evaluations: float
    peak_mb: float

    @property
    def victims(self) -> int:
        """How many were attacked."""
        return len(self.levels)

    @property
    def per_success(self) -> float:
        """CPU seconds per successful reconstruction; infinite if there was none."""
        found = self.success * self.victims
        return self.seconds / found if found else float("inf")


def judged(who: str, images: Any, originals: Any, seconds: float, evaluations: float) -> Cost:
    from bench.metrics.pixel import mse, psnr

    flat, truth = images.flatten(0, 1), originals.flatten(0, 1)
    return Cost(
        who=who,
        success=(mse(flat, truth) < SUCCESS).double().mean().item(),
        levels=tuple(psnr(flat, truth).nan_to_num(0.0).tolist()),
        seconds=seconds,
        evaluations=evaluations,
        peak_mb=peak_mb(),
    )


def batched(model: str, attack: str, count: int, arguments: dict[str, Any], who: str) -> Cost:
    """The suite's own attack on ``count`` victims at once."""
    import torch

    from bench.plugins import build_attack

    torch.set_num_threads(1)
    seen = victims(model, count)
    one = build_attack(attack, arguments)
    one.reconstruct(seen.observation.select(torch.arange(min(2, count))), budget=3, seed=0)
    start = time.process_time()
    found = one.reconstruct(seen.observation, budget=BUDGET, seed=0)
    seconds = time.process_time() - start
    return judged(who, found.images, seen.images, seconds, found.evaluations.double().mean().item())


def plain(model: str, attack: str, onednn: bool, first: int, count: int) -> Cost:
    """The published loop on some victims, one after another."""
    import torch

    from bench.engine.gradients import one_hot
    from bench.engine.labels import single_labels
    from benchmarks.plain import lbfgs_loop, signed_adam_loop

    torch.set_num_threads(1)
    seen = victims(model, first + count)
    labels = one_hot(single_labels(seen.observation), 10)
    weights, shape = dict(seen.observation.parameters), tuple(seen.images.shape[2:])
    found = []
    with torch.backends.mkldnn.flags(enabled=onednn):
        start = time.process_time()
        for i in range(first, first + count):
            observed = [value[i] for value in seen.observation.gradients.values()]
            victim = (seen.observation.model, weights, observed, shape)
            if attack == "inverting_gradients":
                found.append(signed_adam_loop(*victim, label=labels[i], iterations=ITERATIONS, seed=i))
            else:
                label = None if attack == "dlg" else labels[i]
                found.append(lbfgs_loop(*victim, label=label, budget=BUDGET, seed=i))
        seconds = time.process_time() - start
    who = "published loop" if onednn else "published loop, oneDNN off"
    images = torch.stack([one.image for one in found])
    return judged(who, images, seen.images[first:], seconds, sum(one.evaluations for one in found) / count)


def merged(parts: list[Cost]) -> Cost:
    """The same loop on different victims, as one."""
    total = sum(part.victims for part in parts)
    return replace(
        parts[0],
        success=sum(part.success * part.victims for part in parts) / total,
        levels=tuple(level for part in parts for level in part.levels),
        seconds=sum(part.seconds for part in parts),
        evaluations=sum(part.evaluations * part.victims for part in parts) / total,
        peak_mb=max(part.peak_mb for part in parts),
    )


def median(turns: list[Cost]) -> Cost:
    """The same measurement, several times: all but the time is the same each time."""
    return replace(turns[0], seconds=statistics.median(one.seconds for one in turns))


def measure(model: str, attack: str) -> list[Cost]:
    """Both loops and all batch sizes, in turns; the loops meet other victims in each turn."""
    from bench.plugins import attack_card

    loops: dict[bool, list[Cost]] = {True: [], False: []}
    ours: dict[str, list[Cost]] = {}
    ways: list[tuple[str, int, dict[str, Any]]] = [(f"engine, N = {size}", size, {}) for size in SIZES]
    if attack in PUBLISHED:
        ways.append(("engine, published rule, N = 64", 64, attack_card(attack).published))
    for turn in range(TURNS):
        for onednn in loops:
            loops[onednn].append(fresh(plain, model, attack, onednn, turn * PIECE, PIECE))
        for who, size, arguments in ways:
            if (size < ONCE and not arguments) or turn == TURNS - 1:
                ours.setdefault(who, []).append(fresh(batched, model, attack, size, arguments, who))
    return [merged(loops[True]), merged(loops[False]), *(median(ours[who]) for who, *_ in ways)]


def report(attack: str, *models: str) -> str:
    """The tables of one attack, a table per network."""
    limit = f"{ITERATIONS} iterations" if attack not in PUBLISHED else f"at most {BUDGET:,} evaluations"
    parts = []
    for model in models:
        rows = measure(model, attack)
        parts += [f"### `{attack}` on `{model}@initial`, undefended, {limit}", ""]
        parts += [table([_row(one, *rows[:2]) for one in rows]), ""]
    return "\n".join(parts)


def _row(one: Cost, loop: Cost, without: Cost) -> dict[str, str]:
    def times(base: float, own: float) -> str:
        return f"{base / own:.1f}x" if max(base, own) < float("inf") else "n/a"

    each = one.seconds / one.victims
    return {
        "": one.who,
        "victims": str(one.victims),
        "success": f"{one.success:.1%}",
        "median PSNR": f"{statistics.median(one.levels):.1f} dB",
        "CPU s per victim": f"{each:.3f}",
        "CPU s per success": f"{one.per_success:.3f}",
        "evaluations": f"{one.evaluations:.0f}",
        "peak memory": f"{one.peak_mb:.0f} MB",
        "per victim, against the loop": times(loop.seconds / loop.victims, each),
        "per success, against the loop": times(loop.per_success, one.per_success),
        "against it with oneDNN off": times(without.per_success, one.per_success),
    }
