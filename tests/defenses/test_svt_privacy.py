"""The sparse vector technique chooses, clamps and adds noise as its budgets say."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from bench.api import Gradients, HookContext
from bench.plugins import build_defense

EXACT = {"epsilon": 1e9, "noise_var": 1e9}
"""Budgets that leave no noise."""


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1)


def sent_of(value: Tensor, seed: int = 0, **values: float) -> Tensor:
    return build_defense("svt_privacy", values).gradients({"w": value}, context(seed))["w"]


def test_without_noise_only_what_is_above_the_threshold_is_sent_and_clamped() -> None:
    """Of 100 entries 30 are above tau, and as many are asked for."""
    value = torch.full((1, 10, 10), 0.01)
    value[0, :3] = -3.0
    sent = sent_of(value, **EXACT, fraction=0.3, tau=0.5, gamma=1.0, learning_rate=1.0)[0]
    assert sent[3:].count_nonzero() == 0
    assert 10 <= sent.count_nonzero() < 30  # with replacement
    assert torch.allclose(sent[sent != 0], torch.tensor(-1.0))


def test_the_rate_turns_gradients_into_changes_of_weights() -> None:
    value = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    shared = {"noise_var": 3.0, "epsilon": 2.0}
    one = sent_of(value, **shared, gamma=1e-3, tau=1e-4, learning_rate=0.01)
    two = sent_of(value, **shared, gamma=1e-1, tau=1e-2, learning_rate=1.0)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_draws_with_replacement_leave_so_many_entries(fraction: float) -> None:
    """All 20,000 entries are above a threshold of minus infinity; n draws of m leave m (1 - (1 - 1/m)^n)."""
    entries = 20_000
    value = torch.ones(2, entries)
    sent = sent_of(value, fraction=fraction, tau=-1e9, learning_rate=1.0)
    want = entries * (1 - (1 - 1 / entries) ** (fraction * entries))
    assert sent.count_nonzero(1).tolist() == pytest.approx([want, want], rel=0.03)


def test_the_noise_is_laplace_of_scale_two_gamma_over_its_budget() -> None:
    value = torch.full((1, 200_000), 7.0)
    sent = sent_of(value, noise_var=4.0, gamma=0.5, tau=-1e9, fraction=1.0, learning_rate=1.0)
    noise = (sent[sent != 0] - 0.5) / (2 * 0.5 / 4.0)
    assert len(noise) > 100_000
    assert noise.abs().mean().item() == pytest.approx(1, abs=0.02)
    assert noise.abs().median().item() == pytest.approx(log(2), abs=0.02)
    assert noise.square().mean().item() == pytest.approx(2, rel=0.05)


def test_large_entries_are_chosen_more_often_by_as_much_as_the_query_noise_allows() -> None:
    """One query: c = 1 of two entries, gamma 1 and 0, at a budget where the noise is about as large."""
    value = torch.tensor([[5.0, 0.0]]).expand(4000, 2)
    sent = sent_of(value, fraction=0.5, epsilon=8.0, noise_var=1e9, gamma=1.0, tau=0.5, learning_rate=1.0)
    shares = (sent.abs() > 0.5).float().mean(0)
    assert 0.6 < shares[0].item() < 0.95


def test_each_layer_gets_its_own_entries_back() -> None:
    plain: Gradients = {
        "a": torch.full((2, 3, 4), 1.0),
        "b": torch.full((2, 5), -1.0),
        "c": torch.full((2,), 1.0),
    }
    values = {**EXACT, "fraction": 1.0, "tau": 0.5, "gamma": 1.0, "learning_rate": 1.0}
    sent = build_defense("svt_privacy", values).gradients(plain, context())
    for name, value in plain.items():
        assert sent[name].shape == value.shape
        kept = sent[name] != 0
        torch.testing.assert_close(sent[name][kept], value[kept])


def test_the_view_is_the_density_of_what_was_sent() -> None:
    view = build_defense("svt_privacy", {"noise_var": 2.0, "gamma": 1.0, "learning_rate": 1.0}).view()
    assert view is not None and view.negative_log_likelihood is not None
    observed = {"w": torch.tensor([[0.0, 3.0, -0.5]])}
    leaf = {"w": torch.tensor([[9.0, 1.0, -1.0]], requires_grad=True)}
    cost = view.negative_log_likelihood(leaf, observed)
    cost.sum().backward()
    assert cost.item() == pytest.approx(abs(0.5 - 3.0) + abs(-0.5 + 0.5))  # scale 2 * 1 / 2
    assert leaf["w"].grad is not None and leaf["w"].grad[0, 0] == 0 and leaf["w"].grad[0, 1] < 0


def test_a_threshold_that_nothing_passes_ends() -> None:
    sent = sent_of(torch.ones(2, 20), **EXACT, tau=9.0, gamma=1.0, learning_rate=1.0)
    assert sent.count_nonzero() == 0


def test_a_client_that_diverged_ends_and_shows_it() -> None:
    value = torch.ones(2, 50)
    value[0] = torch.nan
    sent = sent_of(value)
    assert sent[0].isnan().any() and sent[1].isfinite().all()
