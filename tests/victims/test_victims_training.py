"""Victims: what clients release, what a seed decides, and what the training reaches."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Defense, Gradients, HookContext, Splits
from bench.models.build import schedule_of
from bench.plugins import build_defense
from bench.victims.clients import client_releases
from bench.victims.releases import Release, release_gradients
from bench.victims.training import Victim, converged, stream, train_victim
from tests.engine.observations import DIGITS, batches, digits, drawn, plain_gradients, weights

from .small import digits_source, few, same

CPU = torch.device("cpu")
NONE = build_defense("none", {})


def trained(
    *, seed: int = 0, defense: Defense = NONE, model: str = "lenet", splits: Splits | None = None
) -> Victim:
    return train_victim(
        model=model, splits=splits or few(160), num_classes=10, image_shape=DIGITS, defense=defense,
        batch_size=4, epochs=1, seed=seed, device=CPU,
    )  # fmt: skip


def released(parameters: dict[str, Tensor] | None = None, **changes: Any) -> Release:
    options = {"releases": 5, "batch_size": 4, **changes}
    return release_gradients(digits_source("lenet", parameters or weights("lenet", 0), **options))


@pytest.mark.parametrize("name", ["lenet", "convnet"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_undefended_clients_release_their_plain_gradients(name: str, batch_size: int) -> None:
    images, labels = batches(3, batch_size)
    model, parameters = drawn(name, 7), weights(name, 7)
    context = HookContext(generator=torch.Generator(), batch_size=batch_size)
    got = client_releases(
        model, parameters, images, labels, defense=NONE, context=context, num_classes=10
    )  # fmt: skip
    for client in range(3):
        want = plain_gradients(model, parameters, images[client], labels[client])
        for key, value in want.items():
            torch.testing.assert_close(got[key][client], value, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_victim_bit_for_bit_and_another_seed_another() -> None:
    first, again, other = trained(seed=0), trained(seed=0), trained(seed=1)
    assert same(first.initial, again.initial) and same(first.trained, again.trained)
    assert first.curve == again.curve
    assert not any(torch.equal(first.initial[k], other.initial[k]) for k in first.initial)
    assert not any(torch.equal(first.trained[k], other.trained[k]) for k in first.trained)


def test_the_same_seed_gives_the_same_releases_bit_for_bit_and_another_seed_others() -> None:
    noise = build_defense("noise", {})
    first, again, other = (released(seed=seed, defense=noise) for seed in (0, 0, 1))
    assert torch.equal(first.indices, again.indices) and torch.equal(first.images, again.images)
    assert same(first.sent, again.sent)
    assert not torch.equal(first.indices, other.indices)
    assert not any(torch.equal(first.sent[k], other.sent[k]) for k in first.sent)


@pytest.mark.parametrize("name", ["noise", "pruning"])
def test_defenses_of_one_seed_are_compared_on_the_same_images_and_initial_weights(name: str) -> None:
    defense = build_defense(name, {})
    plain, defended = trained(), trained(defense=defense)
    assert same(plain.initial, defended.initial)
    assert not same(plain.trained, defended.trained)
    left, right = released(), released(defense=defense)
    assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)
    assert torch.equal(left.indices, right.indices)


def test_checkpoints_of_one_seed_release_the_same_images() -> None:
    left, right = released(), released(parameters=weights("lenet", 3))
    assert torch.equal(left.indices, right.indices)
    assert not same(left.sent, right.sent)


class Watched(Defense):
    """Keeps the batches of the training in order, and defends as another defense does."""

    def __init__(self, inner: Defense) -> None:
        self.inner = inner
        self.seen: list[Tensor] = []
        self.labels: list[Tensor] = []

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        if not self.seen or not torch.equal(self.seen[-1], images):  # a round may be made again, to compare
            self.seen.append(images)
            self.labels.append(labels)
        return images, labels

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        return self.inner.gradients(gradients, context)


def test_defenses_of_one_seed_train_on_the_same_batches_in_the_same_order() -> None:
    plain, noisy = Watched(NONE), Watched(build_defense("noise", {}))
    trained(defense=plain)
    trained(defense=noisy)
    assert len(plain.seen) == len(noisy.seen) == 160 // 32
    assert all(torch.equal(a, b) for a, b in zip(plain.seen, noisy.seen, strict=True))
    # One epoch: every private image once.
    together = torch.cat(plain.seen).flatten(0, 1)
    assert len(together) == 160
    assert torch.equal(
        together.sum((1, 2, 3)).sort().values, few(160).private_train.images.sum((1, 2, 3)).sort().values
    )


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_training_with_noise_of_strength_zero_is_training_without(distribution: str) -> None:
    silent = build_defense("noise", {"sigma": 0.0, "distribution": distribution})
    plain, noisy = trained(), trained(defense=silent)
    assert same(plain.trained, noisy.trained)
    assert plain.curve == noisy.curve
    assert same(released().sent, released(defense=silent).sent)


@pytest.mark.parametrize("model", ["lenet", "convnet"])
def test_an_undefended_federation_is_centralised_training(model: str) -> None:
    """The mean of the clients' gradients is the gradient on all images of the round."""
    recorder = Watched(NONE)
    victim = trained(model=model, defense=recorder, seed=3)
    network, schedule = drawn(model, 0), schedule_of(model)
    network.load_state_dict(victim.initial)
    optimiser: torch.optim.Optimizer = torch.optim.SGD(
        network.parameters(), lr=1.0, momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )
    if schedule.server == "adam":
        optimiser = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), eps=1e-6)
    for turn, (images, targets) in enumerate(zip(recorder.seen, recorder.labels, strict=True), start=1):
        share = turn / victim.rounds
        warm = min(1.0, share / 0.05)
        optimiser.param_groups[0]["lr"] = schedule.learning_rate * warm * (1 + cos(pi * share)) / 2
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images.flatten(0, 1)), targets.flatten()).backward()
        if schedule.server == "sgd":
            torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.clip_norm)
        optimiser.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(victim.trained[name], value.detach(), rtol=1e-3, atol=1e-5)


