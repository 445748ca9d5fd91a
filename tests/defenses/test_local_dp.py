"""The update of each client is clipped as a whole, and its noise is that of the Gaussian mechanism."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from bench.api import HookContext
from bench.plugins import build_defense

QUIET = {"sensitivity": 1e-12, "learning_rate": 0.1}


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1)


def gradients(seed: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    plain = {"w": torch.randn(3, 4, 5, generator=chance), "b": torch.randn(3, 6, generator=chance)}
    return {
        name: value * torch.tensor([1.0, 10.0, 100.0]).view(-1, *[1] * (value.dim() - 1))
        for name, value in plain.items()
    }


def norms(sent: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten(1) for value in sent.values()], dim=1).norm(dim=1)


def test_the_change_of_all_weights_together_is_clipped() -> None:
    """Norms of about 5, 50 and 500 at a rate of 0.1: changes of 0.5, 5 and 50."""
    plain = gradients(0)
    sent = dict(build_defense("local_dp", {**QUIET, "clipping_norm": 2.0}).gradients(plain, context()))
    torch.testing.assert_close(norms(sent), norms(plain).clamp_max(20.0))
    for name, value in sent.items():
        torch.testing.assert_close(value[0], plain[name][0])
        ratio = value[1:] / plain[name][1:]
        torch.testing.assert_close(
            ratio, (20 / norms(plain)[1:]).view(-1, *[1] * (value.dim() - 1)).expand_as(ratio)
        )


@pytest.mark.parametrize(("epsilon", "delta"), [(10.0, 1e-5), (0.5, 1e-3)])
def test_noise_has_the_deviation_of_the_gaussian_mechanism(epsilon: float, delta: float) -> None:
    values = {"epsilon": epsilon, "delta": delta, "sensitivity": 0.02, "learning_rate": 0.1}
    zeros = {"w": torch.zeros(2, 300, 500)}
    noise = build_defense("local_dp", values).gradients(zeros, context())["w"]
    want = 0.02 * sqrt(2 * log(1.25 / delta)) / epsilon
    # 300,000 draws: the deviation's own error is 0.13 %.
    assert 0.1 * noise.std().item() == pytest.approx(want, rel=0.01)
    assert abs(torch.corrcoef(noise.flatten(1))[0, 1].item()) < 0.01


def test_the_view_is_the_density_around_the_clipped_candidate() -> None:
    defense = build_defense("local_dp", {"sensitivity": 0.05, "clipping_norm": 0.5})
    one, two, observed = ({k: v.double() for k, v in gradients(seed).items()} for seed in (1, 2, 3))
    sigma = 0.05 * sqrt(2 * log(1.25e5)) / 10 / 0.05

    def reference(candidate: dict[str, Tensor]) -> Tensor:
        row, seen = (torch.cat([v.flatten(1) for v in side.values()], 1) for side in (candidate, observed))
        row = row * (10 / row.norm(dim=1, keepdim=True)).clamp_max(1)
        return -Normal(row, sigma).log_prob(seen).sum(1)

    view = defense.view()
    assert view is not None and view.negative_log_likelihood is not None
    got = view.negative_log_likelihood(one, observed) - view.negative_log_likelihood(two, observed)
    torch.testing.assert_close(got, reference(one) - reference(two))


def test_the_view_can_be_differentiated_where_the_candidate_is_zero() -> None:
    view = build_defense("local_dp", {}).view()
    assert view is not None and view.negative_log_likelihood is not None
    leaf = {"w": torch.zeros(2, 3, requires_grad=True)}
    view.negative_log_likelihood(leaf, {"w": torch.ones(2, 3)}).sum().backward()
    assert leaf["w"].grad is not None and leaf["w"].grad.isfinite().all() and (leaf["w"].grad < 0).all()
