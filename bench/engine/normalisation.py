"""BatchNorm in graphs of many victims: whose statistics a layer normalises by.

A layer in training mode writes its running statistics, which no two victims may share. So a client's layers
keep none and normalise by the client's own batch; under ``vmap`` these are each victim's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, vmap

_Layer = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def batch_norms(model: nn.Module) -> dict[str, _Layer]:
    """The BatchNorm layers of a network, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _Layer)}


def own_statistics(model: nn.Module) -> nn.Module:
    """The network whose BatchNorm layers normalise by the batch they see and remember nothing.

    The network itself, if it has no layer that remembers.
    """
    if not any(layer.track_running_stats for layer in batch_norms(model).values()):
        return model
    changed = copy.deepcopy(model)
    for layer in batch_norms(changed).values():
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return changed


def evaluating(model: nn.Module) -> nn.Module:
    """A copy of the network in evaluation mode: its BatchNorm layers normalise by running statistics."""
    return copy.deepcopy(model).eval()


def batch_statistics(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, *, per_victim_weights: bool
) -> dict[str, Tensor]:
    """Mean and biased variance of what enters each BatchNorm layer, for each victim's batch.

    Args:
        model: the architecture.
        parameters: as in :func:`~bench.engine.gradients.gradient_map`.
        images: ``[N, B, C, H, W]``.
        per_victim_weights: whether ``parameters`` have a leading dimension N.

    Returns:
        ``<layer>.running_mean`` and ``<layer>.running_var``, each ``[N, channels]``, differentiable in the
        images.
    """
    network = own_statistics(model)

    def note(
        name: str, found: dict[str, Tensor], layer: nn.Module, inputs: tuple[Tensor, ...], output: Any
    ) -> None:
        over = [axis for axis in range(inputs[0].dim()) if axis != 1]
        found[f"{name}.running_mean"] = inputs[0].mean(over)
        found[f"{name}.running_var"] = inputs[0].var(over, unbiased=False)

    def one(weights: dict[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        hooks = [
            layer.register_forward_hook(partial(note, name, found))
            for name, layer in batch_norms(network).items()
        ]
        try:
            functional_call(network, weights, (batch,))
        finally:
            for hook in hooks:
                hook.remove()
        return found

    run = vmap(one, in_dims=(0 if per_victim_weights else None, 0))
    result: dict[str, Tensor] = run(dict(parameters), images)
    return result