def test_the_curve_ends_at_the_reported_accuracy() -> None:
    victim = trained()
    assert victim.curve[0]["round"] == 0 and victim.curve[-1]["round"] == victim.rounds == 160 // 32
    assert victim.accuracy == victim.curve[-1]["accuracy"]
    assert victim.initial_accuracy == victim.curve[0]["accuracy"]


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    trained(defense=build_defense("noise", {}))
    released(defense=build_defense("noise", {}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_releases_are_disjoint_and_come_from_the_private_split() -> None:
    everything = released(releases=625, batch_size=4, defense=build_defense("none", {}))
    assert everything.indices.unique().numel() == 2500
    some = released(releases=7, batch_size=4)
    private = digits().private_train
    assert some.images.shape == (7, 4, *DIGITS) and some.labels.shape == (7, 4)
    assert torch.equal(some.images, private.images[some.indices])
    assert torch.equal(some.labels, private.labels[some.indices])
    assert all(not value.requires_grad and value.shape[0] == 7 for value in some.sent.values())


def test_more_releases_than_private_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2500"):
        released(releases=626, batch_size=4)


def test_no_two_streams_of_purposes_and_seeds_are_the_same() -> None:
    """A generator on the CPU looks at the lower 32 bits of its seed only."""
    names = ("weights", "batches", "training noise", "release noise", "releases", "evaluator")
    draws = {
        (name, seed): torch.rand(4, generator=stream(seed, name, CPU)).tolist()
        for name in names
        for seed in range(50)
    }
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)


def test_seeds_have_their_own_noise() -> None:
    """Bit-equal noise in two seeds would make their releases dependent and the intervals too narrow."""
    errors = []
    for seed in (0, 1, 2):
        noisy = released(seed=seed, defense=build_defense("noise", {}))
        plain = released(seed=seed)
        errors.append((noisy.sent["classifier.bias"] - plain.sent["classifier.bias"]).flatten())
    assert not any(torch.allclose(errors[i], errors[j], atol=1e-4) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("accuracies", "classes", "weight", "stays"),
    [
        ([0.70, 0.93, 0.94, 0.93], (730, 270), 1.0, True),
        ([0.70, 0.73, 0.73, 0.73], (730, 270), 1.0, False),  # always the larger class
        ([0.10, 0.73, 0.73, 0.73], (100,) * 10, 1.0, True),
        ([0.10, 0.18, 0.18, 0.18], (100,) * 10, 1.0, False),  # hardly more than guessing
        ([0.10, 0.90, 0.91, 0.93], (100,) * 10, 1.0, False),  # on its way
        ([0.10, 0.93, 0.93, 0.93], (100,) * 10, float("nan"), False),
    ],
)
def test_a_training_converges_where_it_stays_above_the_best_constant_answer(
    accuracies: list[float], classes: tuple[int, ...], weight: float, stays: bool
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(classes))
    curve = [{"round": float(turn), "accuracy": value} for turn, value in enumerate(accuracies)]
    assert converged(curve, {"weight": torch.tensor([1.0, weight])}, labels) is stays


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("convnet", 0.96), ("lenet", 0.92)])
def test_undefended_victims_are_useful_and_converged(model: str, least: float) -> None:
    """The mean of two seeds: on 1,000 test images a single one moves by half a point with the processor."""
    reached = []
    for seed in (10, 11):
        victim = train_victim(
            model=model, splits=digits(seed), num_classes=10, image_shape=DIGITS, defense=NONE,
            batch_size=4, epochs=None, seed=seed, device=CPU,
        )  # fmt: skip
        assert victim.converged
        assert victim.initial_accuracy < 0.4
        reached.append(victim.accuracy)
    assert sum(reached) / len(reached) >= least


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["none", "noise", "pruning"])
def test_a_victim_trains_on_a_gpu_and_releases_there(name: str) -> None:
    """A GPU draws other numbers than a CPU: the weights are others, what they release is as finite."""
    place, defense = torch.device("cuda"), build_defense(name, {})
    victim = train_victim(
        model="lenet", splits=few(160), num_classes=10, image_shape=DIGITS, defense=defense,
        batch_size=4, epochs=1, seed=0, device=place,
    )  # fmt: skip
    assert all(value.isfinite().all() for value in victim.trained.values())
    got = released(defense=defense, parameters=victim.trained, device=place)
    assert all(value.device.type == place.type and value.isfinite().all() for value in got.sent.values())


@pytest.mark.gpu
def test_a_gpu_releases_what_a_cpu_releases() -> None:
    want, got = released(), released(device=torch.device("cuda"))
    assert torch.equal(got.images.cpu(), want.images) and torch.equal(got.labels.cpu(), want.labels)
    for name, value in want.sent.items():
        torch.testing.assert_close(got.sent[name].cpu(), value, rtol=1e-3, atol=1e-5)
