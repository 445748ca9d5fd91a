"""Learning to Invert: pairs under the same defense, what the network sees of them, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import (
    Adversary,
    Defense,
    DefenseView,
    GradientObservation,
    Gradients,
    HookContext,
    ImageSet,
    IncompatibleError,
)
from bench.api.threat import LocalTraining
from bench.attacks.lti.features import Features
from bench.attacks.lti.network import nearest_order
from bench.attacks.lti.pairs import Imitated
from bench.engine.matching import flat
from bench.metrics import psnr
from bench.plugins import build_attack, build_defense
from tests.engine.observations import batches, digits, drawn, observation, plain_gradients, weights

SHORT = {"steps": 200, "width": 128, "components": 128, "pairs": 300}


class Sign(Defense):
    """Each client sends the signs of its gradient, as long as the tensor's mean magnitude."""

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        def sent(value: Tensor) -> Tensor:
            size = value.abs().flatten(1).mean(1)
            return value.sign() * size.view(-1, *[1] * (value.dim() - 1))

        return {name: sent(value) for name, value in gradients.items()}

    def view(self) -> DefenseView:
        return DefenseView()


class Counting(Defense):
    """Sends the gradients of the clients' first images alone, by the clients' own means."""

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        assert context.clients is not None
        return {name: value[:, 0] for name, value in context.clients.of_examples().items()}

    def view(self) -> DefenseView:
        return DefenseView()


def owned(count: int = 300) -> ImageSet:
    auxiliary = digits().auxiliary
    return ImageSet(auxiliary.images[:count], auxiliary.labels[:count])


def seen_by(
    guard: Defense | None, images: Tensor, labels: Tensor, *, dtype: torch.dtype = torch.float32
) -> GradientObservation:
    """Releases of a sigmoid LeNet at round 0 through a defense that the attacker knows; None: naive."""
    seen = observation("lenet", images, labels, auxiliary=owned(), dtype=dtype)
    if guard is None:
        return seen
    context = HookContext(generator=torch.Generator().manual_seed(5), batch_size=images.shape[1])
    return replace(
        seen,
        gradients=guard.gradients(seen.gradients, context),
        threat=replace(seen.threat, adversary=Adversary.ADAPTIVE),
        defense=guard.known(),
    )


def level(seen: GradientObservation, images: Tensor) -> float:
    found = build_attack("lti", SHORT).reconstruct(seen, budget=1000, seed=0)
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


def made(seen: GradientObservation, index: Tensor, *, draws: int = 3) -> Tensor:
    assert seen.auxiliary is not None
    clients = Imitated(seen, seen.auxiliary, torch.Generator().manual_seed(0), draws)
    return torch.cat(list(clients.releases(index, seed=0)), dim=1)


def test_learning_under_the_defense_beats_the_mean_image_and_the_naive_attacker() -> None:
    images, labels = batches(8, 1)
    seen = seen_by(Sign(), images, labels)
    mean = owned().images.mean(0).expand(8, -1, -1, -1)
    adaptive, naive = level(seen, images), level(replace(seen, defense=None), images)
    floor = psnr(images.flatten(0, 1), mean).mean().item()
    print(f"signs: adaptive {adaptive:.1f} dB, naive {naive:.1f}, mean image {floor:.1f}")
    assert adaptive > floor + 1.5 and adaptive > naive + 1


def test_pairs_are_what_clients_send() -> None:
    images, labels = batches(2, 1)
    seen, index = seen_by(None, images, labels), torch.tensor([[3, 1], [0, 2]])
    model, start = drawn("lenet", 0), weights("lenet", 0)
    rows = made(seen, index)
    assert rows.shape[:2] == (1, 2)
    for row, batch in zip(rows[0], index, strict=True):
        truth = plain_gradients(model, start, owned().images[batch], owned().labels[batch])
        torch.testing.assert_close(
            row[None], flat({k: v[None] for k, v in truth.items()}), rtol=1e-3, atol=1e-6
        )


def test_pairs_take_the_local_steps_that_clients_take() -> None:
    seen = seen_by(None, *batches(2, 1), dtype=torch.float64)
    local = LocalTraining(epochs=2, learning_rate=0.5)
    seen = replace(seen, threat=replace(seen.threat, local=local))
    model, start = drawn("lenet", 0).double(), {k: v.double() for k, v in weights("lenet", 0).items()}
    image, label = owned().images[4:5].double(), owned().labels[4:5]
    first = plain_gradients(model, start, image, label)
    there = {name: value - 0.5 * first[name] for name, value in start.items()}
    second = plain_gradients(model, there, image, label)
    mean = {name: (first[name] + second[name])[None] / 2 for name in first}
    torch.testing.assert_close(made(seen, torch.tensor([[4]]))[0], flat(mean))


