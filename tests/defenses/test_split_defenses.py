"""The defenses of split learning do what their cards declare, in every phase alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from bench.api import HookContext, ImageSet, Phase
from bench.api.cards import DefenseCard
from bench.defenses.nopeek.distance import distance_correlation
from bench.models.build import build_model
from bench.plugins import build_defense, defense_card

NAMES = ("activation_noise", "dropout", "nopeek")
Array = npt.NDArray[np.float64]


def context(seed: int = 0, phase: Phase = Phase.TRAIN) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1, phase=phase)


def activations(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_strengths_to_sweep_are_at_least_three(name: str) -> None:
    card: DefenseCard = defense_card(name)
    assert len(card.parameters[card.strength].sweep) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_phases_make_no_difference(name: str) -> None:
    defense, plain = build_defense(name, {}), activations(2, 3, 4, 5, 5)
    sent = [defense.smashed(plain, context(phase=phase)) for phase in Phase]
    assert all(torch.equal(one, sent[0]) for one in sent)


@pytest.mark.parametrize("name", ["activation_noise", "dropout"])
def test_an_attackers_own_draws_are_those_of_the_clients(name: str) -> None:
    defense, plain = build_defense(name, {}), activations(2, 3, 4, 5, 5)
    view = defense.view()
    assert view is not None and view.release is not None
    mine = view.release(plain, torch.Generator().manual_seed(7))
    assert torch.equal(mine, defense.smashed(plain, context(7)))
    assert not torch.equal(mine, defense.smashed(plain, context(8)))


@pytest.mark.parametrize(("name", "strength"), [("activation_noise", "sigma"), ("dropout", "rate")])
def test_without_strength_there_is_nothing_to_know(name: str, strength: str) -> None:
    defense, plain = build_defense(name, {strength: 0.0}), activations(2, 1, 3, 4, 4)
    assert defense.view() is None
    assert torch.equal(defense.smashed(plain, context()), plain)


@pytest.mark.parametrize("name", ["activation_noise", "dropout"])
def test_gradients_pass_to_the_client(name: str) -> None:
    plain = activations(1, 2, 3, 4, 4).requires_grad_()
    build_defense(name, {}).smashed(plain, context()).sum().backward()
    assert plain.grad is not None and plain.grad.count_nonzero() > 0


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_noise_has_the_declared_deviation(sigma: float) -> None:
    plain = activations(2, 2, 10, 100, 100)
    error = (build_defense("activation_noise", {"sigma": sigma}).smashed(plain, context()) - plain) / sigma
    # 400,000 draws: standard errors of 0.0016, 0.0011 and, for the fourth moment, 0.015.
    assert abs(error.mean().item()) < 0.01
    assert error.std().item() == pytest.approx(1, abs=0.01)
    assert error.pow(4).mean().item() == pytest.approx(3, abs=0.1)
    clients = torch.corrcoef(error.flatten(2).flatten(0, 1)) - torch.eye(4)
    assert clients.abs().max() < 0.02


def test_the_view_of_noise_is_its_density() -> None:
    """Up to a constant, hence as the difference of two candidates."""
    view = build_defense("activation_noise", {"sigma": 0.5}).view()
    assert view is not None and view.negative_log_likelihood is not None
    observed, one, two = (activations(3, 2, 4, 4, seed=seed).double() for seed in range(3))

    def reference(candidate: Tensor) -> Tensor:
        density = torch.distributions.Normal(candidate, torch.tensor(0.5, dtype=torch.float64))
        logarithms: Tensor = density.log_prob(observed)
        return -logarithms.flatten(1).sum(1)

    seen = {"activations": observed}
    mine = [view.negative_log_likelihood({"activations": candidate}, seen) for candidate in (one, two)]
    torch.testing.assert_close(mine[0] - mine[1], reference(one) - reference(two))


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_dropout_withholds_its_share_and_keeps_the_mean(rate: float) -> None:
    defense = build_defense("dropout", {"rate": rate})
    plain = torch.ones(2, 2, 10, 100, 100)
    sent = defense.smashed(plain, context())
    assert (sent == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
    torch.testing.assert_close(sent[sent != 0], torch.full_like(sent[sent != 0], 1 / (1 - rate)))
    view = defense.view()
    assert view is not None and view.transmitted is not None and view.negative_log_likelihood is None
    assert torch.equal(view.transmitted({"activations": sent})["activations"], sent != 0)


# --------------------------------------------------------------------------- distance correlation


def by_definition(left: Array, right: Array) -> float:
    """Szekely, Rizzo and Bakirov's definition with loops, as anybody would write it."""

    def centred(rows: Array) -> Array:
        count = len(rows)
        far = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in rows] for a in rows])
        out = np.empty_like(far)
        for i in range(count):
            for j in range(count):
                out[i, j] = far[i, j] - far[i].mean() - far[:, j].mean() + far.mean()
        return out

    first, second = centred(left), centred(right)
    covariance, one, two = (first * second).mean(), (first * first).mean(), (second * second).mean()
    return float(np.sqrt(covariance / np.sqrt(one * two)))


