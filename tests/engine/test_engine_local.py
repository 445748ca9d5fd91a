"""Local steps, simulated: what an attacker computes is what a client sends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.api import Adversary, HookContext
from bench.api.threat import LocalTraining
from bench.channels import channel
from bench.channels.shared.contract import Attacker
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.transforms.local import MOST_STEPS, simulated
from bench.metrics.pixel import psnr
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.clients import Local, client_releases
from bench.victims.releases import Release, release_gradients
from tests.engine.observations import batches, drawn, weights
from tests.victims.small import digits_source

NONE = build_defense("none", {})


def observed(model: str, **changes: object) -> tuple[Release, object]:
    source = digits_source(model, weights("convnet", 0), releases=3, **{"batch_size": 2, **changes})
    release = release_gradients(source)
    attacker = Attacker(card=attack_card("dlg"), adversary=Adversary.NAIVE, auxiliary=source.private)
    return release, channel("gradients").observe(source, release, attacker)


@pytest.mark.parametrize("local", [LocalTraining(epochs=3), LocalTraining(batch_size=1, learning_rate=0.2)])
def test_the_simulation_is_what_clients_send(local: LocalTraining) -> None:
    images, labels = batches(3, 4)
    context = HookContext(generator=torch.Generator(), batch_size=4)
    orders = torch.arange(4).expand(local.epochs, 3, 4)
    network, start = drawn("convnet", 7), weights("convnet", 7)
    sent = client_releases(
        network, start, images, labels,
        defense=NONE, context=context, num_classes=10, local=Local(local, orders),
    )  # fmt: skip
    found = gradient_map(network, start, per_victim_weights=False, local=local)(images, one_hot(labels, 10))
    for key, value in sent.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-6)


def test_its_derivative_is_that_of_the_whole_way() -> None:
    images, labels = batches(1, 2)
    network, start = drawn("lenet", 7).double(), {k: v.double() for k, v in weights("lenet", 7).items()}
    local = LocalTraining(epochs=2, learning_rate=0.3)
    update = gradient_map(network, start, per_victim_weights=False, local=local)
    targets = one_hot(labels, 10, torch.float64)
    generator = torch.Generator().manual_seed(0)

    def cost(values: torch.Tensor) -> torch.Tensor:
        return sum((value**2).sum() for value in update(values, targets).values())

    point = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(point), point)
    along = torch.randn(point.shape, generator=generator, dtype=torch.float64)
    step = 1e-5
    numeric = (cost(point + step * along) - cost(point - step * along)) / (2 * step)
    torch.testing.assert_close((gradient * along).sum(), numeric.detach(), rtol=1e-5, atol=0)


def test_what_cannot_be_simulated_is_taken_for_one_gradient() -> None:
    _, seen = observed("convnet[local_epochs=3]")
    assert simulated(seen) == LocalTraining(epochs=3)
    for name in (
        "convnet",
        f"convnet[local_epochs={MOST_STEPS + 1}]",
    ):
        assert simulated(observed(name)[1]) is None
    blind = replace(seen, threat=replace(seen.threat, local=None))
    assert simulated(blind) is None


def test_an_attack_that_simulates_the_steps_finds_what_one_gradient_hides() -> None:
    release, seen = observed("convnet[local_epochs=5]", batch_size=1)
    blind = replace(seen, threat=replace(seen.threat, local=None))
    attack = build_attack("inverting_gradients", {"iterations": 100})
    simulating, matching = (
        psnr(attack.reconstruct(one, budget=100, seed=0).images.flatten(0, 1), release.images.flatten(0, 1))
        for one in (seen, blind)
    )
    assert simulating.median() > 25 > 15 > matching.median()
