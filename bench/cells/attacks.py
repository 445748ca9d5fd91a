"""One attack, in the process of attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.cells.determinism import make_deterministic
from bench.cells.reconstructions import check_reconstruction, rebuilt
from bench.matrix.cells import Variant
from bench.plugins import build_attack, build_defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an attack is given, and what its results must look like.

    Attributes:
        attack: which.
        observation: all that it may know, but for the view of the defense.
        defense: whose view it is given, which is made anew from the defense's parameters; None for no view.
        budget: evaluations per release.
        seed: of its randomness.
        device: where to compute.
        shape: of the images ``(N, B, C, H, W)``.
    """

    attack: Variant
    observation: Any
    defense: Variant | None
    budget: int
    seed: int
    device: torch.device
    shape: tuple[int, ...]


def job(observation: Any, defense: Variant, **others: Any) -> Job:
    """What travels for an observation: a view consists of functions, which do not."""
    if getattr(observation, "defense", None) is None:
        return Job(observation=observation, defense=None, **others)
    return Job(observation=replace(observation, defense=None), defense=defense, **others)


def run_attack(job: Job) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Runs it: tensors and facts to be stored."""
    make_deterministic(job.device)
    seen, defense = job.observation, job.defense
    if defense is not None:
        hooks = build_defense(defense.name, defense.arguments())
        seen = replace(seen, defense=hooks.known(seen.batch_size))
    attack = build_attack(job.attack.name, job.attack.arguments())
    result = attack.reconstruct(seen, budget=job.budget, seed=job.seed)
    check_reconstruction(result, job.shape, job.attack.label)
    return rebuilt(result)