@pytest.mark.parametrize(("rows", "columns"), [(5, (2, 3)), (40, (30, 7)), (30, (1, 1))])
def test_distance_correlation_is_that_of_its_definition(rows: int, columns: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    left = random.normal(size=(rows, columns[0])) * 10 + 100
    right = np.sin(left[:, :1]) + random.normal(size=(rows, columns[1]))
    want = by_definition(left, right)
    sides = torch.from_numpy(left), torch.from_numpy(right)
    assert distance_correlation(*sides).item() == pytest.approx(want, rel=1e-9)
    single = distance_correlation(sides[0].float(), sides[1].float())
    assert single.item() == pytest.approx(want, rel=1e-3)


def test_distance_correlation_of_batches_is_that_of_each() -> None:
    left, right = activations(4, 12, 5), activations(4, 12, 9, seed=1)
    together = distance_correlation(left, right)
    torch.testing.assert_close(together, torch.stack(list(map(distance_correlation, left, right))))


def test_distance_correlation_is_one_of_moved_copies_and_zero_of_constants() -> None:
    left = activations(30, 4).double()
    turn = torch.linalg.qr(activations(4, 4, seed=1).double()).Q
    assert distance_correlation(left, 3 * left @ turn + 7).item() == pytest.approx(1)
    assert distance_correlation(left, torch.ones(30, 6, dtype=torch.float64)).item() == 0
    assert distance_correlation(left[:1], left[:1]).item() == 0


def test_distance_correlation_has_the_right_gradient_and_a_finite_one_everywhere() -> None:
    left, right = activations(8, 3).double(), activations(8, 4, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda free: distance_correlation(left, free), right)
    flat = torch.zeros(8, 4, requires_grad=True)
    distance_correlation(left.float(), flat).backward()
    assert flat.grad is not None and flat.grad.isfinite().all()


def test_nopeek_punishes_each_client_by_its_own_batch() -> None:
    defense = build_defense("nopeek", {"weight": 2.5})
    inputs, sent = activations(3, 16, 1, 6, 6), activations(3, 16, 4, 3, 3, seed=1)
    pairs = zip(inputs.double().flatten(2).numpy(), sent.double().flatten(2).numpy(), strict=True)
    want = [by_definition(*pair) for pair in pairs]
    assert defense.loss(inputs, sent, context()).item() == pytest.approx(2.5 * np.mean(want), rel=1e-3)
    assert defense.view() is None and not defense_card("nopeek").adaptive_view


def test_nopeek_reports_the_distance_correlation_of_test_images() -> None:
    model = build_model("splitnet_deep", num_classes=10, image_shape=(1, 32, 32))
    model.initialise(torch.Generator().manual_seed(0))
    test = ImageSet(activations(40, 1, 32, 32).sigmoid(), torch.zeros(40, dtype=torch.int64))
    found = build_defense("nopeek", {}).details(model, test, context(phase=Phase.TEST))
    with torch.no_grad():
        sent = model.get_submodule("client")(test.images)
    want = by_definition(*(part.flatten(1).double().numpy() for part in (test.images, sent)))
    assert found == {"distance_correlation": pytest.approx(want, rel=1e-6)}
