"""SplitFed: what clients of a network in two parts send, in training and at the release alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import Defense, Gradients, HookContext, ImageSet
from bench.cache.keys import Identity
from bench.matrix import Filters, Matrix, expand
from bench.matrix.cells import Cell
from bench.models.split import SplitModel
from bench.plugins import build_defense
from bench.victims.releases import Source
from bench.victims.server import Server
from bench.victims.split import build_split
from bench.victims.split_releases import CLIENT, SERVER
from bench.victims.splitfed import (
    client_updates,
    global_weights,
    release_weight_gradients,
    splitfed_schedule,
    train_splitfed,
)
from bench.victims.training import Victim, draws, stream
from tests.engine.observations import DIGITS, digits

from .small import digits_source, few, same

CPU = torch.device("cpu")
MODEL = "split_lenet"
NONE = build_defense("none", {})
CLIENTS = 32


class Watched(Defense):
    """Passes every hook on to another defense, and keeps what left its clients."""

    def __init__(self, hooks: Defense) -> None:
        self.hooks = hooks
        self.inputs_seen: list[Tensor] = []
        self.before: list[Gradients] = []
        self.after: list[Gradients] = []

    def model(self, model: nn.Module) -> nn.Module:
        return self.hooks.model(model)

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        self.hooks.prepare(model, private, context)

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        made = self.hooks.inputs(images, labels, context)
        self.inputs_seen.append(made[0])
        return made

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        self.before.append(gradients)
        self.after.append(self.hooks.gradients(gradients, context))
        return self.after[-1]


class Pulling(Defense):
    """Uses both hooks that split learning adds to a client."""

    def smashed(self, activations: Tensor, context: HookContext) -> Tensor:
        return 0.5 * activations

    def loss(self, inputs: Tensor, activations: Tensor, context: HookContext) -> Tensor:
        return activations.square().mean() + inputs.mean()


def network(defense: Defense = NONE, model: str = MODEL, seed: int = 0) -> SplitModel:
    built = build_split(model, num_classes=10, image_shape=DIGITS, defense=defense)
    built.initialise(stream(seed, "weights", CPU))
    return built


def context(model: nn.Module, seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1, model=model)


def private(clients: int, batch_size: int) -> tuple[Tensor, Tensor]:
    data = digits().private_train
    taken = slice(0, clients * batch_size)
    shape = (clients, batch_size)
    return data.images[taken].unflatten(0, shape), data.labels[taken].view(shape)


def trained(
    defense: Defense = NONE, *, seed: int = 0, batch_size: int = 1, model: str = MODEL, epochs: float = 1
) -> Victim:
    return train_splitfed(
        model=model, splits=few(96), num_classes=10, image_shape=DIGITS, defense=defense,
        batch_size=batch_size, epochs=epochs, seed=seed, device=CPU,
    )  # fmt: skip


def source(defense: Defense = NONE, *, model: str = MODEL, releases: int = 4, batch_size: int = 1) -> Source:
    built = network(defense, model)
    defense.prepare(built, few(96).private_train, context(built))
    weights = {name: value.detach() for name, value in built.state_dict().items()}
    return digits_source(model, weights, defense=defense, releases=releases, batch_size=batch_size)


def close(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).abs().max() <= 1e-5 * right.abs().max())


@pytest.mark.parametrize("model", ["split_lenet", "splitnet"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_mean_of_undefended_updates_is_the_gradient_of_one_batch(batch_size: int, model: str) -> None:
    built = network(model=model)
    images, labels = private(8, batch_size)
    inputs, updates = client_updates(built, images, labels, defense=NONE, context=context(built))
    loss = nn.functional.cross_entropy(built(images.flatten(0, 1)), labels.flatten())
    wanted = dict(zip(global_weights(built), torch.autograd.grad(loss, [*built.parameters()]), strict=True))
    assert torch.equal(inputs, images) and list(updates) == list(wanted)
    assert all(value.shape[0] == 8 and not value.requires_grad for value in updates.values())
    assert all(close(updates[name].mean(0), value) for name, value in wanted.items())


@pytest.mark.parametrize("defense", ["none", "pruning", "pgsl"])
def test_a_client_sends_the_same_alone_and_among_others(defense: str) -> None:
    hooks = build_defense(defense, {})
    built = network(hooks)
    images, labels = private(CLIENTS, 2)
    _, crowd = client_updates(built, images, labels, defense=hooks, context=context(built))
    for clients in (slice(5, 6), slice(4, 8)):
        _, alone = client_updates(
            built, images[clients], labels[clients], defense=hooks, context=context(built)
        )
        for name, value in alone.items():
            # Two entries that only rounding keeps apart may change places where pruning ends.
            differing = (value - crowd[name][clients]).abs() > 1e-5 * value.abs().max()
            assert differing.double().mean() < 0.01, name


def test_hooks_of_the_cut_reach_the_update_of_each_client() -> None:
    """The client's half gets the server's answer through what it sent, and its own loss beside it."""
    built, hooks = network(), Pulling()
    images, labels = private(3, 2)
    _, updates = client_updates(built, images, labels, defense=hooks, context=context(built))
    weights = global_weights(built)
    for client in range(3):
        activations = built.client(images[client])
        task = nn.functional.cross_entropy(built.server(0.5 * activations), labels[client])
        own = (0.5 * activations).square().mean()
        wanted = torch.autograd.grad(task + own, list(weights.values()))
        for name, value in zip(weights, wanted, strict=True):
            assert close(updates[name][client], value)


def test_training_is_a_servers_step_along_the_mean_of_32_clients() -> None:
    """Three rounds again, by back-propagation through the whole network."""
    victim, data, whole = trained(), few(96).private_train, network()
    schedule = splitfed_schedule(MODEL)
    server = Server(dict(whole.named_parameters()), schedule, victim.rounds)
    order = draws(len(data), victim.rounds * CLIENTS, stream(0, "batches", CPU)).view(-1, CLIENTS)
    assert victim.rounds == len(order) == 3 and schedule.images_per_round == CLIENTS
    for index in order:
        loss = nn.functional.cross_entropy(whole(data.images[index]), data.labels[index])
        server.step(dict(zip(server.weights, torch.autograd.grad(loss, [*whole.parameters()]), strict=True)))
        whole.load_state_dict(server.weights)
    for name, value in victim.trained.items():
        torch.testing.assert_close(value, server.weights[name].detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("defense", ["none", "noise", "pgsl"])
def test_the_same_seed_gives_the_same_victim_bit_for_bit(defense: str) -> None:
    first, again, other = (
        trained(build_defense(defense, {}), seed=seed, batch_size=8, epochs=2) for seed in (0, 0, 1)
    )
    assert same(first.initial, again.initial) and same(first.trained, again.trained)
    assert first.curve == again.curve and first.curve[-1]["accuracy"] == first.accuracy
    assert not torch.equal(first.trained["client.0.weight"], other.trained["client.0.weight"])
    assert not torch.equal(first.trained["client.0.weight"], first.initial["client.0.weight"])


def test_round_0_is_that_of_split_learning_and_of_every_defense() -> None:
    plain = dict(network().state_dict())
    assert same(trained().initial, plain)
    assert same(trained(build_defense("pruning", {})).initial, plain)


def test_training_with_noise_of_strength_zero_is_training_without() -> None:
    assert same(trained(build_defense("noise", {"sigma": 0.0})).trained, trained().trained)


def spreads(watched: Watched) -> list[float]:
    """The standard deviation of what was added to each round's updates."""
    rounds = zip(watched.before, watched.after, strict=True)
    return [torch.cat([(b[k] - a[k]).flatten() for k in a]).std().item() for a, b in rounds]


