"""Does an attack stay under the limit that it is given?"""

from __future__ import annotations

from benchmarks.setting import fresh, peak_mb, table, victims

LIMITS_MB = (0, 300, 100, 30)
CASES = (
    ("lenet", "dlg", 256),
    ("convnet", "inverting_gradients", 256),
    ("resnet18", "inverting_gradients", 6),
)


def grown(model: str, attack: str, count: int, limit_mb: int) -> dict[str, str]:
    """Peak memory of one attack above that of the process before it."""
    import torch

    from bench.engine.memory import bytes_per_victim, set_limit
    from bench.plugins import build_attack

    torch.set_num_threads(1)
    set_limit(limit_mb * 2**20 or None)
    seen = victims(model, count)
    before = peak_mb()
    one = build_attack(attack, {})
    one.reconstruct(seen.observation, budget=24 if model == "resnet18" else 130, seed=0)
    pairs = getattr(getattr(one, "optimiser", None), "history", 0)
    estimate = bytes_per_victim(seen.observation, unknowns=1024, pairs=pairs) / 2**20
    return {
        "network": model,
        "attack": attack,
        "victims": str(count),
        "limit": f"{limit_mb} MB" if limit_mb else "default",
        "estimate per victim": f"{estimate:.1f} MB",
        "peak above the start": f"{peak_mb() - before:.0f} MB",
    }


def report() -> str:
    """The table."""
    rows = []
    for model, attack, count in CASES:
        limits = (0, 3000) if model == "resnet18" else LIMITS_MB
        rows += [fresh(grown, model, attack, count, limit) for limit in limits]
    return table(rows)
