"""Whole attacks: successful reconstructions per CPU second, batched against one victim at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.setting import fresh, peak_mb, table, victims

BUDGET = 1200
SUCCESS = 1e-3
PLAIN_VICTIMS = 32
SIZES = (1, 8, 64, 256)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way of attacking reached and took."""

    who: str
    victims: int
    success: float
    psnr: float
    seconds: float
    evaluations: float
    peak_mb: float

    @property
    def per_success(self) -> float:
        """CPU seconds per successful reconstruction."""
        return self.seconds / max(self.success * self.victims, 1e-9)


def judged(who: str, images: Any, originals: Any, seconds: float, evaluations: float) -> Cost:
    from bench.metrics.pixel import mse, psnr

    flat, truth = images.flatten(0, 1), originals.flatten(0, 1)
    return Cost(
        who=who,
        victims=len(flat),
        success=(mse(flat, truth) < SUCCESS).double().mean().item(),
        psnr=psnr(flat, truth).nan_to_num(0.0).median().item(),
        seconds=seconds,
        evaluations=evaluations,
        peak_mb=peak_mb(),
    )


def batched(attack: str, count: int, arguments: dict[str, Any], who: str, model: str = "lenet") -> Cost:
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


def plain(attack: str, onednn: bool, first: int, count: int) -> Cost:
    """The published loop on some victims, one after another."""
    import torch

    from bench.engine.gradients import one_hot
    from bench.engine.labels import single_labels
    from benchmarks.plain import lbfgs_loop

    torch.set_num_threads(1)
    seen = victims("lenet", first + count)
    labels = one_hot(single_labels(seen.observation), 10)
    images, spent = [], 0
    with torch.backends.mkldnn.flags(enabled=onednn):
        start = time.process_time()
        for i in range(first, first + count):
            found = lbfgs_loop(
                seen.observation.model,
                dict(seen.observation.parameters),
                [value[i] for value in seen.observation.gradients.values()],
                tuple(seen.images.shape[2:]),
                label=None if attack == "dlg" else labels[i],
                budget=BUDGET,
                seed=i,
            )
            images.append(found.image)
            spent += found.evaluations
        seconds = time.process_time() - start
    who = "published loop" if onednn else "published loop, oneDNN off"
    return judged(who, torch.stack(images), seen.images[first:], seconds, spent / count)


def merged(parts: list[Cost]) -> Cost:
    """The same measurement on different victims, as one."""
    total = sum(part.victims for part in parts)

    def mean(name: str) -> float:
        return float(sum(getattr(part, name) * part.victims for part in parts)) / total

    return replace(
        parts[0],
        victims=total,
        success=mean("success"),
        psnr=sorted(part.psnr for part in parts)[len(parts) // 2],
        seconds=sum(part.seconds for part in parts),
        evaluations=mean("evaluations"),
        peak_mb=max(part.peak_mb for part in parts),
    )


def measure(attack: str) -> list[Cost]:
    """Both loops and all batch sizes; the loops' victims are measured in turns between the batches."""
    loops: dict[bool, list[Cost]] = {True: [], False: []}
    ours = []
    piece = PLAIN_VICTIMS // 4
    for turn, size in enumerate(SIZES):
        for onednn in loops:
            loops[onednn].append(fresh(plain, attack, onednn, turn * piece, piece))
        ours.append(fresh(batched, attack, size, {}, f"engine, N = {size}"))
    fixed = fresh(batched, attack, 64, {"line_search": "fixed", "restarts": 0}, "engine, fixed step, N = 64")
    return [merged(loops[True]), merged(loops[False]), *ours, fixed]


def report() -> str:
    """The tables of DLG and iDLG."""
    parts = []
    for attack in ("dlg", "idlg"):
        rows = measure(attack)
        base, off = rows[0].per_success, rows[1].per_success
        parts += [f"### `{attack}` on `lenet@initial`, undefended, at most {BUDGET:,} evaluations", ""]
        parts += [table([_row(one, base, off) for one in rows]), ""]
    return "\n".join(parts)


def _row(one: Cost, base: float, off: float) -> dict[str, str]:
    return {
        "": one.who,
        "victims": str(one.victims),
        "success": f"{one.success:.1%}",
        "median PSNR": f"{one.psnr:.1f} dB",
        "CPU s per victim": f"{one.seconds / one.victims:.3f}",
        "CPU s per success": f"{one.per_success:.3f}",
        "evaluations": f"{one.evaluations:.0f}",
        "peak memory": f"{one.peak_mb:.0f} MB",
        "against the loop": f"{base / one.per_success:.1f}x",
        "against it with oneDNN off": f"{off / one.per_success:.1f}x",
    }
