"""Unknowns of generative attacks, against a plain loop over the victims."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import IncompatibleError
from bench.api.defense import DefenseView
from bench.api.generator import ImageGenerator
from bench.api.transform import InputTransform
from bench.engine import (
    LBFGS,
    Cosine,
    Euclidean,
    GeneratorWeights,
    Latents,
    Objective,
    Optimum,
    Promising,
    Stopping,
    TensorCosine,
    WarmAdam,
    distance,
    generator_of,
    latent_objective,
)
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.matching import MATCHINGS
from bench.engine.parametrise import starts
from bench.engine.priors import latent_divergence
from bench.engine.transforms.imitated import Imitations
from tests.engine.observations import batches, observation

SIZE = 6


def generator(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(SIZE, 32), nn.Tanh(), nn.Linear(32, 1024), nn.Sigmoid(), nn.Unflatten(1, (1, 32, 32))
        ).double()


def targets(victims: int, size: int) -> Tensor:
    _, labels = batches(victims, size)
    return one_hot(labels, 10, torch.float64)


def test_latents_decode_to_what_the_generator_makes_of_each() -> None:
    net, wanted = generator(), targets(3, 2)
    unknowns = Latents(net, SIZE, wanted)
    point = torch.randn(3, unknowns.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images, labels = unknowns.decode(point)
    assert images.shape == (3, 2, 1, 32, 32) and torch.equal(labels, wanted)
    for i in range(3):
        torch.testing.assert_close(images[i], net(point[i].view(2, SIZE)))
    some, _ = unknowns.select(torch.tensor([2, 0])).decode(point[[2, 0]])
    torch.testing.assert_close(some, images[[2, 0]])


def test_generator_weights_are_each_victims_own() -> None:
    net, wanted = generator(), targets(3, 2)
    latents = torch.randn(3, 2, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    unknowns = GeneratorWeights(net, latents, wanted)
    start = unknowns.start(torch.arange(3), seed=0, like=latents)
    assert start.shape == (3, unknowns.size)
    torch.testing.assert_close(unknowns.decode(start)[0][1], net(latents[1]))
    moved = start + 0.1 * torch.randn(start.shape, generator=torch.Generator().manual_seed(3)).double()
    images, _ = unknowns.decode(moved)
    for i in range(3):
        sizes = [value.numel() for value in net.parameters()]
        own = {
            name: part.view(value.shape)
            for (name, value), part in zip(net.named_parameters(), moved[i].split(sizes), strict=True)
        }
        torch.testing.assert_close(images[i], functional_call(net, own, (latents[i],)))
    some, _ = unknowns.select(torch.tensor([2])).decode(moved[2:])
    torch.testing.assert_close(some, images[2:])


def test_a_search_in_latents_finds_what_the_generator_made() -> None:
    """The private images lie in the generator's range: the search must come back to them."""
    net = generator()
    truth = torch.randn(4, 1, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    images = net(truth.flatten(0, 1)).view(4, 1, 1, 32, 32).detach()
    _, labels = batches(4, 1)
    seen = observation("lenet", images, labels, dtype=torch.float64)
    unknowns = Latents(net, SIZE, one_hot(labels, 10, torch.float64))
    objective = Objective(
        seen, unknowns, Euclidean(), penalties=((1e-12, lambda z: latent_divergence(unknowns.latents(z))),)
    )
    start = torch.zeros(4, unknowns.size, dtype=torch.float64) + 0.1 * torch.arange(SIZE)
    search = LBFGS(stopping=Stopping(target=1e-11, patience=10**9))
    found = search.minimise(objective, start, evaluations=torch.full((4,), 400))
    rebuilt, _ = unknowns.decode(found.point)
    assert (rebuilt - images).square().mean() < 1e-6


def test_the_matching_gradient_reaches_the_generators_weights() -> None:
    net, (images, labels) = generator(), batches(2, 1)
    seen = observation("lenet", images, labels, dtype=torch.float64)
    latents = torch.zeros(2, 1, SIZE, dtype=torch.float64)
    unknowns = GeneratorWeights(net, latents, one_hot(labels, 10, torch.float64))
    start = unknowns.start(seen.ids, seed=0, like=latents)
    cost, objective_gradient = Objective(seen, unknowns, Euclidean())(start)
    leaf = start[0].clone().requires_grad_()
    sizes = [value.numel() for value in net.parameters()]
    own = {
        name: part.view(value.shape)
        for (name, value), part in zip(net.named_parameters(), leaf.split(sizes), strict=True)
    }
    dummy = functional_call(net, own, (latents[0],)).unsqueeze(0)
    made = gradient_map(seen.model, seen.parameters, per_victim_weights=False)(
        dummy, one_hot(labels[:1], 10, torch.float64)
    )
    gap = Euclidean()(made, {k: v[:1] for k, v in seen.gradients.items()}).sum()
    (want,) = torch.autograd.grad(gap, leaf)
    torch.testing.assert_close(cost[0], gap.detach())
    torch.testing.assert_close(objective_gradient[0], want)


def test_latent_divergence_is_zero_for_standard_moments_and_positive_else() -> None:
    z = torch.randn(5, 2, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (z - z.mean(2, keepdim=True)) / z.std(2, keepdim=True, unbiased=False)
    torch.testing.assert_close(latent_divergence(z), torch.zeros(5, dtype=torch.float64))
    # mean 2, variance 9: (4 + 9 - log 9 - 1) / 2
    want = torch.full((5,), (12 - torch.tensor(9.0).log().item()) / 2, dtype=torch.float64)
    torch.testing.assert_close(latent_divergence(3 * z + 2), want)


def test_warm_adam_is_adam_whose_rate_rises_and_falls() -> None:
    schedule, centre = WarmAdam(learning_rate=0.1), torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    rates = [schedule.rate(turn, 200) for turn in range(1, 201)]
    assert rates[9:150] == pytest.approx([0.1] * 141) and rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0, abs=1e-9) and rates[150:] == sorted(rates[150:], reverse=True)
    visited: list[Tensor] = []

    def bowl(point: Tensor, share: float) -> tuple[Tensor, Tensor]:
        visited.append(point)
        return (point - centre).square().sum(1), 2 * (point - centre)

    schedule.minimise(bowl, torch.zeros_like(centre), evaluations=torch.tensor([200]))
    mine = torch.zeros_like(centre).requires_grad_()
    steps = torch.optim.Adam([mine], lr=1.0, eps=1e-12)
    for rate, point in zip(rates, visited, strict=True):
        torch.testing.assert_close(point, mine.detach())
        steps.param_groups[0]["lr"] = rate
        mine.grad = 2 * (mine.detach() - centre)
        steps.step()


def test_warm_adam_returns_the_cheapest_iterate() -> None:
    costs: list[Tensor] = []

    def wild(point: Tensor, share: float) -> tuple[Tensor, Tensor]:
        cost = point.square().sum(1).where(point[:, 0] < 2, torch.nan)
        costs.append(cost)
        return cost, torch.cat([-torch.ones_like(point[:, :1]), 2 * point[:, 1:]], dim=1)

    start = torch.tensor([[-1.0, 1.0], [5.0, 1.0]])
    found = WarmAdam(learning_rate=0.1).minimise(wild, start, evaluations=torch.tensor([60, 60]))
    assert found.cost[0] == torch.stack(costs)[:, 0].nan_to_num(torch.inf).min()
    torch.testing.assert_close(found.point[0].square().sum(), found.cost[0])
    assert found.cost[1].isinf() and found.point[1].tolist() == [5.0, 1.0]


def latents_of_digits(victims: int = 4) -> Objective:
    images, labels = batches(victims, 1)
    seen = replace(
        observation("lenet", images, labels),
        generator=ImageGenerator(decoder=generator().float().eval(), latent_size=SIZE),
    )
    return latent_objective(seen, Euclidean(), Euclidean, kl=0.01, kl_nats=1.0)


def promising(candidates: int, followed: int, *, seed: int = 0, rows: int) -> Promising:
    return Promising(minimiser=WarmAdam(), candidates=candidates, followed=followed, seed=seed, rows=rows)


def searched(way: Promising, objective: Objective, evaluations: int) -> Optimum:
    start = objective.parametrisation.start(objective.ids, seed=0, like=objective.observation.reference)
    return way.minimise(objective, start, evaluations=torch.full_like(objective.ids, evaluations))


def test_the_cheapest_of_the_random_latents_are_followed() -> None:
    objective = latents_of_digits()
    kept = promising(20, 3, seed=5, rows=7).promising(objective, torch.zeros(4, SIZE), 20, 3)
    every = starts(objective.ids, 20 * SIZE, seed=5, like=kept).view(4, 20, SIZE)
    costs = torch.stack([objective(every[:, i])[0] for i in range(20)], dim=1)
    cheapest = costs.sort(dim=1).values[:, :3]
    torch.testing.assert_close(torch.stack([objective(kept[:, i])[0] for i in range(3)], dim=1), cheapest)


@pytest.mark.parametrize("evaluations", [1, 7, 30, 101])
def test_a_latent_search_reports_what_it_spends_and_keeps_to_the_budget(
    evaluations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, spent = latents_of_digits(), 0
    plain = Objective.costs

    def counted(self: Objective, point: Tensor) -> Tensor:
        nonlocal spent
        spent += len(point)
        return plain(self, point)

    monkeypatch.setattr(Objective, "costs", counted)
    found = searched(promising(12, 3, rows=5), objective, evaluations)
    assert found.evaluations.tolist() == [spent / 4] * 4 and 0 < spent / 4 <= evaluations
    torch.testing.assert_close(objective(found.point)[0], found.cost)


def test_the_size_of_a_graph_and_neighbours_change_nothing_in_a_latent_search() -> None:
    objective = latents_of_digits()
    together = searched(promising(8, 2, seed=1, rows=64), objective, 40)
    apart = searched(promising(8, 2, seed=1, rows=1), objective.select(torch.tensor([3, 1])), 40)
    torch.testing.assert_close(apart.point, together.point[[3, 1]], atol=1e-3, rtol=1e-3)


def test_nothing_is_searched_without_a_generator() -> None:
    seen = latents_of_digits().observation
    with pytest.raises(IncompatibleError, match="has none"):
        generator_of(replace(seen, generator=None))


class Darker:
    """A copy of a transform by which clients darken their images, more for higher labels."""

    def __init__(self, share: float) -> None:
        self.share = share

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return self.share ** (1 + labels.view(-1, 1, 1, 1)) * images

    def perturbed(self, inputs: Tensor) -> Tensor:
        return inputs

    def images(self, inputs: Tensor) -> Tensor:
        return inputs


@pytest.mark.parametrize("size", [1, 2])
def test_the_cost_is_that_of_the_mean_of_what_the_copies_make_of_the_images(size: int) -> None:
    images, labels = batches(3, size)
    net, seen = generator().float().eval(), observation("lenet", images, labels)
    seen = replace(seen, labels=labels, threat=replace(seen.threat, labels_known=True))
    seen = replace(seen, generator=ImageGenerator(decoder=net, latent_size=SIZE))
    copies = Darker(0.9), Darker(0.7)
    plain = latent_objective(seen, Euclidean(), Euclidean, kl=0.0, kl_nats=0.0)
    both = replace(plain, imitations=Imitations(copies))
    point = torch.randn(3, both.parametrisation.size, generator=torch.Generator().manual_seed(5))
    cost, objective_gradient = both(point)
    leaf = point.clone().requires_grad_()
    drawn, targets = both.parametrisation.decode(leaf)
    shown = torch.stack([copy.inputs(drawn.flatten(0, 1), labels.flatten()) for copy in copies]).mean(0)
    gradients = gradient_map(seen.model, seen.parameters, per_victim_weights=False)
    want = Euclidean()(gradients(shown.view_as(drawn), targets), seen.gradients)
    torch.testing.assert_close(cost, want.detach())
    torch.testing.assert_close(objective_gradient, torch.autograd.grad(want.sum(), leaf)[0])
    assert not torch.isclose(plain(point)[0], cost).any()


def test_tensors_count_alike_by_default_where_a_transform_is_known() -> None:
    seen = latents_of_digits().observation
    assert distance("auto", seen) is Cosine
    assert distance("auto", replace(seen, defense=DefenseView())) is Cosine
    known = replace(seen, defense=DefenseView(transform=cast(InputTransform, object())))
    assert distance("auto", known) is TensorCosine
    for name, matching in MATCHINGS.items():
        assert distance(name, seen) is distance(name, known) is matching
