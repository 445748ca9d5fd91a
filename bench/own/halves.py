"""A network in two halves of the caller's, and what its client sends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api.attack import Reconstruction
from bench.api.defense import HookContext
from bench.api.errors import IncompatibleError, NetworkError
from bench.engine.normalisation import batch_norms
from bench.engine.transforms.transmission import ACTIVATIONS
from bench.models.base import Shape
from bench.models.split import ClientHalf, SplitModel
from bench.models.users.adopted import adopt, check_dropout, copied, unwrapped
from bench.own.attempts import explained_share
from bench.own.choose import ChosenDefense
from bench.own.network import OwnNetwork, number_of_classes, own_network
from bench.victims.training import stream


class OwnSplit(SplitModel):
    """Two halves of the caller."""

    def __init__(self, client: nn.Module, server: nn.Module) -> None:
        super().__init__()
        self.client, self.server = client, server

    def initialise(self, generator: torch.Generator) -> None:
        """Every layer draws its weights as its own constructor does.

        Raises:
            IncompatibleError: a layer has weights, and says not how they are drawn.
        """
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device).item()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            for name, layer in self.named_modules():
                if any(True for _ in layer.parameters(recurse=False)):
                    draw = getattr(layer, "reset_parameters", None)
                    if draw is None:
                        raise IncompatibleError(f"the layer {name} has no reset_parameters to draw others by")
                    draw()


@dataclass(frozen=True, kw_only=True)
class Split:
    """The two halves, and what the client does about it.

    Attributes:
        network: both as one.
        defense: of the client.
        batch_size: B.
        seed: of the defense's randomness.
    """

    network: OwnNetwork
    defense: ChosenDefense
    batch_size: int
    seed: int

    @property
    def halves(self) -> OwnSplit:
        """Client and server, by turns."""
        assert isinstance(self.network.model, OwnSplit)
        return self.network.model

    def blank(self, *, drawn: bool) -> OwnSplit:
        """The architecture; with weights of its own, if an attack is to draw them."""
        # A copy whatever the access: its weights are the victim's, which only access to the weights gives.
        halves = copy.deepcopy(self.halves)
        for layer in halves.modules():
            if callable(reset := getattr(layer, "reset_running_stats", None)):
                reset()  # the statistics are the victim's, like the weights
        if drawn:
            halves.initialise(stream(self.seed, "blank weights", torch.device("cpu")))
        else:
            for value in halves.parameters():
                value.zero_()
        return halves.requires_grad_(True)  # attackers train such a network

    def client(self, image_shape: Shape) -> ClientHalf:
        """The client's half as attackers hold it."""
        return ClientHalf(self.halves, image_shape)

    def query(self, inputs: Tensor) -> Tensor:
        """The client's answers."""
        with torch.no_grad():
            answers: Tensor = self.halves.client(inputs)
        return answers

    @torch.no_grad()
    def release(self, images: Tensor, labels: Tensor) -> Tensor:
        """What N clients send of batches ``[N, B, C, H, W]``: ``[N, B, *Z]``."""
        hooks = self.defense.defense
        chance = stream(self.seed, "release noise", images.device)
        context = HookContext(generator=chance, batch_size=self.batch_size, model=self.halves)
        seen, _ = hooks.inputs(images, labels, context)
        sent = self.halves.client(seen.flatten(0, 1)).unflatten(0, labels.shape)
        return hooks.smashed(sent, context)

    def evaluation(self, releases: int) -> Callable[[], object]:
        """One evaluation of a search for all releases."""
        shape = (releases * self.batch_size, *self.network.image_shape)

        def evaluate() -> object:
            images = torch.full(shape, 0.5, device=self.network.device, requires_grad=True)
            return torch.autograd.grad(self.halves.client(images).square().sum(), images)

        return evaluate

    def explained(self, released: Tensor) -> Callable[[Reconstruction], float]:
        """How much of what was sent a reconstruction would have sent itself."""

        def share(found: Reconstruction) -> float:
            made = self.query(found.images.flatten(0, 1)).view_as(released)
            return explained_share({ACTIVATIONS: released}, {ACTIVATIONS: made})

        return share


def own_halves(client: nn.Module, server: nn.Module, shape: Shape, device: torch.device) -> OwnNetwork:
    """Both halves as one.

    Raises:
        NetworkError: they do not fit, or a layer's answers depend on more than its input.
    """
    halves = OwnSplit(unwrapped(client), unwrapped(server))
    check_dropout(halves, "the network")
    for name, layer in batch_norms(halves).items():
        if layer.training:
            raise NetworkError(
                f"{name} is BatchNorm in training mode, where images of a batch mix: call .eval() on both"
            )
    whole = copied(halves, "the network").requires_grad_(True)
    adopt(whole, image_shape=shape, num_classes=number_of_classes(whole, shape), name="the network")
    return own_network(halves, image_shape=shape, batch_norm="auto", device=device)
