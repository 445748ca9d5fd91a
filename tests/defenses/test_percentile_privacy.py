"""What is sent is the library's filter, computed by NumPy in weight changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api import Defense, HookContext
from bench.plugins import build_defense
from tests.engine.observations import DIGITS, batches, plain_gradients, weights
from tests.engine.observations import drawn as network_of

SHAPES = {"filters": (12, 1, 5, 5), "bias": (12,), "scalar": ()}


def context() -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(0), batch_size=1)


def gradients(seed: int, clients: int = 3) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.randn(clients, *shape, generator=chance) for name, shape in SHAPES.items()}


def by_numpy(change: np.ndarray, percentile: float, gamma: float) -> np.ndarray:
    """Of one client's change of all weights: what is above the percentile, truncated."""
    kept = np.abs(change) > np.percentile(np.abs(change), percentile)
    return np.where(kept, np.clip(change, -gamma, gamma), 0)


@pytest.mark.parametrize("percentile", [0.0, 10.0, 50.0, 95.0, 100.0])
@pytest.mark.parametrize(("gamma", "rate"), [(0.01, 0.05), (0.5, 1.0), (100.0, 0.1)])
def test_the_whole_update_of_a_client_is_filtered_in_units_of_weights(
    percentile: float, gamma: float, rate: float
) -> None:
    plain = gradients(0)
    values = {"percentile": percentile, "gamma": gamma, "learning_rate": rate}
    sent = build_defense("percentile_privacy", values).gradients(plain, context())
    for client in range(3):
        mine, left = (
            np.concatenate([value[client].double().numpy().ravel() for value in side.values()])
            for side in (plain, sent)
        )
        np.testing.assert_allclose(rate * left, by_numpy(rate * mine, percentile, gamma), rtol=1e-6)


def test_a_client_that_diverged_shows_it() -> None:
    plain = gradients(0)
    plain["bias"][1, 3] = torch.nan
    sent = build_defense("percentile_privacy", {}).gradients(plain, context())
    assert sent["bias"][1, 3].isnan() and sent["bias"][0].isfinite().all()


def view_of(defense: Defense, plain: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What was sent, and what the adaptive attacker makes of a candidate; zero where nothing was sent."""
    sent, view = dict(defense.gradients(plain, context())), defense.view()
    assert view is not None and view.transmit is not None and view.transmitted is not None
    mask, made = view.transmitted(sent), view.transmit(plain, sent)
    return sent, {name: made[name] * mask[name] for name in made}


def test_the_true_gradient_is_seen_as_what_it_sends() -> None:
    images, labels = batches(1, 1)
    one = plain_gradients(network_of("lenet", 0, DIGITS), weights("lenet", 0), images[0], labels[0])
    plain = {name: value[None] for name, value in one.items()}
    sent, seen = view_of(build_defense("percentile_privacy", {"gamma": 1e-3}), plain)
    assert all(torch.equal(seen[name], value) for name, value in sent.items())
    assert any((value.abs() == 0.02).any() for value in sent.values())


def test_a_candidate_that_is_too_large_can_come_back() -> None:
    """Where the client's entry was not clamped, the candidate is not either: its gradient would vanish."""
    view = build_defense("percentile_privacy", {"gamma": 1.0, "learning_rate": 1.0}).view()
    assert view is not None and view.transmit is not None
    observed = {"w": torch.tensor([[0.5, 1.0, 1.0]])}
    candidate = {"w": torch.tensor([[3.0, 3.0, 0.5]], requires_grad=True)}
    made = view.transmit(candidate, observed)["w"]
    made.sum().backward()
    assert made.tolist() == [[3.0, 1.0, 0.5]]
    assert candidate["w"].grad is not None and candidate["w"].grad.tolist() == [[1.0, 0.0, 1.0]]
