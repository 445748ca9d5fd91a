"""DP-SGD: what clients send to the entry, what the accountant says, and bounds beside what attacks find."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from bench.api import (
    Adversary,
    Clients,
    Defense,
    FederatedTraining,
    Gradients,
    HookContext,
    ImageSet,
    IncompatibleError,
)
from bench.api.threat import LocalTraining
from bench.defenses.dpsgd.accountant import DELTA, epsilon
from bench.defenses.dpsgd.bound import (
    error_without_prior,
    psnr_without_prior,
    recovered_at_most,
    success_without_prior,
)
from bench.defenses.dpsgd.defense import clipped
from bench.metrics import psnr
from bench.models.build import build_model
from bench.plugins import build_attack, build_defense
from bench.victims.clients import clients_of
from bench.victims.releases import release_gradients
from bench.victims.training import train_victim
from tests.engine.observations import DIGITS, batches, drawn, observation, weights
from tests.victims.small import digits_source, few

SHAPES = {"weight": (12, 1, 5, 5), "bias": (12,), "scale": ()}
needs_opacus = pytest.mark.skipif(importlib.util.find_spec("opacus") is None, reason="needs the extra dp")


def dpsgd(z: float = 0.0, norm: float = 1.0) -> Defense:
    return build_defense("dpsgd", {"noise_multiplier": z, "clip_norm": norm})


def context(batch_size: int, clients: Clients | None = None, seed: int = 0) -> HookContext:
    chance = torch.Generator().manual_seed(seed)
    return HookContext(generator=chance, batch_size=batch_size, clients=clients)


def lenet(victims: int, batch_size: int) -> Clients:
    images, labels = batches(victims, batch_size)
    return clients_of(drawn("lenet", 0), weights("lenet", 0), images, labels, num_classes=10)


def norms(gradients: Gradients) -> Tensor:
    """Of each client over all weights together, ``[N]``."""
    return torch.cat([value.reshape(len(value), -1) for value in gradients.values()], dim=1).norm(dim=1)


def alike(left: Gradients, right: Gradients, tolerance: float = 1e-5) -> bool:
    return all(torch.allclose(left[name], right[name], atol=tolerance, rtol=tolerance) for name in left)


def test_a_gradient_is_scaled_to_the_norm_where_it_is_longer_and_left_where_it_is_shorter() -> None:
    chance = torch.Generator().manual_seed(0)
    plain = {name: torch.randn(4, *shape, generator=chance) for name, shape in SHAPES.items()}
    unit = {name: value / norms(plain).view(-1, *[1] * (value.dim() - 1)) for name, value in plain.items()}
    length = torch.tensor([0.5, 1.0, 3.0, 0.0])
    given = {name: value * length.view(-1, *[1] * (value.dim() - 1)) for name, value in unit.items()}
    short = clipped(given, 2.0)
    assert torch.allclose(norms(short), torch.tensor([0.5, 1.0, 2.0, 0.0]), atol=1e-6)
    for name, value in given.items():
        assert torch.equal(short[name][:2], value[:2])
        assert torch.allclose(short[name][2], value[2] * (2 / 3), atol=1e-6)


def test_what_is_sent_of_a_batch_is_the_mean_of_its_images_clipped_gradients() -> None:
    clients = lenet(2, 3)
    middle = norms({name: value.flatten(0, 1) for name, value in clients.of_examples().items()}).median()
    sent = dpsgd(norm=middle.item()).gradients(
        clients.gradients(clients.images, clients.labels), context(3, clients)
    )
    for client in range(2):
        total = {name: torch.zeros_like(value[0]) for name, value in sent.items()}
        for image, label in zip(clients.images[client], clients.labels[client], strict=True):
            own = clients.gradients(image[None, None], label[None, None])
            factor = min(1.0, (middle / norms(own)).item())
            total = {name: value + factor * own[name][0] / 3 for name, value in total.items()}
        assert alike({name: value[client] for name, value in sent.items()}, total)


def test_of_one_image_the_given_gradient_is_clipped_and_no_other_computed() -> None:
    clients = lenet(3, 1)
    plain = clients.gradients(clients.images, clients.labels)

    def never(images: Tensor, labels: Tensor) -> Gradients:
        raise AssertionError("a second gradient was asked for")

    once = dpsgd(0.5).gradients(plain, context(1, replace(clients, gradients=never)))
    of_examples = {name: value.squeeze(1) for name, value in clients.of_examples().items()}
    noise = dpsgd(0.5).gradients({name: torch.zeros_like(value) for name, value in plain.items()}, context(1))
    mean = clipped(of_examples, 1.0)
    assert alike(once, {name: mean[name] + noise[name] for name in mean})


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_noise_is_gaussian_of_the_declared_deviation(batch_size: int) -> None:
    shape = (100, 500)
    clients = replace(
        lenet(2, batch_size),
        gradients=lambda images, labels: {
            "w": torch.zeros(len(labels), *shape),
            "b": torch.zeros(len(labels)),
        },
    )
    plain = {"w": torch.zeros(2, *shape), "b": torch.zeros(2)}
    where = context(batch_size, clients)
    sent, again = (dpsgd(0.6, norm=2.0).gradients(plain, where) for _ in range(2))
    error = sent["w"].double() / (0.6 * 2.0 / batch_size)
    # 100,000 draws: the deviation's own error is 0.2 %, the fourth moment's 1 %.
    assert error.std().item() == pytest.approx(1, abs=0.01) and abs(error.mean().item()) < 0.015
    assert error.pow(4).mean().item() == pytest.approx(3, rel=0.05)
    rows = torch.cat([sent["w"].flatten(1), again["w"].flatten(1)])
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 0.02
    assert (sent["b"] != 0).all()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_no_client_depends_on_another_or_on_their_order(batch_size: int) -> None:
    clients, order = lenet(3, batch_size), torch.tensor([2, 0, 1])
    turned = replace(clients, images=clients.images[order], labels=clients.labels[order])
    first, second = (
        dpsgd().gradients(own.gradients(own.images, own.labels), context(batch_size, own))
        for own in (clients, turned)
    )
    assert alike({name: value[order] for name, value in first.items()}, second)


def test_the_view_clips_as_clients_do_and_has_the_density_of_their_noise() -> None:
    clients = lenet(2, 1)
    plain = clients.gradients(clients.images, clients.labels)
    for batch_size in (1, 4):
        view = dpsgd(0.3, norm=2.0).known(batch_size)
        assert view is not None and view.transmit is not None and view.negative_log_likelihood is not None
        sent = view.transmit(plain, plain)
        assert alike(sent, dpsgd(norm=2.0).gradients(plain, context(1)), 0.0)
        other = {name: value + 0.01 for name, value in sent.items()}
        normal = torch.distributions.Normal(0.0, 0.3 * 2.0 / batch_size)
        gaps = norms({name: other[name] - sent[name] for name in sent})
        likelihoods = (view.negative_log_likelihood(one, sent) for one in (other, sent))
        zero = torch.zeros(())
        # A density of all entries: each adds its own.
        want = (normal.log_prob(zero) - normal.log_prob(torch.tensor(0.01))) * (gaps / 0.01) ** 2
        assert torch.allclose(next(likelihoods) - next(likelihoods), want, rtol=1e-3)
    still = dpsgd().known()
    assert still is not None and still.negative_log_likelihood is None and still.transmit is not None


def test_a_candidate_without_a_gradient_has_a_derivative() -> None:
    view = dpsgd(0.3).known()
    assert view is not None and view.transmit is not None
    leaf = torch.zeros(1, 3, requires_grad=True)
    (found,) = torch.autograd.grad(view.transmit({"w": leaf}, {"w": leaf})["w"].sum(), leaf)
    assert torch.equal(found, torch.ones(1, 3))


@pytest.mark.parametrize("model", ["resnet8[width=2]", "resnet18_shared[width=2]"])
def test_networks_whose_images_have_no_gradients_of_their_own_are_refused(model: str) -> None:
    network = build_model(model, num_classes=10, image_shape=DIGITS)
    network.initialise(torch.Generator().manual_seed(0))
    state = {name: value.detach() for name, value in network.named_parameters()}
    with pytest.raises(IncompatibleError, match="BatchNorm"):
        release_gradients(digits_source(model, state, defense=dpsgd(0.1), batch_size=2))


def test_with_group_norm_the_mean_of_unclipped_gradients_is_the_batch_gradient() -> None:
    model = "resnet8[norm=group,width=4]"
    network = build_model(model, num_classes=10, image_shape=DIGITS)
    network.initialise(torch.Generator().manual_seed(0))
    state = {name: value.detach() for name, value in network.named_parameters()}
    sent, plain = (
        release_gradients(digits_source(model, state, defense=hooks, batch_size=2, releases=2)).sent
        for hooks in (dpsgd(norm=1e6), Defense())
    )
    assert alike(sent, plain, 1e-4)


def test_local_steps_are_refused() -> None:
    clients = replace(lenet(2, 2), local=LocalTraining(epochs=2))
    with pytest.raises(IncompatibleError, match="local steps"):
        dpsgd().gradients(clients.gradients(clients.images, clients.labels), context(2, clients))
    with pytest.raises(IncompatibleError, match="local steps"):
        release_gradients(digits_source("lenet[local_epochs=2]", weights("lenet", 0), defense=dpsgd()))


def of_gaussian(mu: float) -> float:
    """The epsilon of one Gaussian mechanism, sensitivity over deviation ``mu`` (Balle and Wang 2018)."""

    def excess(value: float) -> float:
        tail = math.exp(value + norm.logcdf(-value / mu - mu / 2))
        return float(norm.cdf(mu / 2 - value / mu)) - tail - DELTA

    return float(brentq(excess, 0, mu**2 + 10 * mu))


@needs_opacus
@pytest.mark.parametrize(("z", "steps"), [(0.1, 12), (1.0, 1), (1.0, 12), (4.0, 8), (20.0, 1)])
def test_without_sampling_the_accountant_is_just_above_the_exact_epsilon(z: float, steps: int) -> None:
    exact = of_gaussian(math.sqrt(steps) / z)
    assert exact <= epsilon(z, steps=steps) <= 1.15 * exact + 0.01


@needs_opacus
def test_with_sampling_the_accountant_is_between_the_limit_and_the_published_bound() -> None:
    """z = 4, q = 0.01, T = 10,000: at most 1.26 at 1e-5 (Abadi et al. 2016, Section 3.2).

    Their conversion is looser than today's; what many steps tend to is known (Bu et al. 2020, Section 3).
    """
    limit = of_gaussian(0.01 * math.sqrt(10_000 * math.expm1(1 / 4.0**2)))
    assert 0.98 * limit <= epsilon(4.0, steps=10_000, rate=0.01) <= 1.26 < 1.5 * limit


@needs_opacus
def test_the_victim_reports_epsilons_of_its_own_training() -> None:
    splits = few(40)
    victim = train_victim(
        model="lenet[clients=4]", splits=splits, num_classes=10, image_shape=DIGITS, defense=dpsgd(2.0),
        batch_size=2, epochs=2.5, seed=0, device=torch.device("cpu"),
    )  # fmt: skip
    assert victim.rounds == 12  # 96 draws of 40 images: some are used three times
    assert victim.details == {
        "epsilon_server": epsilon(2.0, steps=3),
        "epsilon_model": epsilon(4.0, steps=12, rate=0.2),
        "epsilon_model_in_passes": epsilon(4.0, steps=3),
        "psnr_without_prior": psnr_without_prior(splits.private_test.images, 2.0).mean().item(),
        "recovered_at_most": recovered_at_most(2.0, pool=40),
    }
    assert 0 < victim.details["epsilon_model"] < victim.details["epsilon_server"]


def test_without_the_accountant_no_epsilon_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    for name in [name for name in sys.modules if name.startswith("opacus.")]:
        monkeypatch.delitem(sys.modules, name)
    done = FederatedTraining.on(torch.arange(80).view(10, 4, 2) % 40, 40)
    test = ImageSet(*(value.squeeze(1) for value in batches(2, 1)))
    with pytest.warns(UserWarning, match="opacus is not installed"):
        found = dpsgd(1.0).details(drawn("lenet", 0), test, replace(context(1), federated=done))
    assert all(math.isnan(value) == name.startswith("epsilon") for name, value in found.items())


def test_the_bound_is_reached_by_least_squares_on_a_first_layer_that_has_all_of_the_norm() -> None:
    """W'd / |d|^2 of a noised ``W = d (x - mean x)'``, 4,000 times: error, and success at three levels."""
    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    z, chance, draws = 0.05, torch.Generator().manual_seed(2), 4000
    row, error = (image - image.mean()).view(1, -1), torch.tensor([[0.6], [-0.8]]).double()
    sent = clipped({"w": 1e3 * (error * row)[None]}, 1.0)["w"]
    known = error * (sent.norm() / row.norm())
    noisy = sent + z * torch.randn(draws, 2, 16, generator=chance, dtype=torch.float64)
    found = (noisy * known).sum(1) / known.square().sum()
    errors = (found - row).square().mean(1)
    assert errors.mean().item() == pytest.approx(error_without_prior(image, z).item(), rel=0.02)
    level = psnr_without_prior(image, z).item()
    for threshold in (level - 1, level, level + 1):
        want = success_without_prior(image, z, threshold).item()
        reached = (-10 * errors.log10() >= threshold).double().mean().item()
        assert 0.02 < want < 0.98 and reached == pytest.approx(want, abs=0.03)  # four standard errors


def test_nobody_finds_more_images_of_a_list_than_the_bound_allows() -> None:
    """The best test there is, the likelihood, on gradients as far apart as clipping allows: it is near."""
    pool, draws, chance = 16, 20_000, torch.Generator().manual_seed(0)
    means = torch.eye(pool)  # orthogonal, of norm C = 1
    for z in (0.3, 0.5, 1.0, 3.0):
        drawn_ = torch.randint(pool, (draws,), generator=chance)
        sent = means[drawn_] + z * torch.randn(draws, pool, generator=chance)
        share = (sent.argmax(1) == drawn_).double().mean().item()
        bound = recovered_at_most(z, pool=pool)
        assert share <= bound + 0.01 and share > 1 / pool
        assert share > 0.5 * bound
    assert recovered_at_most(1.0, pool=2500) < 0.01 < recovered_at_most(1.0, pool=2500, releases=4)


@pytest.mark.parametrize("z", [0.003, 0.01])
def test_attacks_find_less_of_a_release_than_the_bound_without_a_prior(z: float) -> None:
    """Adaptive ones, on digits and a network that shows its first layer the pixels: within its reach."""
    images, labels = batches(3, 1, seed=21)
    plain, hooks = observation("mlp[width=32]", images, labels), dpsgd(z)
    threat = replace(plain.threat, adversary=Adversary.ADAPTIVE)
    sent = hooks.gradients(plain.gradients, context(1, seed=5))
    seen = replace(plain, gradients=sent, defense=hooks.known(), threat=threat)
    bound = psnr_without_prior(images[:, 0], z)
    numbers = images[0, 0].numel()
    spread = 4 * 10 / math.log(10) * math.sqrt(2 / numbers)  # four deviations of a chi-squared error, in dB
    found = {
        name: psnr(build_attack(name, {}).reconstruct(seen, budget=60, seed=0).images[:, 0], images[:, 0])
        for name in ("dlg", "idlg", "inverting_gradients")
    }
    assert all((level <= bound + spread).all() for level in found.values())
    assert max(level.max().item() for level in found.values()) > bound.mean().item() - 12
