"""Split learning: clients and a server train one network together, and only two tensors pass the cut."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet, Splits
from bench.api.defense import Defense, HookContext, Phase
from bench.api.errors import IncompatibleError
from bench.api.gradients import Gradients
from bench.models.base import Shape
from bench.models.build import build_model, schedule_of
from bench.models.spec import parse_model
from bench.models.split import SplitModel
from bench.models.victims import Schedule
from bench.victims.distortion import Signal, Watch
from bench.victims.rounds import in_rounds
from bench.victims.server import learning_rate
from bench.victims.training import CURVE_POINTS, Victim, converged, draws, stream

_AT_ONCE = 250


def build_split(name: str, *, num_classes: int, image_shape: Shape, defense: Defense) -> SplitModel:
    """The defended network; draw its weights with ``initialise`` or load them.

    Raises:
        IncompatibleError: the architecture is not cut in two.
    """
    plain = build_model(name, num_classes=num_classes, image_shape=image_shape)
    if not isinstance(plain, SplitModel):
        raise IncompatibleError(f"{name} is not cut into a client's and a server's half")
    with torch.random.fork_rng(devices=[]):
        network = defense.model(plain)
    if not isinstance(network, SplitModel):
        raise IncompatibleError(f"{type(defense).__name__} makes no split network of {name}")
    return network


def send(
    network: SplitModel, images: Tensor, labels: Tensor, *, defense: Defense, context: HookContext
) -> tuple[Tensor, Tensor]:
    """What leaves N clients: this one function serves training, test and every attacked release.

    Args:
        network: the defended network, of which only the client's half is used.
        images: ``[N, B, C, H, W]`` private batches.
        labels: ``[N, B]``.
        defense: its hooks are applied.
        context: the defense's randomness, the phase, the network.

    Returns:
        What the clients' networks took, ``[N, B, ...]``, and the activations ``[N, B, *Z]`` that left.
    """
    inputs, _ = defense.inputs(images, labels, context)
    activations = network.client(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
    return inputs, defense.smashed(activations, context)


ADAM_RATE = 0.01
"""Peak rate of both halves where an architecture is made for SGD: ``convnet[cut=1]`` gets 97 % of digits."""


def split_schedule(model: str) -> Schedule:
    """How split learning trains an architecture: with Adam, whatever the server of a federation does.

    A rate that the user names is kept. One of SGD's would be tens of times too large: a ``convnet[cut=1]``
    that is trained at its 0.1 ends at 9 % of ten classes.
    """
    schedule = schedule_of(model)
    own = "learning_rate" in dict(parse_model(model).schedule)
    return schedule if own or schedule.server == "adam" else replace(schedule, learning_rate=ADAM_RATE)


class Client:
    """The client's side of the protocol; all clients share one half, which each hands on to the next."""

    def __init__(self, network: SplitModel, defense: Defense, context: HookContext, rate: float) -> None:
        """Takes the defended network; ``rate`` is the peak learning rate of Adam."""
        self._network = network
        self._defense = defense
        self._context = context
        self._optimiser = torch.optim.Adam(network.client.parameters(), lr=rate, fused=True)
        self._sent: tuple[Tensor, Tensor] | None = None

    def send(self, images: Tensor, labels: Tensor) -> Tensor:
        """Activations ``[M, *Z]`` of a private batch ``[M, C, H, W]``; no graph leaves with them."""
        inputs, released = send(
            self._network, images[None], labels[None], defense=self._defense, context=self._context
        )
        self._sent = (inputs, released)
        return released[0].detach()

    def receive(self, gradient: Tensor, rate: float) -> None:
        """One step along the gradient ``[M, *Z]`` at the cut, and along the defense's own loss."""
        if self._sent is None:
            raise RuntimeError("a client that has sent nothing cannot receive a gradient")
        inputs, released = self._sent
        self._sent = None
        self._optimiser.zero_grad()
        own = self._defense.loss(inputs, released, self._context)
        (own + (released[0] * gradient).sum()).backward()
        _step(self._optimiser, rate)


class HonestServer:
    """The server's side: it trains its half, and returns what its loss says about the activations."""

    def __init__(self, network: SplitModel, rate: float) -> None:
        """Takes the defended network; ``rate`` is the peak learning rate of Adam."""
        self._network = network
        self._optimiser = torch.optim.Adam(network.server.parameters(), lr=rate, fused=True)

    def answer(self, activations: Tensor, labels: Tensor, rate: float) -> Tensor:
        """The gradient ``[M, *Z]`` of the loss at the cut, after one step of the server's own weights."""
        arrived = activations.detach().requires_grad_()
        self._optimiser.zero_grad()
        self._network.training_loss(arrived, labels).backward()
        _step(self._optimiser, rate)
        assert arrived.grad is not None
        return arrived.grad


def _step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


@torch.no_grad()
def predicted(network: SplitModel, data: ImageSet, *, defense: Defense, context: HookContext) -> Tensor:
    """Class scores ``[M, K]`` by the protocol: through the client's hooks, over the cut, to the decision."""
    parts = []
    for start in range(0, len(data), _AT_ONCE):
        images, labels = data.images[start : start + _AT_ONCE], data.labels[start : start + _AT_ONCE]
        # Each image comes from a client of its own, so that none depends on its neighbours.
        _, released = send(network, images[:, None], labels[:, None], defense=defense, context=context)
        parts.append(network.server(released[:, 0]))
    return torch.cat(parts)


