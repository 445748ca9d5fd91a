"""Local steps: what a client of federated averaging sends, and how it trains its federation."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bench.api import Adversary, HookContext, UsageError
from bench.api.threat import LocalTraining
from bench.channels import channel
from bench.channels.shared.contract import Attacker
from bench.models.build import schedule_of
from bench.models.spec import parse_model
from bench.plugins import attack_card, build_defense
from bench.victims.clients import Local, client_releases
from bench.victims.releases import release_gradients
from bench.victims.training import private_batches, train_victim
from tests.engine.observations import DIGITS, batches, drawn, weights

from .small import digits_source, few, same

CPU = torch.device("cpu")
NONE = build_defense("none", {})
TWO_BY_TWO = LocalTraining(epochs=2, batch_size=2, learning_rate=0.1)


def released(name: str, local: Local | None, *, count: int = 3, size: int = 4) -> dict[str, torch.Tensor]:
    images, labels = batches(count, size)
    context = HookContext(generator=torch.Generator(), batch_size=size)
    sent = client_releases(
        drawn(name, 7), weights(name, 7), images, labels,
        defense=NONE, context=context, num_classes=10, local=local,
    )  # fmt: skip
    return dict(sent)


@pytest.mark.parametrize("name", ["lenet", "convnet"])
def test_a_client_sends_what_plain_descent_on_its_images_changes(name: str) -> None:
    images, labels = batches(3, 4)
    local = Local.drawn(TWO_BY_TWO, labels, torch.Generator().manual_seed(5))
    assert local is not None
    got = released(name, local)
    for client in range(3):
        model = copy.deepcopy(drawn(name, 7))
        model.load_state_dict(weights(name, 7))
        before = copy.deepcopy(model.state_dict())
        steps = torch.optim.SGD(model.parameters(), lr=0.1)
        for order in local.orders[:, client]:
            for rows in order.split(2):
                steps.zero_grad()
                nn.functional.cross_entropy(model(images[client, rows]), labels[client, rows]).backward()
                steps.step()
        for key, value in model.named_parameters():
            want = (before[key] - value.detach()) / (4 * 0.1)
            torch.testing.assert_close(got[key][client], want, rtol=1e-3, atol=1e-5)


def test_one_step_is_the_gradient_and_draws_nothing() -> None:
    _, labels = batches(3, 4)
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    for one in (LocalTraining(), LocalTraining(batch_size=4), LocalTraining(batch_size=9)):
        assert Local.drawn(one, labels, generator) is None
    assert torch.equal(generator.get_state(), before)
    assert schedule_of("convnet").local.steps(4) == 1
    assert LocalTraining(epochs=3, batch_size=3).steps(4) == 6, "the last step of a pass takes what is left"


def test_each_client_and_pass_has_an_order_of_its_own() -> None:
    local = Local.drawn(
        LocalTraining(epochs=3, batch_size=1), torch.zeros(5, 8), torch.Generator().manual_seed(0)
    )
    assert local is not None and local.orders.shape == (3, 5, 8)
    assert torch.equal(local.orders.sort(-1).values, torch.arange(8).expand(3, 5, 8))
    assert len({tuple(order.tolist()) for order in local.orders.flatten(0, 1)}) == 15


def test_what_one_client_sends_does_not_depend_on_the_others() -> None:
    _, labels = batches(3, 4)
    local = Local.drawn(TWO_BY_TWO, labels, torch.Generator().manual_seed(5))
    assert local is not None
    alone = released("convnet", replace(local, orders=local.orders[:, :1]), count=1)
    for key, value in released("convnet", local).items():
        torch.testing.assert_close(value[:1], alone[key], rtol=1e-4, atol=1e-6)


def test_a_federation_of_local_steps_learns_more_in_a_round() -> None:
    plain, local = (
        train_victim(
            model=name, splits=few(320), num_classes=10, image_shape=DIGITS, defense=NONE, batch_size=4,
            epochs=4, seed=0, device=CPU,
        )
        for name in ("convnet", "convnet[local_epochs=5,local_batch=1,local_rate=0.1]")
    )  # fmt: skip
    assert same(plain.initial, local.initial) and plain.rounds == local.rounds
    assert local.curve[-1]["loss"] < plain.curve[-1]["loss"]


def test_the_number_of_clients_is_what_a_round_averages() -> None:
    for name, clients in (("convnet", 8), ("convnet[clients=3]", 3)):
        order = private_batches(
            schedule_of(name), 96, batch_size=4, epochs=1, generator=torch.Generator().manual_seed(0)
        )
        assert order.shape == (96 // (4 * clients), clients, 4)


def test_the_defense_meets_what_leaves_and_the_attacker_is_told_of_the_steps() -> None:
    name = "convnet[local_epochs=2,local_batch=2]"
    noise = build_defense("noise", {"sigma": 0.01})
    options = {"releases": 3, "batch_size": 4}
    plain, noisy = (
        release_gradients(digits_source(name, weights("convnet", 0), defense=hooks, **options))
        for hooks in (NONE, noise)
    )
    difference = torch.cat([(noisy.sent[key] - plain.sent[key]).flatten() for key in plain.sent])
    assert difference.std().item() == pytest.approx(0.01, rel=0.02)
    source = digits_source(name, weights("convnet", 0), **options)
    attacker = Attacker(card=attack_card("dlg"), adversary=Adversary.NAIVE, auxiliary=source.private)
    seen = channel("gradients").observe(source, plain, attacker)
    assert seen.threat.local == LocalTraining(epochs=2, batch_size=2)
    assert seen.threat.local.steps(4) == 4


def test_the_order_of_a_release_is_the_seeds() -> None:
    source = digits_source(
        "convnet[local_epochs=2,local_batch=1]", weights("convnet", 0), releases=2, batch_size=4
    )
    first, again = release_gradients(source), release_gradients(source)
    assert same(first.sent, again.sent)
    whole = release_gradients(replace(source, model="convnet"))
    assert torch.equal(first.images, whole.images)
    assert not any(torch.equal(first.sent[key], whole.sent[key]) for key in first.sent)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("lenet[cut=2,local_epochs=2]", "half"),
        ("resnet18_shared[local_batch=1]", "statistics"),
        ("convnet[local_epochs=0]", "local_epochs: 0 is below"),
        ("convnet[local_rate=fast]", "local_rate: expected float"),
    ],
)
def test_what_a_federation_cannot_do_is_refused(text: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        parse_model(text)


def test_a_federation_is_part_of_the_one_name_of_a_victim() -> None:
    spec = parse_model("convnet[local_rate=0.05,local_epochs=5,clients=0]")
    assert spec.plain and spec.name == "convnet[local_epochs=5]"
    assert (
        parse_model("convnet[local_rate=1e-3,local_epochs=2]").name
        == "convnet[local_epochs=2,local_rate=0.001]"
    )
    assert schedule_of("convnet[clients=3]").clients == 3
    network = drawn("convnet", 0)
    images = torch.rand(2, *DIGITS, generator=torch.Generator().manual_seed(0))
    other = drawn("convnet[local_epochs=5]", 0)
    assert torch.equal(network(images), functional_call(other, weights("convnet", 0), (images,)))
