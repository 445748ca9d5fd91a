"""The user's own network, made ready for the engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy

from bench.api.errors import NetworkError
from bench.engine.normalisation import batch_norms, by_batch
from bench.models.base import Shape, VictimModel
from bench.models.users.exported import Exported
from bench.models.users.probes import (
    Findings,
    batches,
    check_scores,
    computed,
    constant,
    first_look,
    overwrites,
    pickles,
    restore,
)

_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Classes that hold a network and add no arithmetic, and their name for it."""
BATCH_NORM = ("auto", "eval", "train")


class UserModel(VictimModel):
    """A network of the user, whose layers keep the modes that they have when it is wrapped.

    What they write on themselves while they compute is undone afterwards: it would outlive its meaning under
    ``vmap``, and what holds it could not be copied.

    Attributes:
        network: the user's module.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        redraw: Callable[[], nn.Module] | None = None,
        rebuild: Callable[[], UserModel] | None = None,
    ) -> None:
        """Wraps a network that is ready.

        Args:
            network: the user's module.
            redraw: builds it anew; None keeps its weights at round 0.
            rebuild: makes all of this again in another process.
        """
        super().__init__()
        self.network, self._redraw = network, redraw
        self._rebuild = rebuild
        self.draws_buffers = redraw is not None
        self.shares_statistics = isinstance(network, VictimModel) and network.shares_statistics
        self._modes = {name: layer.training for name, layer in network.named_modules()}
        self.training = self._attends = self._overwrites = self._rebuilt = False
        self._written: list[tuple[nn.Module, str, tuple[object, ...]]] = []
        self._recurs = any(isinstance(layer, nn.RNNBase) for layer in network.modules())

    @property
    def own_names(self) -> dict[str, str]:
        """The user's name of each weight, by the name that releases have for it, in the network's order."""
        return {name: name.removeprefix("network.") for name, _ in self.named_parameters()}

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``[B, K]`` of images ``[B, C, H, W]`` in [0, 1]."""
        with ExitStack() as stack:
            if self._attends:  # the fast kernels have no second derivative
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self._recurs:  # nor have those of cuDNN
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            if self._written:
                stack.callback(self._clean)
            scores: Tensor = self.network(images.clone() if self._overwrites else images)
        return scores

    def train(self, mode: bool = True) -> Self:
        """Training mode is that of an owner who trains in one place; its end restores the first modes."""
        super().train(mode)
        if not mode:
            for name, layer in self.network.named_modules():
                layer.training = self._modes.get(name, False)
        return self

    def initialise(self, generator: torch.Generator) -> None:
        """The weights of the file, or those that the network's own constructor draws from the generator."""
        if self._redraw is None:
            return
        if isinstance(self.network, VictimModel):
            self.network.initialise(generator)
            return
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device).item()
        fresh = seeded(self._redraw, int(seed))
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                weight.copy_(fresh.get_parameter(name))
            for name, buffer in self.network.named_buffers():
                buffer.copy_(fresh.get_buffer(name))

    def examine(self, image_shape: Shape, num_classes: int, name: str) -> Findings:
        """Finds out what the network needs, and refuses what cannot be attacked; see :func:`adopt`."""
        images = torch.rand(2, 2, *image_shape, generator=torch.Generator().manual_seed(0))
        images = images.to(next(self.parameters()).device)
        attends, written = first_look(self, images[0], name)
        found = Findings(attends=attends, written=written)
        found = replace(found, overwrites=overwrites(self.knowing(found), images[0], name))
        check_scores(self.knowing(found), images[0], num_classes, name)
        found = replace(found, rebuilt=not isinstance(self.network, Exported) and not pickles(self.network))
        return replace(found, one_by_one=not batches(self, images, num_classes, name))

    def knowing(self, found: Findings) -> Self:
        """The network itself, which from now on computes as it needs."""
        self._attends, self._overwrites = found.attends, found.overwrites
        self._rebuilt = found.rebuilt
        self.one_by_one, self._written = found.one_by_one, []
        for name, key, was_there in found.written:
            layer = self.get_submodule(name)
            before = (constant(vars(layer)[key]),) if was_there else ()
            self._written.append((layer, key, before))
        self._clean()
        return self

    def reduced(self) -> tuple[Any, ...] | None:
        """How pickle may write it, where it cannot by itself: it is built again."""
        if self._rebuild is None or not self._rebuilt:
            return None
        tracked = {name: value.requires_grad for name, value in self.named_parameters()}
        return _rebuilt, (self._rebuild, dict(self.state_dict()), tracked)

    def _clean(self) -> None:
        for layer, key, before in self._written:
            restore(layer, key, before)