def test_noise_has_the_stated_sigma_in_every_round_and_at_the_release() -> None:
    watched = Watched(build_defense("noise", {"sigma": 0.03}))
    victim = trained(watched)
    assert len(watched.after) == victim.rounds
    assert {len(value) for sent in watched.after for value in sent.values()} == {CLIENTS}
    release = release_weight_gradients(source(watched), halves=(CLIENT, SERVER))
    clean = release_weight_gradients(source(), halves=(CLIENT, SERVER))
    assert len(watched.after) == victim.rounds + 1 and same(watched.after[-1], release.sent)
    assert all(spread == pytest.approx(0.03, rel=0.02) for spread in spreads(watched))
    assert all(close(watched.before[-1][name], value) for name, value in clean.sent.items())


@pytest.mark.parametrize("ratio", [0.9, 0.99])
def test_pruning_keeps_the_stated_share_in_every_round_and_at_the_release(ratio: float) -> None:
    watched = Watched(build_defense("pruning", {"ratio": ratio}))
    trained(watched)
    release_weight_gradients(source(watched), halves=(CLIENT, SERVER))
    for sent in watched.after:
        for value in sent.values():
            rows = value.flatten(1)
            kept = max(1, round((1 - ratio) * rows.shape[1]))
            assert bool(((rows != 0).sum(1) <= kept).all()) and int((rows != 0).sum(1).max()) == kept


