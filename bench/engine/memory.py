"""How many victims fit into the memory that one worker may use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api.observation import GradientObservation
from bench.engine.transforms.local import simulated

AT_ONCE = 64
"""Beyond this, larger batches of victims gain nothing on a CPU."""
ROWS_AT_ONCE = 256
"""The same for rows of a generator."""
CPU_BYTES = 4 * 2**30
"""Of an attack on a CPU where no limit is set: 64 victims of a large network would take tens of GiB."""
SHARE = 0.8
"""Of the memory that a GPU has free, where no limit is set."""
_WEIGHT_COPIES = 4
_ACTIVATION_COPIES = 14
_POINT_COPIES = 24


_limit: int | None = None


def set_limit(size: int | None) -> None:
    """Sets the bytes that an attack in this process may take; None sets those of the device."""
    global _limit
    _limit = size


def chunk_size(observation: GradientObservation, *, unknowns: int, pairs: int = 0) -> int:
    """The size of a chunk: at least one; on a CPU at most :data:`AT_ONCE`, and what fits into the limit.

    Args:
        observation: all victims.
        unknowns: D, numbers that are searched for each victim.
        pairs: what the optimiser remembers of each victim, in pairs of such vectors.
    """
    most, device = _limit, observation.reference.device
    cap = observation.victims if device.type == "cuda" else AT_ONCE
    if most is None:
        most = int(SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else CPU_BYTES
    return max(1, min(cap, most // bytes_per_victim(observation, unknowns=unknowns, pairs=pairs)))


def bytes_per_victim(observation: GradientObservation, *, unknowns: int, pairs: int = 0) -> int:
    """An upper estimate of what one victim adds to the peak of an evaluation and of the optimiser.

    The graph of a matching gradient holds each activation and each weight gradient several times; the
    factors are measured (``benchmarks``), the numbers are counted.
    """
    weights = sum(value[0].numel() for value in observation.gradients.values())
    local = simulated(observation)
    steps = local.steps(observation.batch_size) if local else 1
    numbers = (
        _WEIGHT_COPIES * weights * steps
        + _ACTIVATION_COPIES * _activations(observation) * (local.epochs if local else 1)
        + (_POINT_COPIES + 2 * pairs) * unknowns
        + 4 * pairs**2  # two matrices in float64
    )
    return numbers * observation.reference.element_size()


def in_parts(function: Callable[..., Tensor], *rows: Tensor, size: int = ROWS_AT_ONCE) -> Tensor:
    """Applies a function of rows to so many of them at a time as fit into memory.

    Args:
        function: ``(*rows [m, ...]) -> [m, ...]``, each row by itself.
        rows: ``[M, ...]`` each.
        size: rows of a part.
    """
    return torch.cat([function(*part) for part in zip(*(value.split(size) for value in rows), strict=True)])


@torch.no_grad()
def _activations(observation: GradientObservation) -> int:
    """Numbers that all layers put out for one victim's batch."""
    total = 0

    def count(layer: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0

    leaves = [layer for layer in observation.model.modules() if next(layer.children(), None) is None]
    hooks = [layer.register_forward_hook(count) for layer in leaves]
    own = observation.per_victim_weights
    weights = {name: value[0] if own else value for name, value in observation.parameters.items()}
    images = observation.reference.new_zeros(observation.batch_size, *observation.image_shape)
    try:
        functional_call(observation.model, weights, (images,))
    finally:
        for hook in hooks:
            hook.remove()
    return total
