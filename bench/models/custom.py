"""The user's own victim: a function that builds it, an exported network, or weights of a known network."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bench.api.errors import UsageError
from bench.models.base import Shape, VictimModel
from bench.models.exported import load_exported
from bench.models.names import MODELS
from bench.models.spec import ModelSpec
from bench.models.victims import ARCHITECTURES, Schedule

SCHEDULE = Schedule(epochs=12, images_per_round=32, learning_rate=0.1, weight_decay=3e-3)
"""How a network trains that brings no schedule: as our own ReLU network does."""


class UserModel(VictimModel):
    """A network of the user, always in evaluation mode, so that images of a batch never mix.

    Attributes:
        network: the user's module.
    """

    def __init__(self, network: nn.Module, redraw: Callable[[], nn.Module] | None) -> None:
        """Wraps a network; ``redraw`` builds it anew, None keeps its weights at round 0."""
        super().__init__()
        self.network = network
        self._redraw = redraw
        self.shares_statistics = isinstance(network, VictimModel) and network.shares_statistics
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[B, K]`` of images ``[B, C, H, W]`` in [0, 1]."""
        scores: Tensor = self.network(images)
        return scores

    def initialise(self, generator: torch.Generator) -> None:
        """The weights of the file, or those that the network's own constructor draws from the generator."""
        if self._redraw is None:
            return
        if isinstance(self.network, VictimModel):
            self.network.initialise(generator)
            return
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device).item()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            fresh = self._redraw()
        self.network.load_state_dict(fresh.state_dict())


def build_custom(spec: ModelSpec, *, num_classes: int, image_shape: Shape) -> VictimModel:
    """Builds and checks the network that a specification names.

    Raises:
        UsageError: it cannot be built, or does not classify such images, or has no gradients to attack.
    """
    build = _Builder(spec, num_classes, image_shape)
    with torch.random.fork_rng(devices=[]):
        network = build()
    if spec.weights:
        _load(network, spec.weights, spec.text)
    keeps = spec.weights is not None or spec.exported is not None
    model = UserModel(network, None if keeps else build)
    question = (spec, num_classes, image_shape)
    if question not in _sound:
        _check(model, spec.text, num_classes, image_shape)
        _sound.add(question)
    return model


_sound: set[tuple[ModelSpec, int, Shape]] = set()
"""What this process has checked already."""


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

    def __call__(self) -> nn.Module:
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
        return network.eval()


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


def _load(network: nn.Module, path: Path, text: str) -> None:
    """Loads a state dict; every name and shape must fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"model {text!r}: {path} is no state dict: {error}; write one with "
            "torch.save(network.state_dict(), path)"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"model {text!r}: {path} is no state dict: it must map names to tensors")
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [f"{name} is missing" for name in own.keys() - given.keys()]
    wrong += [f"{name} does not belong there" for name in given.keys() - own.keys()]
    wrong += [
        f"{name} has shape {given[name]}, the network's is {own[name]}"
        for name in own.keys() & given.keys()
        if own[name] != given[name]
    ]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UsageError(f"model {text!r}: {path} does not fit: {', '.join(sorted(wrong)[:5])}{more}")
    network.load_state_dict(state)


def _check(model: UserModel, text: str, num_classes: int, image_shape: Shape) -> None:
    """Refuses what cannot be trained or attacked, in the user's words."""
    parameters = dict(model.named_parameters())
    if not parameters:
        raise UsageError(f"model {text!r}: the network has no parameters, so it has no gradients to release")
    for name, value in parameters.items():
        if value.dtype != torch.float32:
            raise UsageError(f"model {text!r}: {name} is {value.dtype}, expected torch.float32")
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and _never_measured(layer):
            raise UsageError(
                f"model {text!r}: the BatchNorm layer {name} has no statistics yet, and a federation that "
                "releases gradients does not measure them: give weights=FILE of a trained network, or use "
                "GroupNorm"
            )
    images = torch.linspace(0, 1, 2 * torch.Size(image_shape).numel()).view(2, *image_shape)
    try:
        scores = model(images)
    except Exception as error:
        raise UsageError(
            f"model {text!r}: fails on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if shape != (2, num_classes):
        raise UsageError(
            f"model {text!r}: scores of 2 images have shape {shape}, expected {(2, num_classes)}"
        )
    if not scores.isfinite().all():
        raise UsageError(f"model {text!r}: the scores of plain images are not finite")
    _check_gradients(model, text, images, num_classes)


def _never_measured(layer: nn.modules.batchnorm._BatchNorm) -> bool:
    return layer.num_batches_tracked is not None and int(layer.num_batches_tracked) == 0


def _check_gradients(model: UserModel, text: str, images: Tensor, num_classes: int) -> None:
    """Gradients of two victims at once, and that of their energy in the images, as attacks need it."""
    targets = torch.full((2, 1, num_classes), 1 / num_classes)

    def loss(weights: dict[str, Tensor], batch: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, weights, (batch,)), target)

    weights = {name: value.detach() for name, value in model.named_parameters()}
    shown = images.unsqueeze(1).clone().requires_grad_()
    try:
        released = vmap(grad(loss), in_dims=(None, 0, 0))(weights, shown, targets)
        energy = torch.stack([value.square().sum() for value in released.values()]).sum()
        (objective_gradient,) = torch.autograd.grad(energy, shown)
    except Exception as error:
        raise UsageError(
            f"model {text!r}: its gradients cannot be computed for many victims at once "
            f"({type(error).__name__}: {error}); use layers without state and without randomness"
        ) from error
    if not all(value.isfinite().all() for value in [*released.values(), objective_gradient]):
        raise UsageError(f"model {text!r}: its gradients on plain images are not finite")
