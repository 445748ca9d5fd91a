"""What an attack returned: refused where it cannot be scored, else made ready to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.api.errors import PluginError
from bench.rounding import finite

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.attack import Reconstruction


def check_reconstruction(result: Reconstruction, expected: tuple[int, ...], attack: str) -> None:
    """Refuses what cannot be scored; single victims that diverged can be, as such.

    Raises:
        PluginError: a wrong type, shape or dtype, or not one finite image.
    """
    import torch

    releases, batch = expected[:2]
    wanted: dict[str, tuple[object, tuple[int, ...]]] = {
        "images": (getattr(result, "images", None), expected),
        "cost": (getattr(result, "cost", None), (releases,)),
        "evaluations": (getattr(result, "evaluations", None), (releases,)),
    }
    if getattr(result, "labels", None) is not None:
        wanted["labels"] = (result.labels, (releases, batch))
    for name, (value, shape) in wanted.items():
        if not isinstance(value, torch.Tensor):
            raise PluginError(f"attack {attack}: {name} is no tensor but {type(value).__name__}")
        if tuple(value.shape) != shape:
            raise PluginError(f"attack {attack}: {name} has shape {tuple(value.shape)}, expected {shape}")
    if result.images.dtype != torch.float32:
        raise PluginError(f"attack {attack}: images are {result.images.dtype}, expected torch.float32")
    if not bool(result.images.isfinite().flatten(2).all(2).any()):
        raise PluginError(f"attack {attack}: no victim has a finite reconstruction")


def rebuilt(result: Reconstruction) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and what was spent."""
    spent = result.evaluations.double()
    cost = result.cost.detach().double()
    finite_cost = cost[cost.isfinite()]
    tensors = {
        "images": result.images.detach().clamp(0, 1),
        "cost": cost,
        "evaluations": result.evaluations,
    }
    if result.labels is not None:
        tensors["labels"] = result.labels
    facts = {
        "evaluations_mean": spent.mean().item(),
        "evaluations_max": int(spent.max().item()),
        "cost_mean": finite(finite_cost.mean().item()) if len(finite_cost) else None,
    }
    return tensors, facts