def test_pairs_have_the_loss_that_the_observation_names() -> None:
    seen = seen_by(None, *batches(2, 1), dtype=torch.float64)

    def loss(weights: Gradients, still: Gradients, images: Tensor, targets: Tensor) -> Tensor:
        return weights["classifier.bias"][targets.argmax(-1)].sum() * images.sum()

    named = replace(seen, loss=loss, gradients={"classifier.bias": seen.gradients["classifier.bias"]})
    rows = made(named, torch.tensor([[4]]))
    image, label = owned().images[4].double(), owned().labels[4]
    torch.testing.assert_close(rows[0, 0], torch.eye(10, dtype=torch.float64)[label] * image.sum())


def test_what_a_defense_draws_is_drawn_anew_and_what_it_does_not_draw_is_made_once() -> None:
    images, labels = batches(2, 1)
    index = torch.arange(20).view(20, 1)
    sigma, clean = 0.1, made(seen_by(None, images, labels), index)
    noisy = made(seen_by(build_defense("noise", {"sigma": sigma}), images, labels), index)
    assert noisy.shape == (3, *clean.shape[1:])
    errors = noisy - clean
    assert errors.std().item() == pytest.approx(sigma, rel=0.02)
    pairs = [(errors[i] * errors[j]).mean().abs().item() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert max(pairs) < 0.02 * sigma**2
    assert len(made(seen_by(build_defense("pruning", {"ratio": 0.99}), images, labels), index)) == 1


def test_pairs_are_of_clients_that_remember_nothing() -> None:
    """Not even the pairs of another part, or another draw."""
    seen = seen_by(build_defense("topk", {"share": 0.02}), *batches(2, 1))
    rows, alone = made(seen, torch.arange(70).view(70, 1)), made(seen, torch.tensor([[69]]))
    assert rows.shape[:2] == (1, 70)
    torch.testing.assert_close(rows[:, -1:], alone, rtol=1e-3, atol=1e-6)


def test_defenses_have_their_clients_at_hand() -> None:
    seen, index = seen_by(None, *batches(2, 1)), torch.tensor([[3, 1], [0, 2]])
    first = made(replace(seen, defense=Counting().known()), index)
    torch.testing.assert_close(first, made(seen, index[:, :1]), rtol=1e-3, atol=1e-6)


def learned() -> tuple[Features, Tensor, Tensor]:
    rows = torch.randn(1, 40, 300, generator=torch.Generator().manual_seed(0))
    return *Features.of(rows.split(15, dim=1), entries=200, components=30), rows[0]


def test_the_length_of_a_release_does_not_count_and_useless_ones_are_finite() -> None:
    features, scores, rows = learned()
    torch.testing.assert_close(features(rows), scores[0])
    torch.testing.assert_close(features(1e-6 * rows), scores[0])
    for value in (0.0, torch.nan, torch.inf):
        assert features(torch.full((2, 300), value)).isfinite().all()


def test_components_are_orthogonal_and_fall() -> None:
    features, scores, _ = learned()
    gram = features.basis.T @ features.basis
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-3 * gram.max().item())
    spread = scores[0].square().mean(0)
    assert (spread[:-1] >= spread[1:] * 0.999).all()


def test_outputs_stand_for_the_images_that_they_are_nearest_to() -> None:
    truth = torch.rand(5, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    order = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(i)) for i in range(5)])
    found = torch.stack([one[row] for one, row in zip(truth, order, strict=True)])
    assert torch.equal(nearest_order(found + 0.01, truth), order)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_victims_of_another_order_or_alone_are_found_alike(batch_size: int) -> None:
    attack = build_attack("lti", {**SHORT, "steps": 5})
    seen = seen_by(build_defense("noise", {}), *batches(3, batch_size), dtype=torch.float64)
    whole = attack.reconstruct(seen, budget=20, seed=0)
    order = torch.tensor([2, 0, 1])
    turned = attack.reconstruct(seen.select(order), budget=20, seed=0)
    alone = attack.reconstruct(seen.select(order[:1]), budget=20, seed=0)
    torch.testing.assert_close(turned.images, whole.images[order])
    torch.testing.assert_close(alone.images, whole.images[2:])
    assert (
        (whole.evaluations == 20).all() and whole.labels is not None and whole.labels.shape == (3, batch_size)
    )


def test_each_network_has_an_inverse_of_its_own() -> None:
    attack = build_attack("lti", {**SHORT, "steps": 5})
    images, labels = batches(2, 1)
    both = attack.reconstruct(
        observation("lenet", images, labels, seeds=[0, 1], auxiliary=owned()), budget=20, seed=0
    )
    for victim in range(2):
        single = observation(
            "lenet", images[victim, None], labels[victim, None], seeds=victim, auxiliary=owned()
        )
        torch.testing.assert_close(
            both.images[victim, None], attack.reconstruct(single, budget=20, seed=0).images
        )


def test_it_needs_images_to_learn_from() -> None:
    with pytest.raises(IncompatibleError, match="auxiliary images"):
        build_attack("lti", {}).reconstruct(observation("lenet", *batches(1, 1)), budget=5, seed=0)
