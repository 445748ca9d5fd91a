"""The user's own victim by name: a function that builds it, an exported network, weights of a known one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from bench.api.errors import NetworkError, UsageError
from bench.engine.normalisation import batch_norms
from bench.models.base import Shape, VictimModel
from bench.models.names import MODELS
from bench.models.spec import ModelSpec
from bench.models.users.adopted import UserModel, check_weights, seeded, set_batch_norm, unwrapped
from bench.models.users.exported import load_exported
from bench.models.users.probes import Findings
from bench.models.users.states import load_weights
from bench.models.victims import ARCHITECTURES, Schedule

SCHEDULE = Schedule(epochs=12, images_per_round=32, learning_rate=0.1, weight_decay=3e-3)
"""How a network trains that brings no schedule: as our own ReLU network does."""


def build_custom(
    spec: ModelSpec, *, num_classes: int, image_shape: Shape, central: bool = False
) -> VictimModel:
    """Builds and checks the network that a specification names.

    Args:
        spec: the specification.
        num_classes: K.
        image_shape: (C, H, W).
        central: an owner of all images trains it, in training mode, so that BatchNorm measures statistics.

    Raises:
        UsageError: it cannot be built, or does not classify such images, or has no gradients to attack.
    """
    return _Whole(_Builder(spec, num_classes, image_shape), central)()


def build_author(spec: ModelSpec, *, num_classes: int, image_shape: Shape) -> nn.Module:
    """The network as its author has it in a client: with the weights of the file, the layers in their modes.

    Raises:
        UsageError: it cannot be built.
    """
    build = _Builder(spec, num_classes, image_shape)
    network = seeded(build, 0).eval()
    if spec.weights_file:
        load_weights(network, spec.weights_file, where=build.where)
    if not isinstance(network, VictimModel):
        for layer in batch_norms(network).values():
            # PyTorch's constructors begin with mean 0 and variance 1, which are nobody's statistics.
            unknown = spec.batch_norm == "auto" and not _measured(layer)
            layer.training = unknown or spec.batch_norm == "train"
    return network


def as_written(spec: ModelSpec, *, num_classes: int, image_shape: Shape, seed: int) -> nn.Module:
    """The network of a specification with all of its layers and buffers, in evaluation mode.

    Its weights are those of the file that the specification names, or drawn by its constructor.

    Raises:
        UsageError: it cannot be built.
    """
    build = _Builder(spec, num_classes, image_shape)
    network = seeded(build, seed).eval()
    if spec.weights_file:
        load_weights(network, spec.weights_file, where=build.where)
    return network


def _measured(layer: nn.modules.batchnorm._BatchNorm) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    if mean is None or variance is None:
        return False
    return bool((mean != 0).any() or (variance != 1).any())


@dataclass(frozen=True)
class _Whole:
    """Makes the network of a specification ready for the engine; it travels to other processes with it."""

    build: _Builder
    central: bool

    def __call__(self) -> UserModel:
        spec, name = self.build.spec, self.build.where
        shape = (self.build.num_classes, self.build.image_shape)
        network = build_author(spec, num_classes=shape[0], image_shape=shape[1])
        check_weights(network, name)
        if self.central:
            network.eval()
        elif not isinstance(network, VictimModel):
            set_batch_norm(network, "auto", name)
        keeps = spec.weights is not None or spec.exported is not None
        model = UserModel(network, redraw=None if keeps else self.build, rebuild=self)
        if self not in _examined:
            _examined[self] = model.examine(shape[1], shape[0], name)
        return model.knowing(_examined[self])


_examined: dict[_Whole, Findings] = {}
"""What this process has found out already."""


def custom_schedule(spec: ModelSpec) -> Schedule:
    """The architecture's schedule, or the default one, with the user's changes."""
    ours = ARCHITECTURES.get(spec.head)
    base = ours.schedule_for(dict(spec.parameters)) if ours else SCHEDULE
    changes: dict[str, Any] = dict(spec.schedule)
    if "images_per_round" in changes:
        changes["images_per_round"] = max(1, int(changes["images_per_round"]))
    changes |= spec.federation
    return replace(base, **changes)


@dataclass(frozen=True)
class _Builder:
    """Builds the network that a specification names; it travels to other processes with it."""

    spec: ModelSpec
    num_classes: int
    image_shape: Shape

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"model {self.spec.text!r}"

    def __call__(self) -> nn.Module:
        """The network in evaluation mode, with weights in all layers."""
        spec = self.spec
        shape: dict[str, Any] = {"num_classes": self.num_classes, "image_shape": self.image_shape}
        if spec.head in MODELS:
            build = ARCHITECTURES[spec.head].build
            return build(self.num_classes, self.image_shape, **dict(spec.parameters))
        if spec.exported:
            return load_exported(spec.exported)
        function = _function(spec)
        try:
            network = function(**shape)
        except Exception as error:
            raise UsageError(
                f"model {spec.text!r}: {spec.head}(num_classes={self.num_classes}, "
                f"image_shape={self.image_shape}) raises {type(error).__name__}: {error}"
            ) from error
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"model {spec.text!r}: the function returns {type(network).__name__}, not a torch.nn.Module"
            )
        network = unwrapped(network).eval()
        if any(map(is_lazy, [*network.parameters(), *network.buffers()])):
            self._draw_lazy(network)
        return network

    def _draw_lazy(self, network: nn.Module) -> None:
        try:
            with torch.no_grad():
                network(torch.zeros(2, *self.image_shape))
        except Exception as error:
            raise NetworkError(
                f"{self.where}: its lazy layers get their weights from images "
                f"{(2, *self.image_shape)}, on which it fails: {type(error).__name__}: {error}"
            ) from error


@contextmanager
def _working_folder_on_path() -> Iterator[None]:
    """Lets modules beside the user be found, after all installed ones, while one is imported."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _function(spec: ModelSpec) -> Callable[..., Any]:
    assert spec.function is not None
    module_name, name = spec.function
    try:
        with _working_folder_on_path():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"model {spec.text!r}: importing {module_name} raises {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"model {spec.text!r}: {module.__file__} has no function {name}")
    return function  # type: ignore[no-any-return] # callable, by the line above
