"""Unknowns of generative attacks, against a plain loop over the victims."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.engine import LBFGS, Euclidean, GeneratorWeights, Latents, Objective, Stopping, latent_divergence
from bench.engine.gradients import gradient_map, one_hot
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
    start = unknowns.start()
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
    found = LBFGS().minimise(
        objective, start, budget=torch.full((4,), 400), stopping=Stopping(target=1e-11, patience=10**9)
    )
    rebuilt, _ = unknowns.decode(found.point)
    assert (rebuilt - images).square().mean() < 1e-6


def test_the_matching_gradient_reaches_the_generators_weights() -> None:
    net, (images, labels) = generator(), batches(2, 1)
    seen = observation("lenet", images, labels, dtype=torch.float64)
    latents = torch.zeros(2, 1, SIZE, dtype=torch.float64)
    unknowns = GeneratorWeights(net, latents, one_hot(labels, 10, torch.float64))
    cost, slope = Objective(seen, unknowns, Euclidean())(unknowns.start())
    leaf = unknowns.start()[0].requires_grad_()
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
    torch.testing.assert_close(slope[0], want)


def test_latent_divergence_is_zero_for_standard_moments_and_positive_else() -> None:
    z = torch.randn(5, 2, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (z - z.mean(2, keepdim=True)) / z.std(2, keepdim=True, unbiased=False)
    torch.testing.assert_close(latent_divergence(z), torch.zeros(5, dtype=torch.float64))
    # mean 2, variance 9: (4 + 9 - log 9 - 1) / 2
    want = torch.full((5,), (12 - torch.tensor(9.0).log().item()) / 2, dtype=torch.float64)
    torch.testing.assert_close(latent_divergence(3 * z + 2), want)
