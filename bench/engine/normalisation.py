"""Normalisation in graphs of many victims.

BatchNorm: whose statistics a layer normalises by. A layer in training mode writes its running statistics,
which no two victims may share. So a client's layers keep none and normalise by the client's own batch; under
``vmap`` these are each victim's own.

PyTorch 2.14's own BatchNorm, LayerNorm and InstanceNorm with weights have the right gradient under
``vmap(grad)``, but a second derivative that is off by a thousandth to a hundredth: too much for a search that
has to end at zero. So their weights are applied apart.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import instance_norm, layer_norm

from bench.api.threat import BatchNorm

_Layer = nn.modules.batchnorm._BatchNorm
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def batch_norms(model: nn.Module) -> dict[str, _Layer]:
    """The BatchNorm layers of a network, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _Layer)}


def threat_of(model: nn.Module, *, shared: bool) -> BatchNorm:
    """What the BatchNorm layers of a client's network do, as a threat model says it.

    Args:
        model: the network in the mode in which clients use it.
        shared: whether clients send the statistics of their batch along.
    """
    layers = batch_norms(model).values()
    if not layers:
        return BatchNorm.NONE
    if not any(map(by_batch, layers)):
        return BatchNorm.EVAL
    return BatchNorm.KNOWN if shared else BatchNorm.TRAIN


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """The public statistics ``[C]`` that a network in evaluation mode normalises by, by buffer name."""
    return {
        f"{name}.{kind}": value
        for name, layer in batch_norms(model).items()
        for kind in ("running_mean", "running_var")
        if (value := getattr(layer, kind)) is not None
    }


class _OwnBatch(nn.Module):
    """BatchNorm by the statistics of the batch that it sees, in plain operations."""

    def __init__(self, layer: _Layer) -> None:
        """Takes the place of a layer and keeps its parameters."""
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, value: Tensor) -> Tensor:
        """Normalises ``[B, C, ...]``."""
        over, shape = [0, *range(2, value.dim())], [1, -1, *[1] * (value.dim() - 2)]
        centred = value - value.mean(over, keepdim=True)
        result = centred * (centred.square().mean(over, keepdim=True) + self.eps).rsqrt()
        if self.weight is not None:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result


class _LayerNorm(nn.LayerNorm):
    """The same layer up to rounding; its weights are applied apart."""

    def forward(self, input: Tensor) -> Tensor:
        result = layer_norm(input, self.normalized_shape, None, None, self.eps) * self.weight
        return result if self.bias is None else result + self.bias


class _InstanceNorm(nn.modules.instancenorm._InstanceNorm):
    """The same layer up to rounding; its weights are applied apart."""

    def forward(self, input: Tensor) -> Tensor:
        own = self.training or not self.track_running_stats
        result = instance_norm(
            input, self.running_mean, self.running_var, None, None, own, self.momentum or 0.0, self.eps
        )
        shape = (-1, *[1] * (input.dim() - 2))
        return result * self.weight.view(shape) + self.bias.view(shape)


def own_statistics(model: nn.Module) -> nn.Module:
    """The network in forms of its normalisation whose derivatives are right in graphs of many victims.

    BatchNorm layers that normalise by the batch they see remember nothing of it.

    It shares its tensors with the network; it is the network itself, if that has no such layers.
    """
    names = [name for name, layer in model.named_modules(remove_duplicate=False) if _other_form(layer)]
    if not names:
        return model
    changed, made = sharing_copy(model), dict[nn.Module, nn.Module]()
    for name in names:
        layer = changed.get_submodule(name)
        form = _other_form(layer)
        if form is _OwnBatch:
            assert isinstance(layer, _Layer)
            changed.set_submodule(name, made.setdefault(layer, _OwnBatch(layer)))
        elif form is not None:
            layer.__class__ = form
    return changed


def _other_form(layer: nn.Module) -> type[nn.Module] | None:
    """What takes the place of a layer; None leaves it, as what derived classes add is theirs."""
    kind = type(layer)
    if kind in _BATCH_NORMS:
        assert isinstance(layer, _Layer)
        return _OwnBatch if by_batch(layer) else None
    if kind is nn.LayerNorm:
        return _LayerNorm if layer.elementwise_affine else None
    if kind in _INSTANCE_NORMS:
        return _InstanceNorm if layer.affine else None
    return None


def by_batch(layer: _Layer) -> bool:
    """Whether a BatchNorm layer normalises by the batch it sees."""
    return layer.training or layer.running_mean is None


def evaluating(model: nn.Module) -> nn.Module:
    """The network in evaluation mode: its BatchNorm layers normalise by running statistics.

    It shares its parameters with the network, not its buffers: a user's network may write them in any mode.
    """
    return sharing_copy(model, buffers=False).eval()


@contextmanager
def noting(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Writes down mean and biased variance ``[channels]`` of what enters layers, by their buffers' names."""
    found: dict[str, Tensor] = {}

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        over = [axis for axis in range(inputs[0].dim()) if axis != 1]
        found[f"{name}.running_mean"] = inputs[0].mean(over)
        found[f"{name}.running_var"] = inputs[0].var(over, unbiased=False)

    hooks = [network.get_submodule(name).register_forward_hook(partial(note, name)) for name in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


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
    network, layers = own_statistics(model), tuple(batch_norms(model))

    def one(weights: dict[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        with noting(network, layers) as found:
            functional_call(network, weights, (batch,))
        return found

    run = vmap(one, in_dims=(0 if per_victim_weights else None, 0))
    result: dict[str, Tensor] = run(dict(parameters), images)
    return result


def sharing_copy(model: nn.Module, *, buffers: bool = True) -> nn.Module:
    """A copy with modules of its own, and the parameters and, if asked for, the buffers of the original."""
    shared = (*model.parameters(), *(model.buffers() if buffers else ()))
    memo: dict[int, Any] = {id(value): value for value in shared}
    return copy.deepcopy(model, memo)
