"""FORA: what tells two samples of activations apart, whose activations it learns from, what it reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, Defense, DefenseView, IncompatibleError, Received, SmashedObservation
from bench.attacks.fora.critic import Critic
from bench.attacks.fora.discrepancy import discrepancy
from bench.attacks.fora.substitute import Substitute, known
from bench.check.materials import split_material
from bench.plugins import build_attack, build_defense
from bench.victims.releases import Release

SHALLOW = "cnn_pooled[cut=1]"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def seen_by(
    name: str = "fora",
    *,
    model: str = split_material.MODEL,
    batch_size: int = 1,
    defense: str = "",
    adversary: Adversary = Adversary.NAIVE,
) -> tuple[SmashedObservation, Release]:
    hooks = build_defense(defense, {}) if defense else Defense()
    place = split_material.source(hooks, batch_size=batch_size, model=model)
    sent = split_material.released(place)
    return split_material.observation(name, place, sent, adversary=adversary), sent


def images_of(seen: SmashedObservation, *, budget: int = 8, seed: int = 0, **parameters: object) -> Tensor:
    found = build_attack("fora", parameters).reconstruct(seen, budget=budget, seed=seed)
    assert (found.evaluations == budget).all()
    return found.images


# --------------------------------------------------------------------------- two samples


def test_the_discrepancy_is_that_of_its_definition() -> None:
    left, right = torch.randn(5, 2, 3, generator=generator()), torch.rand(4, 2, 3, generator=generator())
    rows = torch.cat([left, right]).flatten(1).double()
    apart = torch.cdist(rows, rows).square()
    mean = apart.sum() / (9 * 8)
    kernel = sum(torch.exp(-apart / (2 * scale * mean)) for scale in (1 / 8, 1 / 4, 1 / 2, 1, 2)) / 5

    def mean_of(rows: range, columns: range) -> float:
        pairs = [kernel[i, j].item() for i in rows for j in columns if i != j]
        return sum(pairs) / len(pairs)

    first, second = range(5), range(5, 9)
    wanted = mean_of(first, first) + mean_of(second, second) - 2 * mean_of(first, second)
    assert discrepancy(left, right).item() == pytest.approx(wanted, abs=1e-5)


def test_equal_distributions_differ_by_nothing_on_average() -> None:
    chance = generator()
    alike = [
        discrepancy(*(torch.randn(16, 8, generator=chance) for _ in range(2))).item() for _ in range(200)
    ]
    error = torch.tensor(alike).std().item() / len(alike) ** 0.5
    assert abs(sum(alike) / len(alike)) < 4 * error < 0.02
    assert discrepancy(torch.randn(16, 8, generator=chance), torch.randn(16, 8, generator=chance) + 1) > 0.1


def test_the_penalty_is_that_of_the_slope() -> None:
    critic = Critic((3,), width=2)
    line = torch.nn.Linear(3, 1)
    critic.layers = torch.nn.Sequential(torch.nn.Flatten(), line)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[2.0, 2.0, 1.0]]))
    real, made, share = torch.rand(5, 3), torch.rand(5, 3), torch.rand(5)
    assert critic.penalty(real, made, share).item() == pytest.approx(4, rel=1e-5)


# --------------------------------------------------------------------------- whom it learns from


def test_a_passive_server_is_shown_other_batches_through_the_defense_and_no_labels_unasked() -> None:
    seen, sent = seen_by(batch_size=2)
    assert seen.received is not None and seen.received.labels is None
    others = seen.received.activations
    assert others.shape[1:] == seen.activations.shape[2:] and len(others) % 2 == 0
    hooks = build_defense("activation_noise", {})
    place = replace(split_material.source(Defense(), batch_size=2), defense=hooks)
    noisy = split_material.observation("fora", place, sent)
    assert noisy.received is not None
    spread = (noisy.received.activations - others).std().item()
    assert spread == pytest.approx(0.25, rel=0.05)


def test_the_attacked_batches_are_not_among_the_others() -> None:
    from bench.victims.releases import batches
    from bench.victims.split_releases import received_activations

    place = split_material.source(Defense(), releases=3, batch_size=2)
    received = received_activations(place)
    assert received is not None and len(received.activations) == 1000
    sent = split_material.released(place).sent["activations"].flatten(0, 1).flatten(1)
    assert torch.cdist(sent, received.activations.flatten(1)).min() > 0
    _, labels, _ = batches(replace(place, releases=4))
    assert received.labels is not None and torch.equal(received.labels[:2], labels[3])
    few = replace(place, private=type(place.private)(place.private.images[:7], place.private.labels[:7]))
    assert received_activations(few) is None


def test_a_result_depends_on_what_was_received_and_on_no_neighbour() -> None:
    seen, _ = seen_by()
    together = images_of(seen)
    order = torch.tensor([2, 0])
    assert torch.allclose(images_of(seen.select(order)), together[order], atol=1e-5)
    assert seen.received is not None
    less = Received(activations=seen.received.activations[:20] * 0.5)
    assert not torch.allclose(images_of(replace(seen, received=less)), together, atol=1e-3)


def test_where_nothing_else_is_known_it_learns_from_sound_releases() -> None:
    seen, _ = seen_by(batch_size=2)
    activations = seen.activations.clone()
    activations[1] = torch.nan
    alone = replace(seen, received=None, activations=activations)
    assert len(known(alone).activations) == 4
    assert images_of(alone)[[0, 2]].isfinite().all()


# --------------------------------------------------------------------------- the substitute


@pytest.mark.parametrize("made", [(7,), (4, 9, 5), (6, 1, 1), (3, 32, 32)])
def test_a_substitute_of_its_own_makes_activations_of_any_shape(made: tuple[int, ...]) -> None:
    seen, _ = seen_by()
    shaped = replace(seen, activations=torch.rand(3, 1, *made, generator=generator()), received=None)
    index = torch.arange(2)
    own = Substitute.drawn(shaped, seed=0, own=True).activations(index)
    assert own.shape == (2, *made) and (own >= 0).all()
    signed = Substitute.drawn(replace(shaped, activations=shaped.activations - 0.5), seed=0, own=True)
    assert (signed.activations(index) < 0).any()
    if len(made) == 3:
        assert images_of(shaped, substitute="own").shape == (3, 1, *seen.image_shape)


def test_a_substitute_behind_the_defense_draws_its_noise() -> None:
    seen, _ = seen_by()

    def noise(activations: Tensor, chance: torch.Generator) -> Tensor:
        return activations + torch.randn(activations.shape, generator=chance)

    index = torch.arange(40)
    plain = Substitute.drawn(seen, seed=0).activations(index)
    noisy = Substitute.drawn(replace(seen, defense=DefenseView(release=noise)), seed=0).activations(index)
    assert (noisy - plain).std().item() == pytest.approx(1, rel=0.05)


def test_auxiliary_images_are_needed() -> None:
    seen, _ = seen_by()
    with pytest.raises(IncompatibleError, match="auxiliary"):
        images_of(replace(seen, auxiliary=None))