def train_split(
    *,
    model: str,
    splits: Splits,
    num_classes: int,
    image_shape: Shape,
    defense: Defense,
    epochs: float | None,
    seed: int,
    device: torch.device,
) -> Victim:
    """Trains one network by split learning under a defense.

    In each round one client sends the activations of a private batch, the server takes a step of its own half
    and returns the gradient at the cut, along which the client takes a step of its half.

    Args:
        model: name of an architecture that is cut in two.
        splits: the clients train on ``private_train``.
        num_classes: K.
        image_shape: (C, H, W).
        defense: its hooks run in every round.
        epochs: passes over the split; None is the architecture's own schedule.
        seed: of weights, batches and the defense's randomness.
        device: where to train.
    """
    schedule = split_schedule(model)
    network = build_split(model, num_classes=num_classes, image_shape=image_shape, defense=defense).to(device)
    network.initialise(stream(seed, "weights", device))
    # On a CPU pooling is several times as fast with channels last, and convolutions are a little faster.
    network.to(memory_format=torch.channels_last)
    train, test = on_device(splits.private_train, device), on_device(splits.private_test, device)
    context = HookContext(
        generator=stream(seed, "training noise", device), batch_size=schedule.images_per_round, model=network
    )
    defense.prepare(network, train, context)
    initial = state_of(network)
    curve = [{"round": 0.0} | reached(network, test, defense, seed)]
    rounds, signal = _train(network, train, test, schedule, epochs, defense, context, seed, curve)
    final = testing_context(network, seed, device)
    if defense.compares_with_plain:
        plain = _undefended(model, splits, num_classes, image_shape, epochs, seed, device)
        final = replace(final, plain=plain)
    return Victim(
        initial=initial,
        trained=state_of(network),
        curve=curve,
        accuracy=curve[-1]["accuracy"],
        initial_accuracy=curve[0]["accuracy"],
        converged=converged(curve, state_of(network), test.labels),
        rounds=rounds,
        details=defense.details(network, test, final),
        signal=signal,
    )


def _undefended(
    model: str,
    splits: Splits,
    num_classes: int,
    image_shape: Shape,
    epochs: float | None,
    seed: int,
    device: torch.device,
) -> SplitModel:
    """The victim that nobody defends, of the same seed: the weights are those of a cell without defense.

    The last one is kept, since the strengths of a defense follow one another.
    """
    asked = (model, num_classes, image_shape, epochs, seed, device)
    for images, kept, network in _last_undefended:
        if images is splits.private_train.images and kept == asked:
            return network
    found = train_split(
        model=model,
        splits=splits,
        num_classes=num_classes,
        image_shape=image_shape,
        defense=Defense(),
        epochs=epochs,
        seed=seed,
        device=device,
    )
    network = build_split(model, num_classes=num_classes, image_shape=image_shape, defense=Defense())
    network.load_state_dict(found.trained)
    _last_undefended[:] = [(splits.private_train.images, asked, network.to(device).eval())]
    return network


_last_undefended: list[tuple[Tensor, tuple[object, ...], SplitModel]] = []


def _train(
    network: SplitModel,
    train: ImageSet,
    test: ImageSet,
    schedule: Schedule,
    epochs: float | None,
    defense: Defense,
    context: HookContext,
    seed: int,
    curve: list[dict[str, float]],
) -> tuple[int, Signal | None]:
    """Runs all rounds, writes the curve, and returns their number, and what was noted of the defense."""
    batch, device = schedule.images_per_round, train.images.device
    rounds = max(1, int((epochs or schedule.epochs) * len(train) / batch))
    order = draws(len(train), rounds * batch, stream(seed, "batches", device)).view(rounds, batch)
    client = Client(network, defense, context, schedule.learning_rate)
    server, watch = HonestServer(network, schedule.learning_rate), Watch(defense, rounds)
    for turn, index in in_rounds(order.unbind()):
        rate = learning_rate(schedule, turn / rounds)
        images, labels = train.images[index], train.labels[index]

        def leaves(
            hooks: Defense, own: HookContext, images: Tensor = images, labels: Tensor = labels
        ) -> Gradients:
            if hooks is defense:
                return {"": client.send(images, labels)[None]}
            return {"": send(network, images[None], labels[None], defense=hooks, context=own)[1]}

        sent = watch.sent(turn, context, leaves)[""][0]
        client.receive(server.answer(sent, labels, rate), rate)
        if turn * CURVE_POINTS // rounds > (turn - 1) * CURVE_POINTS // rounds:
            curve.append({"round": float(turn)} | reached(network, test, defense, seed))
    return rounds, watch.signal


def reached(network: SplitModel, test: ImageSet, defense: Defense, seed: int) -> dict[str, float]:
    """Loss and accuracy on ``private_test`` by the protocol."""
    scores = predicted(
        network, test, defense=defense, context=testing_context(network, seed, test.images.device)
    )
    if not bool(scores.isfinite().all()):
        return {"loss": float("inf"), "accuracy": 0.0}
    loss = nn.functional.cross_entropy(scores, test.labels).item()
    return {"loss": loss, "accuracy": (scores.argmax(1) == test.labels).double().mean().item()}


def testing_context(network: SplitModel, seed: int, device: torch.device) -> HookContext:
    """In which a trained victim is used: every test of one seed draws alike."""
    generator = stream(seed, "test noise", device)
    return HookContext(generator=generator, batch_size=1, phase=Phase.TEST, model=network)


def state_of(network: SplitModel) -> dict[str, Tensor]:
    """A copy of all that is stored of a network, in the usual order in memory."""
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def on_device(data: ImageSet, device: torch.device) -> ImageSet:
    """The same images elsewhere."""
    return ImageSet(data.images.to(device), data.labels.to(device))
