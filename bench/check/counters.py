"""Counts what an attack spends, while it runs, on what it was given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from bench.api import BlackBoxObservation, GradientObservation, ModelObservation, SmashedObservation
from bench.models.split import ClientHalf, SplitModel


class _Passes(ABC):
    """Counts the images of those forward passes that cost an evaluation, in units of a release or class."""

    def __init__(
        self, seen: GradientObservation | ModelObservation | SmashedObservation, *networks: nn.Module
    ) -> None:
        self._size = int(torch.Size(seen.image_shape).numel()) * seen.batch_size
        self._images = 0.0
        self._handles = [network.register_forward_pre_hook(self._count) for network in networks]

    @property
    def total(self) -> float:
        """Evaluations over all releases or classes."""
        return self._images

    def close(self) -> None:
        """Stops counting."""
        for handle in self._handles:
            handle.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: the passes of a copied network count as well."""
        return self

    def _count(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and self._costs(model, arguments[0]):
            self._images += self._units(_physical(arguments[0]).numel() / self._size)

    def _units(self, batches: float) -> float:
        """What a pass of so many releases counts."""
        return batches

    @abstractmethod
    def _costs(self, model: nn.Module, images: Tensor) -> bool:
        """Whether a pass is more than a look."""


class Evaluations(_Passes):
    """Counts how often the gradients of the victim's weights are evaluated, release by release.

    A forward pass with weights that nobody differentiates, such as a look at the architecture, is free.
    """

    def __init__(self, seen: GradientObservation) -> None:
        # The loss of split learning takes the halves one by one.
        halves = isinstance(seen.model, SplitModel)
        super().__init__(seen, seen.model.get_submodule("client") if halves else seen.model)
        self._own = {id(value) for value in seen.model.parameters()}

    def _costs(self, model: nn.Module, images: Tensor) -> bool:
        # A weight that stands in for one of the model's own is tracked by grad or autograd.
        return any(_differentiated(value) and id(value) not in self._own for value in model.parameters())


class InputGradients(_Passes):
    """Counts gradients taken in the images through a released classifier, image by image of its classes.

    A forward pass whose images nobody differentiates is free. One by which the attack trains a network that
    draws the images is one evaluation, however many they are, as a step of :class:`Steps` is.
    """

    def __init__(self, seen: ModelObservation) -> None:
        super().__init__(seen, seen.model)
        self._victims, self._trains = seen.victims, False

    def _units(self, batches: float) -> float:
        return min(batches, self._victims) if self._trains else batches

    def _costs(self, model: nn.Module, images: Tensor) -> bool:
        self._trains = any(isinstance(leaf, nn.Parameter) for leaf in _leaves(images))
        return _differentiated(images)


class Steps(_Passes):
    """Counts, for one release, the gradients through the client's half and the steps of trained networks.

    A classifier that only answers has no half, and no gradients.

    A step on one's own images is one evaluation, however many they are. Who steps has usually taken a
    gradient as well, and an attacker may train two networks in turns: the larger of the gradients and the
    steps of a single optimiser counts, so that nobody is told to have spent more than there was.
    """

    def __init__(self, seen: SmashedObservation | BlackBoxObservation) -> None:
        own = (seen.model, seen.client) if isinstance(seen, SmashedObservation) else ()
        halves = [item for item in own if item is not None]
        networks = [half.network if isinstance(half, ClientHalf) else half for half in halves]
        super().__init__(seen, *(item.client for item in networks if isinstance(item, SplitModel)))
        self._steps: Counter[Optimizer] = Counter()
        self._stepped = register_optimizer_step_pre_hook(self._step)

    @property
    def total(self) -> float:
        """At least so many evaluations were spent on the release."""
        return max([super().total, *map(float, self._steps.values())])

    def close(self) -> None:
        """Stops counting."""
        super().close()
        self._stepped.remove()

    def _step(self, optimiser: Optimizer, *arguments: Any) -> None:
        self._steps[optimiser] += 1

    def _units(self, batches: float) -> float:
        return min(batches, 1.0)

    def _costs(self, model: nn.Module, images: Tensor) -> bool:
        return _differentiated(images) or any(map(_differentiated, model.parameters()))


def _leaves(value: Tensor) -> Iterator[Tensor]:
    """What the graph of a tensor begins with."""
    waiting, known = [value.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            yield leaf
        waiting += [before for before, _ in node.next_functions]


def _differentiated(value: Tensor) -> bool:
    """Whether grad or autograd tracks a tensor."""
    if torch._C._functorch.is_gradtrackingtensor(value):
        return value.requires_grad  # grad wraps its constants as well
    return torch.is_grad_enabled() and value.requires_grad


def _physical(value: Tensor) -> Tensor:
    """The tensor below all levels of vmap and grad."""
    inner = torch._C._functorch
    while inner.is_functorch_wrapped_tensor(value):
        value = inner.get_unwrapped(value)
    return value
