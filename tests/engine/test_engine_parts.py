"""The small parts of a composition: matching losses, priors, unknowns and their random starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, DefenseView, Gradients
from bench.engine import (
    Cosine,
    Euclidean,
    Pixels,
    PixelsAndLabels,
    TensorCosine,
    adaptive_loss,
    in_nats,
    matching,
    smoothness,
    total_variation,
)
from bench.engine.matching import Matching, Transmitted
from bench.engine.parametrise import starts
from bench.engine.priors import colour_variation, opponents
from tests.engine.observations import batches, observation


def gradients(seed: int, rows: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(rows, 4, 2, 3, generator=generator, dtype=torch.float64),
        "bias": torch.randn(rows, 4, generator=generator, dtype=torch.float64),
    }


def joined(parts: Gradients) -> Tensor:
    return torch.cat([value.flatten(1) for value in parts.values()], dim=1)


def evens(observed: Gradients) -> Gradients:
    """Every second entry."""
    return {k: (torch.arange(v.numel()) % 2 == 0).view(v.shape) for k, v in observed.items()}


@pytest.fixture(params=["short", "long"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small gradients as they are, and in the way of those of large networks: layer by layer, in blocks."""
    if request.param == "long":
        monkeypatch.setattr(matching, "LONG", 3)
        monkeypatch.setattr(matching, "_BLOCK", 5)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("transmitted", [None, evens])
def test_euclidean_is_the_relative_squared_distance(transmitted: Transmitted | None) -> None:
    candidate, observed = gradients(0), gradients(1)
    left, right = joined(candidate), joined(observed)
    if transmitted:
        mask = joined(transmitted(observed)).bool()
        left, right = left.where(mask, 0), right.where(mask, 0)
    want = torch.stack([(a - b).norm() ** 2 / b.norm() ** 2 for a, b in zip(left, right, strict=True)])
    torch.testing.assert_close(Euclidean(transmitted)(candidate, observed), want)


def test_euclidean_is_zero_at_the_truth_and_one_at_nothing() -> None:
    observed = gradients(1)
    nothing = {k: torch.zeros_like(v) for k, v in observed.items()}
    assert torch.equal(Euclidean()(observed, observed), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(Euclidean()(nothing, observed), torch.ones(3, dtype=torch.float64))
    assert Euclidean()(nothing, nothing).isfinite().all()


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("transmitted", [None, evens])
def test_cosine_is_that_of_all_layers_together(transmitted: Transmitted | None) -> None:
    candidate, observed = gradients(0), gradients(1)
    left, right = joined(candidate), joined(observed)
    if transmitted:
        mask = joined(transmitted(observed)).bool()
        left, right = left.where(mask, 0), right.where(mask, 0)
    want = 1 - torch.nn.functional.cosine_similarity(left, right)
    torch.testing.assert_close(Cosine(transmitted)(candidate, observed), want)


@pytest.mark.usefixtures("rows")
def test_the_gradient_of_the_cosine_is_that_of_its_textbook_form() -> None:
    candidate, observed = ({k: v.requires_grad_() for k, v in gradients(0).items()}, gradients(1))
    want = 1 - torch.nn.functional.cosine_similarity(joined(candidate), joined(observed))
    way = torch.linspace(1, 2, 3, dtype=torch.float64)
    found = Cosine()(candidate, observed)
    each = [torch.autograd.grad((loss * way).sum(), [*candidate.values()]) for loss in (want, found)]
    for first, second in zip(*each, strict=True):
        torch.testing.assert_close(second, first)


@pytest.mark.usefixtures("rows")
def test_cosine_looks_at_the_direction_only() -> None:
    candidate, observed = gradients(0), gradients(1)
    longer = {k: 7 * v for k, v in candidate.items()}
    torch.testing.assert_close(Cosine()(longer, observed), Cosine()(candidate, observed))
    torch.testing.assert_close(Cosine()(observed, observed), torch.zeros(3, dtype=torch.float64))
    nothing = {k: torch.zeros_like(v) for k, v in observed.items()}
    assert Cosine()(nothing, observed).isfinite().all()


@pytest.mark.parametrize("transmitted", [None, evens])
def test_the_gradient_of_the_cosine_is_that_of_autograd(transmitted: Transmitted | None) -> None:
    matching = Cosine(transmitted)
    for seed in (1, 2):  # the second release must not be taken for the first
        candidate, observed = gradients(0), gradients(seed)
        leaves = [value.requires_grad_() for value in candidate.values()]
        mask = joined(transmitted(observed)).double() if transmitted else 1.0
        alike = torch.nn.functional.cosine_similarity(joined(candidate) * mask, joined(observed) * mask)
        weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        want = torch.autograd.grad((weights * (1 - alike)).sum(), leaves)
        found = torch.autograd.grad((weights * matching(candidate, observed)).sum(), leaves)
        for one, other in zip(found, want, strict=True):
            torch.testing.assert_close(one, other)


def test_the_gradient_of_the_cosine_at_nothing_is_finite() -> None:
    observed = gradients(1)
    nothing = {k: torch.zeros_like(v).requires_grad_() for k, v in observed.items()}
    loss = Cosine()(nothing, observed)
    torch.testing.assert_close(loss, torch.ones(3, dtype=torch.float64))
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss.sum(), list(nothing.values())))


