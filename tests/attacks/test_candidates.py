"""The bound that chooses from a list: it finds what is there, at chance where it is not, in any order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, GradientObservation, IncompatibleError
from bench.attacks.candidates.attack import Candidates
from bench.attacks.candidates.imitated import ErrorMetric, directions
from bench.check.findings import Broken
from bench.check.guard import guarded
from bench.check.materials import material, split_material
from bench.metrics.pool import by_digest
from bench.plugins import attack_card, build_defense
from bench.victims.releases import Release

MODEL, RELEASES, OTHERS = "convnet", 8, 60


def _seen(defense: str, adversary: Adversary, **parameters: Any) -> tuple[GradientObservation, Release]:
    hooks = build_defense(defense, parameters)
    released = material.release(hooks, batch_size=1, releases=RELEASES, model=MODEL)
    seen = material.observation(
        attack_card("candidates"), released, adversary=adversary, defense=hooks, model=MODEL
    )
    private = material.data().splits.private_train.images
    free = torch.isin(torch.arange(len(private)), released.indices.flatten(), invert=True)
    pool = by_digest(torch.cat([released.images.flatten(0, 1), private[free][:OTHERS]]))
    return replace(seen, pool=pool), released


def _found(seen: Any, truth: Tensor) -> Tensor:
    """Which of the releases ``[N]`` got their own image."""
    images = Candidates().reconstruct(seen, budget=1, seed=0).images
    same: Tensor = (images == truth).flatten(1).all(1)
    return same


def test_the_known_noise_does_not_hide_who_released() -> None:
    seen, released = _seen("noise", Adversary.ADAPTIVE, sigma=0.1)
    assert _found(seen, released.images).float().mean() >= 0.85
    shuffled = released.images.roll(1, 0)
    assert not _found(seen, shuffled).any()


def test_transmitted_entries_are_enough() -> None:
    seen, released = _seen("pruning", Adversary.ADAPTIVE, ratio=0.9)
    found = Candidates().reconstruct(seen, budget=1, seed=0)
    assert _found(seen, released.images).all()
    assert found.labels is not None and torch.equal(found.labels, released.labels)
    assert seen.pool is not None and found.evaluations.tolist() == [len(seen.pool)] * RELEASES


@pytest.mark.parametrize(
    ("defense", "parameters"),
    [
        ("dpsgd", {"clip_norm": 0.02, "noise_multiplier": 0.01}),
        ("percentile_privacy", {"gamma": 1e-5, "percentile": 50.0}),
    ],
)
def test_candidates_are_compared_as_clients_would_send_them(
    defense: str, parameters: dict[str, float]
) -> None:
    """All are clipped here, so that a candidate as it is is far from every release."""
    seen, released = _seen(defense, Adversary.ADAPTIVE, **parameters)
    assert seen.defense is not None and seen.pool is not None
    truth, view = by_digest(released.images.flatten(0, 1)), replace(seen.defense, transmit=None)
    found, bare = (
        Candidates().reconstruct(each, budget=1, seed=0)
        for each in (replace(seen, pool=truth), replace(seen, pool=truth, defense=view))
    )
    assert (found.images == released.images).all() and (found.cost < bare.cost).all()
    assert _found(seen, released.images).all()


def test_an_image_that_is_not_in_the_list_is_not_found() -> None:
    seen, released = _seen("none", Adversary.NAIVE)
    assert seen.pool is not None
    known = (seen.pool[:, None] == released.images[None, :, 0]).flatten(2).all(2).any(1)
    blind = replace(seen, pool=seen.pool[~known])
    found = Candidates().reconstruct(blind, budget=1, seed=0)
    assert not _found(blind, released.images).any()
    seeing = Candidates().reconstruct(seen, budget=1, seed=0)
    assert (found.cost > seeing.cost + 1e-3).all(), "the cost tells that it is not there"


def test_no_order_and_no_neighbour_matters() -> None:
    seen, _ = _seen("noise", Adversary.ADAPTIVE, sigma=0.3)
    assert seen.pool is not None
    plain = Candidates().reconstruct(seen, budget=1, seed=0)
    turned = Candidates().reconstruct(replace(seen, pool=seen.pool.flip(0)), budget=1, seed=0)
    assert torch.equal(plain.images, turned.images)
    order = torch.tensor([3, 0, 6])
    some = Candidates().reconstruct(seen.select(order), budget=1, seed=0)
    assert torch.equal(some.images, plain.images[order])
    torch.testing.assert_close(some.cost, plain.cost[order])


@pytest.mark.parametrize("adversary", list(Adversary))
def test_a_perturbed_image_behind_a_deep_cut_is_found(adversary: Adversary) -> None:
    place = split_material.source(build_defense("pgsl", {"strength": 0.2}), releases=6)
    sent = split_material.released(place)
    seen = split_material.observation("candidates", place, sent, adversary=adversary)
    assert _found(seen, sent.images).all()


def test_what_it_needs_is_asked_for() -> None:
    seen, _ = _seen("none", Adversary.NAIVE)
    with pytest.raises(IncompatibleError, match="list of images"):
        Candidates().reconstruct(replace(seen, pool=None), budget=1, seed=0)
    card = attack_card("candidates")
    assert guarded(seen, card).pool is seen.pool
    with pytest.raises(Broken, match="reads observation"):
        assert guarded(seen, card.model_copy(update={"receives_pool": False})).pool is None


def test_the_metric_is_the_inverse_of_the_errors_and_their_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    copies = torch.randn(3, 4, 30, generator=generator, dtype=torch.float64)
    left, right = torch.randn(2, 5, 30, generator=generator, dtype=torch.float64)
    metric = ErrorMetric.of(copies)
    errors = (copies - copies.mean(0)).flatten(0, 1)
    spread = errors.T @ errors / len(errors)
    spread += metric.scale * torch.eye(30)
    gaps = left[:, None] - right[None]
    wanted = torch.einsum("ncd,de,nce->nc", gaps, spread.inverse(), gaps)
    torch.testing.assert_close(metric(right, left), wanted, rtol=1e-6, atol=1e-6)


def test_what_copies_disagree_on_hardly_counts() -> None:
    axis = torch.eye(8, dtype=torch.float64)
    metric = ErrorMetric.of(torch.stack([axis[:1], -axis[:1], 0 * axis[:1]]))
    apart = metric(axis[:2], torch.zeros(1, 8, dtype=torch.float64))[0]
    assert apart[0] < 1e-2 * apart[1]


def test_directions_forget_length_and_biases() -> None:
    gradients = {"weight": torch.randn(3, 4, 5), "bias": torch.randn(3, 4)}
    scaled = {
        name: value * torch.tensor([1.0, 10.0, 1e-3]).view(3, *[1] * (value.dim() - 1))
        for name, value in gradients.items()
    }
    assert directions(gradients).shape == (3, 20)
    torch.testing.assert_close(directions(scaled), directions(gradients))
