"""Soteria prunes the features that its paper names, and an adaptive attacker sees which."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import Clients, Gradients, HookContext, IncompatibleError
from bench.plugins import build_defense
from bench.victims.clients import clients_of

PIXELS, FEATURES, CLASSES = 16, 10, 3
NAME = "2.weight"


def network() -> nn.Sequential:
    """A linear map, whose Jacobian is its weight, an activation, and the defended layer."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, FEATURES, bias=False), nn.Linear(FEATURES, CLASSES))
    generator = torch.Generator().manual_seed(0)
    for value in made.parameters():
        nn.init.normal_(value, generator=generator)
    return made


def clients(batch: int, count: int = 3, model: nn.Module | None = None) -> Clients:
    """Clients with random images of 4 x 4 pixels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, batch, 1, 4, 4, generator=generator)
    labels = torch.randint(CLASSES, (count, batch), generator=generator)
    made = model or network()
    weights = {name: value.detach() for name, value in made.named_parameters()}
    return clients_of(made, weights, images, labels, num_classes=CLASSES)


def sent(own: Clients, **parameters: float) -> tuple[Gradients, Gradients]:
    """What leaves, and what would without the defense."""
    plain = own.gradients(own.images, own.labels)
    context = HookContext(generator=torch.Generator(), batch_size=own.labels.shape[1], clients=own)
    return build_defense("soteria", dict(parameters)).gradients(plain, context), plain


def expected(own: Clients, ratio: float) -> Tensor:
    """The features that are kept, ``[N, F]``: by a sort of sum_b ||W_i|| / (|W_i x_b| + .1), the largest."""
    weight = own.weights["1.weight"]
    ratios = weight.norm(dim=1) / ((own.images.flatten(2) @ weight.T).abs() + 0.1)
    kept = FEATURES - round(ratio * FEATURES)
    best = ratios.sum(1).sort(dim=1, descending=True).indices[:, :kept]
    return torch.zeros(len(best), FEATURES).scatter(1, best, 1.0)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
def test_the_columns_of_least_change_for_their_size_are_zero_and_nothing_else(
    ratio: float, batch: int
) -> None:
    own = clients(batch)
    left, plain = sent(own, ratio=ratio, directions=0)
    assert torch.equal(left[NAME], plain[NAME] * expected(own, ratio)[:, None])
    assert all(torch.equal(left[name], plain[name]) for name in plain if name != NAME)


def test_the_layer_is_counted_from_the_last() -> None:
    own = clients(1)
    left, plain = sent(own, layer=2, ratio=0.5, directions=0)
    assert torch.equal(left[NAME], plain[NAME])
    assert (left["1.weight"] == 0).all(1).sum(1).tolist() == [PIXELS // 2] * 3
    with pytest.raises(IncompatibleError, match="no 3 fully connected"):
        sent(own, layer=3)


def test_directions_measure_the_norm_of_the_jacobian() -> None:
    defense = build_defense("soteria", {"directions": 7})
    own = clients(1)
    rows = defense._directions(own.images).flatten(1)  # type: ignore[attr-defined]
    assert torch.allclose(rows @ rows.T, torch.eye(7) * PIXELS / 7, atol=1e-5)
    exact, rough = (
        build_defense("soteria", {"directions": number})._informative(own, NAME)  # type: ignore[attr-defined]
        for number in (0, 12)
    )
    assert 0.8 < (rough / exact).square().mean() < 1.2 and not torch.allclose(rough, exact, rtol=0.01)


def test_a_client_sends_the_same_in_another_crowd() -> None:
    own = clients(2)
    left, _ = sent(own)
    order = torch.tensor([2, 0])
    other, _ = sent(replace(own, images=own.images[order], labels=own.labels[order]))
    assert all(torch.allclose(other[name], value[order], atol=1e-6) for name, value in left.items())


def test_batch_norm_of_the_clients_own_batch() -> None:
    made = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(8, CLASSES)
    )
    left, plain = sent(clients(3, model=made), ratio=0.5)
    assert (left["3.weight"] == 0).all(1).sum(1).tolist() == [4, 4, 4]
    assert torch.equal(left["0.weight"], plain["0.weight"])


def test_the_view_shows_which_columns_were_sent() -> None:
    own = clients(1)
    left, _ = sent(own, ratio=0.3, directions=0)
    left = {**left, "1.weight": left["1.weight"] * 0}
    view = build_defense("soteria", {"ratio": 0.3, "directions": 0}).view()
    assert view is not None and view.transmitted is not None
    mask = view.transmitted(left)
    assert torch.equal(mask[NAME].float(), expected(own, 0.3)[:, None].expand_as(mask[NAME]))
    assert all(value.all() for name, value in mask.items() if name != NAME)
