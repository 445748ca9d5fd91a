"""CENSOR sends what its paper says, and what its released code does where that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import Clients, Gradients, HookContext
from bench.api.gradients import rows_of_each
from bench.plugins import build_defense
from bench.victims.clients import clients_of

COUNT, CLASSES = 4, 3


def clients(scale: float = 1.0) -> Clients:
    """Clients of a small network, whose loss is steeper the larger its weights."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, CLASSES), nn.Identity())
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: scale * torch.randn(value.shape, generator=generator) for name, value in made.named_parameters()
    }
    images = torch.rand(COUNT, 2, 1, 4, 4, generator=generator)
    labels = torch.randint(CLASSES, (COUNT, 2), generator=generator)
    return clients_of(made, weights, images, labels, num_classes=CLASSES)


def sent(own: Clients, *, seed: int = 0, **parameters: float | str) -> tuple[Gradients, Gradients]:
    """What leaves, and what would without the defense."""
    plain = own.gradients(own.images, own.labels)
    context = HookContext(generator=torch.Generator().manual_seed(seed), batch_size=2, clients=own)
    return build_defense("censor", dict(parameters)).gradients(plain, context), plain


def cosines(left: Tensor, right: Tensor) -> Tensor:
    return torch.cosine_similarity(rows_of_each(left), rows_of_each(right))


def losses(own: Clients, step: Gradients, rate: float) -> list[float]:
    """Of every client after its step, one after the other."""
    found = []
    for client in range(COUNT):
        moved = {name: value - rate * step[name][client] for name, value in own.weights.items()}
        scores = torch.func.functional_call(own.model, moved, (own.images[client],))
        found.append(nn.functional.cross_entropy(scores, own.labels[client]).item())
    return found


def test_every_tensor_is_orthogonal_to_the_gradients_and_as_long() -> None:
    left, plain = sent(clients())
    for name, value in plain.items():
        assert cosines(left[name], value).abs().max() < 1e-5
        torch.testing.assert_close(rows_of_each(left[name]).norm(dim=1), rows_of_each(value).norm(dim=1))


def test_a_tensor_of_one_number_has_no_orthogonal_direction() -> None:
    defense = build_defense("censor", {})
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=1)
    left = defense._orthogonal({"w": torch.ones(3, 1), "s": torch.ones(3)}, context)  # type: ignore[attr-defined]
    assert not left["w"].any() and not left["s"].any()


def test_of_all_draws_each_client_sends_the_one_of_least_loss() -> None:
    own, rate = clients(), 0.1
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=2)
    defense = build_defense("censor", {})
    plain = own.gradients(own.images, own.labels)
    drawn = [defense._orthogonal(plain, context) for _ in range(6)]  # type: ignore[attr-defined]
    best = torch.tensor([losses(own, one, rate) for one in drawn]).argmin(0)
    assert len(set(best.tolist())) > 1
    left, _ = sent(own, draws=6, rate=rate)
    for client, number in enumerate(best.tolist()):
        assert all(torch.equal(left[name][client], drawn[number][name][client]) for name in plain)


def test_as_released_the_angle_depends_on_the_norm() -> None:
    """O = xi - (xi . g) g / |g| is orthogonal to g where |g| = 1 alone; long gradients leave as they are."""
    defense = build_defense("censor", {"divisor": "norm"})
    direction = torch.nn.functional.normalize(torch.randn(1, 50, generator=torch.Generator().manual_seed(0)))
    context = HookContext(generator=torch.Generator().manual_seed(1), batch_size=1)
    found = {
        size: cosines(defense._orthogonal({"w": size * direction}, context)["w"], direction).abs().item()  # type: ignore[attr-defined]
        for size in (1.0, 1e4)
    }
    assert found[1.0] < 1e-5 and found[1e4] > 0.99


def test_as_released_the_raw_gradient_leaves_where_no_draw_lowers_the_loss() -> None:
    own, rate = clients(), 0.3
    left, plain = sent(own, draws=1, rate=rate, otherwise="raw")
    drawn, _ = sent(own, draws=1, rate=rate)
    still = losses(own, {name: torch.zeros_like(value) for name, value in plain.items()}, rate)
    lower = [after < before for after, before in zip(losses(own, drawn, rate), still, strict=True)]
    assert set(lower) == {False, True}
    for client, better in enumerate(lower):
        shown = drawn if better else plain
        assert all(torch.equal(left[name][client], shown[name][client]) for name in plain)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_view_is_least_for_the_gradient_itself(scale: float) -> None:
    left, plain = sent(clients())
    left, plain = ({name: scale * value for name, value in each.items()} for each in (left, plain))
    view = build_defense("censor", {}).view()
    assert view is not None and view.negative_log_likelihood is not None
    leaf = {name: value.clone().requires_grad_() for name, value in plain.items()}
    own = view.negative_log_likelihood(leaf, left)
    other = view.negative_log_likelihood({name: value.roll(1, 0) for name, value in plain.items()}, left)
    assert own.max() < 1e-3 and other.min() > 10
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(own.sum(), list(leaf.values())))