@pytest.mark.parametrize("transmitted", [None, evens])
def test_tensors_count_the_same_and_their_gradients_are_those_of_autograd(
    transmitted: Transmitted | None,
) -> None:
    matching = TensorCosine(transmitted)
    for seed in (1, 2):  # the second release must not be taken for the first
        candidate, observed = gradients(0), gradients(seed)
        observed["big"], candidate["big"] = 1e6 * gradients(3)["weight"], gradients(4)["weight"].clone()
        leaves = [value.requires_grad_() for value in candidate.values()]
        mask = {k: v.double() for k, v in transmitted(observed).items()} if transmitted else None
        alike = [
            torch.nn.functional.cosine_similarity(
                (value * mask[name] if mask else value).flatten(1),
                (observed[name] * mask[name] if mask else observed[name]).flatten(1),
            )
            for name, value in candidate.items()
        ]
        expected = 1 - torch.stack(alike).mean(0)
        torch.testing.assert_close(matching(candidate, observed), expected)
        weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        want = torch.autograd.grad((weights * expected).sum(), leaves)
        found = torch.autograd.grad((weights * matching(candidate, observed)).sum(), leaves)
        for one, other in zip(found, want, strict=True):
            torch.testing.assert_close(one, other)


def test_a_tensor_of_which_nothing_was_observed_does_not_count() -> None:
    candidate, observed = gradients(0), gradients(1)
    name = next(iter(observed))
    observed[name][1] = 0.0  # of one victim only
    loss = TensorCosine()(candidate, observed)
    others = {k: v for k, v in observed.items() if k != name}
    without = TensorCosine()({k: candidate[k] for k in others}, others)
    torch.testing.assert_close(loss[1], without[1])
    assert not torch.isclose(loss[0], without[0])
    nothing = {k: torch.zeros_like(v) for k, v in observed.items()}
    torch.testing.assert_close(TensorCosine()(candidate, nothing), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(TensorCosine()(nothing, observed), torch.ones(3, dtype=torch.float64))


def test_tiny_gradients_keep_their_direction_in_single_precision() -> None:
    observed = {k: 1e-15 * v.float() for k, v in gradients(1).items()}
    torch.testing.assert_close(TensorCosine()(observed, observed), torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("matching", [Euclidean(evens), Cosine(evens), TensorCosine(evens)])
def test_what_was_not_transmitted_does_not_count(matching: Matching) -> None:
    candidate, observed = gradients(0), gradients(1)
    other = gradients(2)
    mask = evens(candidate)
    changed = {k: torch.where(mask[k].bool(), v, other[k]) for k, v in candidate.items()}
    torch.testing.assert_close(matching(changed, observed), matching(candidate, observed))


def test_total_variation_by_hand() -> None:
    """|dx|: 1, 0, 1 and 0, 0, 1 over two rows of four; |dy|: 0, 1, 1, 1 between them."""
    image = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]).view(1, 1, 1, 2, 4)
    assert total_variation(image).tolist() == pytest.approx([3 / 6 + 3 / 4])
    assert total_variation(torch.full((2, 3, 1, 4, 4), 0.3)).tolist() == [0.0, 0.0]


