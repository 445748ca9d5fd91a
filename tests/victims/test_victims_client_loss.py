"""A defense may give clients a loss of their own, with draws of their own."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    ClientLoss,
    CrossEntropy,
    Defense,
    DefenseView,
    GradientObservation,
    HookContext,
    IncompatibleError,
)
from bench.api.threat import Adversary, LocalTraining
from bench.engine import Cosine, Objective, Pixels
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.matching import Euclidean
from bench.engine.parametrise import WithDraws
from bench.victims.clients import Local, client_releases
from bench.victims.distortion import Undistorted
from bench.victims.split import build_split
from bench.victims.splitfed import client_updates
from tests.engine.observations import DIGITS, batches, drawn, observation, weights


class Weighted(Defense):
    """Each image counts by a weight that its client draws."""

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss:
        chance = torch.rand(images.shape[:2], generator=context.generator)
        return ClientLoss(of_batch=self.of_batch, drawn=chance)

    def of_batch(
        self, model: nn.Module, images: Tensor, targets: Tensor, drawn: Tensor, cross_entropy: CrossEntropy
    ) -> Tensor:
        return cross_entropy(model(images), targets * drawn[:, None])

    def view(self) -> DefenseView:
        return DefenseView(client_loss=self.assumed)

    def assumed(self, seen: GradientObservation) -> ClientLoss:
        ones = seen.reference.new_ones(seen.victims, seen.batch_size)
        return ClientLoss(of_batch=self.of_batch, drawn=ones, searched=torch.sigmoid)


class Usual(Weighted):
    """What the clients' loss is anyway."""

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss:
        return ClientLoss(of_batch=self.of_batch, drawn=torch.ones(images.shape[:2]))


def context(seed: int = 3) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=2)


def sent(
    defense: Defense, own: HookContext, *, local: Local | None = None, rows: slice = slice(None)
) -> dict[str, Tensor]:
    images, labels = batches(3, 4)
    return dict(
        client_releases(
            drawn("convnet", 7), weights("convnet", 7), images[rows], labels[rows],
            defense=defense, context=own, num_classes=10, local=local,
        )
    )  # fmt: skip


def test_each_client_has_its_own_draws() -> None:
    found, (images, labels) = sent(Weighted(), context()), batches(3, 4)
    chance = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))
    for client in range(3):
        model = copy.deepcopy(drawn("convnet", 7))
        each = nn.functional.cross_entropy(model(images[client]), labels[client], reduction="none")
        (chance[client] * each).mean().backward()
        for name, value in model.named_parameters():
            torch.testing.assert_close(found[name][client], value.grad, rtol=1e-3, atol=1e-6)


def test_the_usual_loss_as_one_of_their_own_is_the_usual_release_bit_for_bit() -> None:
    plain, same = sent(Defense(), context()), sent(Usual(), context())
    assert all(torch.equal(value, same[name]) for name, value in plain.items())


def test_local_steps_draw_anew_and_in_each_of_them() -> None:
    training = LocalTraining(epochs=2, learning_rate=0.1)
    local = Local(training, torch.arange(4).expand(2, 3, 4))
    own = context()
    found, (images, labels) = sent(Weighted(), own, local=local), batches(3, 4)
    generator = torch.Generator().manual_seed(3)
    chances = [torch.rand(3, 4, generator=generator) for _ in range(2)]
    assert torch.equal(own.generator.get_state(), generator.get_state())
    model = copy.deepcopy(drawn("convnet", 7))
    model.load_state_dict(weights("convnet", 7))
    steps = torch.optim.SGD(model.parameters(), lr=0.1)
    for chance in chances:
        steps.zero_grad()
        each = nn.functional.cross_entropy(model(images[1]), labels[1], reduction="none")
        (chance[1] * each).mean().backward()
        steps.step()
    for name, value in model.named_parameters():
        want = (weights("convnet", 7)[name] - value.detach()) / 0.2
        torch.testing.assert_close(found[name][1], want, rtol=1e-3, atol=1e-5)


def test_a_defense_without_its_last_hook_keeps_the_loss() -> None:
    plain, same = sent(Weighted(), context()), sent(Undistorted(Weighted()), context())
    assert all(torch.equal(value, same[name]) for name, value in plain.items())


def test_networks_in_two_halves_refuse_it() -> None:
    network = build_split("lenet[cut=1]", num_classes=10, image_shape=DIGITS, defense=Defense())
    with pytest.raises(IncompatibleError, match="cut"):
        client_updates(network, *batches(2, 1), defense=Weighted(), context=context())


@pytest.mark.parametrize("alone", [False, True])
def test_one_victim_alone_and_in_turn_has_its_gradient_of_the_batch(alone: bool) -> None:
    (images, labels), chance = batches(1, 3), torch.rand(1, 3, generator=torch.Generator().manual_seed(0))
    targets = one_hot(labels, 10)
    loss, network = Weighted().of_batch, drawn("lenet", 1)
    network.one_by_one = not alone
    found = gradient_map(
        network, weights("lenet", 1), per_victim_weights=False, client_loss=loss, alone=alone
    )(images, targets, chance)
    want = gradient_map(drawn("lenet", 1), weights("lenet", 1), per_victim_weights=False)(
        images, targets * chance[..., None]
    )
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)


def released(adaptive: bool = True) -> GradientObservation:
    images, labels = batches(3, 2)
    seen = observation("lenet", images, labels, seeds=0)
    if not adaptive:
        return seen
    knows = replace(seen.threat, adversary=Adversary.ADAPTIVE)
    return replace(seen, threat=knows, defense=Weighted().known())


def test_an_attacker_assumes_what_the_view_says_and_a_naive_one_the_cross_entropy() -> None:
    images, labels = batches(3, 2)
    point = images.flatten(1)
    naive, adaptive = (
        Objective(released(own), Pixels.of(released(own), labels), Euclidean()) for own in (False, True)
    )
    torch.testing.assert_close(naive.costs(point), adaptive.costs(point))
    assert adaptive.costs(point).max() < 1e-9


def test_draws_are_searched_behind_the_other_unknowns() -> None:
    images, labels = batches(3, 2)
    seen = released()
    unknowns = WithDraws.of(Pixels.of(seen, labels), seen)
    whole = Objective(seen, unknowns, Cosine())
    assert unknowns.size == images[0].numel() + 2
    none, half = torch.full((3, 2), 20.0), torch.tensor([20.0, 0.0]).expand(3, 2)
    costs = [whole.costs(torch.cat([images.flatten(1), draws], dim=1)) for draws in (none, half)]
    assert costs[0].max() < 1e-5 < costs[1].min()
    torch.testing.assert_close(
        whole.select(torch.tensor([2, 0])).costs(torch.cat([images.flatten(1), half], dim=1)[[2, 0]]),
        costs[1][[2, 0]],
    )
    naive = released(adaptive=False)
    plain = Pixels.of(naive, labels)
    assert WithDraws.of(plain, naive) is plain