def adopt(
    module: nn.Module,
    *,
    image_shape: Shape,
    num_classes: int,
    batch_norm: str = "auto",
    name: str = "the network",
) -> UserModel:
    """Makes a network that is built and has its weights ready for the engine.

    The result computes with a copy of the network: later changes of the module do not reach it, and the
    module stays as it is, in its mode. Weights with ``requires_grad`` are those that clients train and send
    gradients of, the others are public constants. A weight under two names counts once, under the first.
    Layers keep their modes, as the client had them that computed a gradient:

    * BatchNorm in training mode, or without statistics, normalises by the client's own batch, and no
      statistics are public: ``train`` in the threat model. In evaluation mode, by the public ones: ``eval``.
    * Dropout in training mode is refused: nobody but the client knows its mask.

    Networks that ``vmap`` cannot batch are computed victim by victim, in more time.

    Args:
        module: maps images ``[B, C, H, W]`` in [0, 1] to class scores ``[B, K]``, not probabilities.
        image_shape: (C, H, W).
        num_classes: K.
        batch_norm: ``auto``: as above, layer by layer; ``train``: all layers by the client's own batch;
            ``eval``: all layers by public statistics.
        name: how messages call it.

    Returns:
        A model for :func:`~bench.engine.gradients.gradient_map` and
        :class:`~bench.api.observation.GradientObservation`; the names of its weights begin with ``network.``,
        see ``own_names``.

    Raises:
        NetworkError: it cannot be attacked as it is; the message says why, and what to change.
    """
    if not isinstance(module, nn.Module):
        raise NetworkError(f"{name} is a {type(module).__name__}, not a torch.nn.Module")
    if any(map(is_lazy, [*module.parameters(), *module.buffers()])):
        raise NetworkError(
            f"{name} has lazy layers without weights: call it once on images {('B', *image_shape)}"
        )
    network = copied(unwrapped(module), name)
    check_weights(network, name)
    check_dropout(network, name)
    set_batch_norm(network, batch_norm, name)
    model = UserModel(network)
    return model.knowing(model.examine(image_shape, num_classes, name))


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` and what ``torch.compile`` returns."""
    while inner := _WRAPPERS.get(type(module).__name__):
        module = getattr(module, inner)
    return module


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What a constructor builds that draws by the global generator, which is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def set_batch_norm(network: nn.Module, mode: str, name: str) -> None:
    """Settles by what each BatchNorm layer normalises; those that do by the batch forget their statistics.

    Raises:
        NetworkError: no such mode, or ``eval`` for a layer without statistics.
    """
    if mode not in BATCH_NORM:
        raise NetworkError(f"{name}: batch_norm={mode!r}: choose one of {', '.join(BATCH_NORM)}")
    for place, layer in batch_norms(network).items():
        if mode == "eval" and layer.running_mean is None:
            raise NetworkError(
                f"{name}: the BatchNorm layer {place} keeps no statistics (track_running_stats=False), so "
                "that it has no evaluation mode: leave batch_norm at auto"
            )
        if mode == "train" or (mode == "auto" and by_batch(layer)):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        layer.training = False


def check_weights(network: nn.Module, name: str) -> None:
    """Refuses a network without weights to train.

    Raises:
        NetworkError: it has no weights, all are frozen, or some are not float32.
    """
    parameters = dict(network.named_parameters())
    if not parameters:
        raise NetworkError(f"{name} has no parameters, so it has no gradients to release")
    if not any(value.requires_grad for value in parameters.values()):
        raise NetworkError(
            f"{name}: all weights are frozen (requires_grad is False), so clients have no gradients to "
            "release: unfreeze those that they train"
        )
    for place, value in parameters.items():
        if value.dtype != torch.float32:
            raise NetworkError(f"{name}: {place} is {value.dtype}, expected torch.float32: call .float()")


def check_dropout(network: nn.Module, name: str) -> None:
    """Refuses layers that drop at random.

    Raises:
        NetworkError: one is in training mode.
    """
    for place, layer in network.named_modules():
        chance = getattr(layer, "dropout", getattr(layer, "p", 0.0))
        drops = isinstance(layer, nn.modules.dropout._DropoutNd | nn.MultiheadAttention | nn.RNNBase)
        if drops and layer.training and isinstance(chance, float) and chance > 0:
            raise NetworkError(
                f"{name}: the layer {place} ({type(layer).__name__}) is in training mode and drops values at "
                f"random ({chance:g}), by a mask that no attacker knows: call .eval() on it, or set it to 0, "
                "and compute the gradient so"
            )


def copied(module: nn.Module, name: str) -> nn.Module:
    """A copy, in which tensors that autograd has made are constants: else they could not be copied.

    Raises:
        NetworkError: something else in it cannot be.
    """
    kept = (value for layer in module.modules() for value in vars(layer).values())
    memo: dict[int, Any] = {id(v): v.detach().clone() for v in kept if computed(v)}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise NetworkError(
            f"{name} cannot be copied ({type(error).__name__}: {error}); keep no tensors with gradients, "
            "open files or locks in its attributes"
        ) from error


def _rebuilt(
    build: Callable[[], UserModel], state: Mapping[str, Tensor], tracked: Mapping[str, bool]
) -> UserModel:
    model = build()
    model.load_state_dict(state, assign=True)
    for name, value in model.named_parameters():
        value.requires_grad_(tracked[name])
    return model