def test_colours_that_change_together_vary_less() -> None:
    """Grey values in three channels cost what they cost in one; the same steps in other places cost more."""
    grey = torch.rand(2, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shown = grey.expand(2, 1, 3, 8, 8)
    assert torch.equal(opponents(grey), grey) and opponents(shown)[:, :, 3:].abs().max() == 0
    torch.testing.assert_close(colour_variation(shown), total_variation(grey))
    torch.testing.assert_close(colour_variation(grey), total_variation(grey))
    mixed = torch.stack([grey[:, :, 0], grey[:, :, 0].flip(-1), grey[:, :, 0].flip(-2)], dim=2)
    pairs = [mixed[:, :, [i]] - mixed[:, :, [(i + 1) % 3]] for i in range(3)]
    want = total_variation(mixed) + torch.stack([total_variation(pair) for pair in pairs]).mean(0)
    torch.testing.assert_close(colour_variation(mixed), want)
    assert (want > 1.5 * colour_variation(shown)).all()


def test_total_variation_is_the_mean_over_a_victims_images() -> None:
    images = torch.rand(2, 3, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    each = total_variation(images.view(6, 1, 1, 5, 5)).view(2, 3)
    torch.testing.assert_close(total_variation(images), each.mean(1))


def test_the_adaptive_loss_uses_all_that_is_known_of_the_defense() -> None:
    seen = observation("lenet", *batches(1, 1))

    def likelihood(candidate: Gradients, observed: Gradients) -> Tensor:
        return torch.zeros(1)

    assert adaptive_loss(seen, Euclidean) == Euclidean(None) and not in_nats(seen)
    assert smoothness(seen, tv=2.0, tv_nats=3.0) == ()
    some, nats = ((2.0, total_variation),), ((3.0, total_variation),)
    cases: list[tuple[DefenseView, Matching, object]] = [
        (DefenseView(), Euclidean(None), ()),
        (DefenseView(transmitted=evens), Euclidean(evens), some),
        (DefenseView(negative_log_likelihood=likelihood), likelihood, nats),
        (DefenseView(negative_log_likelihood=likelihood, transmitted=evens), likelihood, nats),
    ]
    adaptive = replace(seen.threat, adversary=Adversary.ADAPTIVE)
    for view, want, prior in cases:
        known = replace(seen, threat=adaptive, defense=view)
        assert adaptive_loss(known, Euclidean) == want and in_nats(known) == (prior == nats)
        assert smoothness(known, tv=2.0, tv_nats=3.0) == prior


def test_what_clients_do_to_a_gradient_is_done_to_the_candidate_first() -> None:
    seen = observation("lenet", *batches(2, 1))

    def doubled(candidate: Gradients, observed: Gradients) -> Gradients:
        return {name: 2 * value for name, value in candidate.items()}

    adaptive = replace(seen.threat, adversary=Adversary.ADAPTIVE)
    known = replace(seen, threat=adaptive, defense=DefenseView(transmit=doubled))
    half = {name: value / 2 for name, value in seen.gradients.items()}
    assert torch.all(adaptive_loss(known, Euclidean)(half, seen.gradients) < 1e-12)
    assert torch.all(adaptive_loss(seen, Euclidean)(half, seen.gradients) > 0.2)


def test_unknowns_decode_to_images_and_probabilities() -> None:
    images, labels = batches(3, 4)
    seen = observation("lenet", images, labels)
    both = PixelsAndLabels.of(seen)
    logits = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0))
    point = torch.cat([images.flatten(1), logits.flatten(1)], dim=1)
    assert point.shape == (3, both.size)
    decoded, targets = both.decode(point)
    assert torch.equal(decoded, images)
    torch.testing.assert_close(targets, logits.softmax(-1))

    pixels = Pixels.of(seen, labels)
    assert pixels.size == 4 * 1024
    decoded, targets = pixels.decode(images.flatten(1))
    assert torch.equal(decoded, images)
    assert torch.equal(targets.argmax(-1), labels) and torch.equal(targets.sum(-1), torch.ones(3, 4))
    rows = torch.tensor([2, 0])
    assert torch.equal(pixels.select(rows).targets, targets[rows])


def test_starts_belong_to_the_victim_and_the_seed() -> None:
    like = torch.zeros(1)
    all_of_them = starts(torch.arange(20), 50, seed=3, like=like)
    assert torch.equal(starts(torch.tensor([7, 2]), 50, seed=3, like=like), all_of_them[[7, 2]])
    assert len(torch.cat([all_of_them, starts(torch.arange(20), 50, seed=4, like=like)]).unique(dim=0)) == 40
    many = starts(torch.arange(200), 500, seed=0, like=like)
    assert abs(many.mean().item()) < 0.02 and abs(many.std().item() - 1) < 0.02