def test_the_transform_of_pgsl_is_on_in_every_round_and_at_the_release() -> None:
    watched = Watched(build_defense("pgsl", {}))
    victim = trained(watched)
    place = source(watched)
    release = release_weight_gradients(place, halves=(CLIENT, SERVER))
    assert len(watched.inputs_seen) > victim.rounds + 1, "tests of the accuracy pass it, too"
    assert all(inputs.shape[2:] == (5, DIGITS[1] // 2, DIGITS[2] // 2) for inputs in watched.inputs_seen)
    assert all(bool((inputs[:, :, -1] > 0).any()) for inputs in watched.inputs_seen)
    assert not any(name.startswith("surrogate") for name in release.sent)
    assert same(
        {k: v for k, v in victim.trained.items() if k.startswith("surrogate")},
        {k: v for k, v in victim.initial.items() if k.startswith("surrogate")},
    )


def test_what_leaks_of_the_clients_half_does_not_depend_on_the_other_one() -> None:
    place = source(build_defense("noise", {"sigma": 0.1}))
    both = release_weight_gradients(place, halves=(CLIENT, SERVER)).sent
    half = release_weight_gradients(place, halves=(CLIENT,)).sent
    assert set(half) == {name for name in both if name.startswith(CLIENT)}
    assert all(torch.equal(value, both[name]) for name, value in half.items())


def block(channel: str) -> dict[str, object]:
    return {
        "channel": channel, "datasets": ["mnist5k"], "models": [MODEL], "checkpoints": ["initial", "trained"],
        "batch_sizes": [1], "releases": 2, "budget": 10, "attacks": ["prior"], "adversaries": ["naive"],
        "defenses": ["none", "noise", "pruning", "pgsl"],
    }  # fmt: skip


def cells(channel: str) -> list[Cell]:
    matrix = {"name": "cross", "version": 1, "description": "x", "seeds": [0], "block": [block(channel)]}
    return list(expand(Matrix.model_validate(matrix), Filters()))


@pytest.mark.parametrize("channel", ["gradients", "client_gradients"])
def test_defenses_of_federated_and_of_split_learning_meet_on_one_network(channel: str) -> None:
    assert [cell.incompatible for cell in cells(channel)] == [""] * 8


def test_one_victim_serves_both_channels_of_gradients_and_no_other() -> None:
    identity = Identity("cpu")
    keys = {
        channel: {identity.keys(cell).victim for cell in cells(channel) if not cell.incompatible}
        for channel in ("gradients", "client_gradients", "smashed")
    }
    assert len(keys["gradients"]) == 4 and keys["gradients"] == keys["client_gradients"]
    assert len(keys["smashed"]) == 2 and not keys["smashed"] & keys["gradients"]
