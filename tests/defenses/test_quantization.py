"""Stochastic rounding has the levels, the mean, the variance and the likelihood of its paper."""

from __future__ import annotations

from math import log, sqrt, tanh

import pytest
import torch
from torch import Tensor

from bench.api import Gradients, HookContext
from bench.defenses.quantization.defense import Quantization, spacing

CASES = [("l2", 0), ("max", 0), ("l2", 32), ("max", 50)]


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed + 100), batch_size=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quantised(value: Tensor, *, seed: int = 0, **values: int | str) -> Tensor:
    return Quantization(**values).gradients({"w": value}, context(seed))["w"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("norm", "bucket"), CASES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_entry_is_one_of_the_two_levels_beside_it(bits: int, norm: str, bucket: int) -> None:
    plain = normal(3, 5, 40)
    rows, sent = plain.flatten(1), quantised(plain, bits=bits, norm=norm, bucket=bucket).flatten(1)
    for mine, left in zip(rows.split(bucket or 200, dim=1), sent.split(bucket or 200, dim=1), strict=True):
        scale = (mine.norm(dim=1) if norm == "l2" else mine.abs().amax(1))[:, None]
        levels = left * (2 ** (bits - 1) - 1) / scale
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        assert levels.abs().max() < 2 ** (bits - 1) - 0.5
        assert ((levels - mine * (2 ** (bits - 1) - 1) / scale).abs() < 1 + 1e-4).all()


@pytest.mark.parametrize(("norm", "bucket"), CASES)
@pytest.mark.parametrize("bits", [2, 4])
def test_rounding_is_unbiased_and_has_the_bernoulli_variance(bits: int, norm: str, bucket: int) -> None:
    row, draws = normal(1, 100), 20_000
    sent = quantised(row.expand(draws, -1), bits=bits, norm=norm, bucket=bucket).double()
    scale = torch.cat(
        [
            (part.norm(dim=1) if norm == "l2" else part.abs().amax(1))[:, None].expand(-1, part.shape[1])
            for part in row.split(bucket or 100, dim=1)
        ],
        dim=1,
    )[0].double()
    step = scale / (2 ** (bits - 1) - 1)
    share = (row[0].double().abs() / step).frac()
    variance = step.square() * share * (1 - share)
    error = (sent.mean(0) - row[0]).abs() / (variance / draws).sqrt().clamp_min(1e-9 + 1e-6 * step)
    assert error.max() < 5
    torch.testing.assert_close(sent.var(0).sum(), variance.sum(), rtol=0.03, atol=0)
    if norm == "l2" and not bucket:  # Lemma 3.1 (ii): the bound min(n / s^2, sqrt n / s) |v|^2
        levels = 2 ** (bits - 1) - 1
        assert variance.sum() <= min(100 / levels**2, sqrt(100) / levels) * row.square().sum()


@pytest.mark.parametrize("bucket", [0, 8])
def test_one_bit_is_the_sign_times_the_mean_magnitude(bucket: int) -> None:
    plain = normal(3, 4, 8)
    plain[0, 0, 0] = 0
    sent = quantised(plain, bits=1, bucket=bucket).flatten(1)
    for mine, left in zip(
        plain.flatten(1).split(bucket or 32, dim=1), sent.split(bucket or 32, dim=1), strict=True
    ):
        torch.testing.assert_close(left.abs(), mine.abs().mean(1, keepdim=True).expand_as(left))
        assert ((left > 0) == (mine >= 0)).all()


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("bucket", [0, 7])
def test_tensors_of_zeros_and_of_one_entry_are_sent(bits: int, bucket: int) -> None:
    plain: Gradients = {"zero": torch.zeros(2, 3, 3), "one": torch.tensor([2.0, -3.0])}
    sent = Quantization(bits=bits, bucket=bucket).gradients(plain, context())
    assert all(torch.equal(sent[name], value) for name, value in plain.items())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("norm", ["l2", "max"])
def test_the_distance_of_levels_is_found_in_what_was_sent(norm: str, bits: int) -> None:
    """It is a multiple of the true one only if all entries sent happen to be multiples."""
    plain = normal(6, 1, 400)
    scale = plain.norm(dim=2) if norm == "l2" else plain.abs().amax(2)
    found = spacing(quantised(plain, bits=bits, norm=norm))[..., 0]
    torch.testing.assert_close(found, scale / (2 ** (bits - 1) - 1), rtol=1e-3, atol=0)
    assert spacing(torch.zeros(1, 1, 4)).isinf().all()


def test_the_view_of_rounding_is_its_likelihood() -> None:
    """An entry at 0.3 of a step was sent as 1 with probability 0.3, as 0 with 0.7; one makes the scale."""
    view = Quantization(bits=2, norm="max").view()
    assert view is not None and view.negative_log_likelihood is not None
    value = torch.zeros(1, 20)
    value[0, :2] = torch.tensor([0.3, -1.0])
    for level, chance in ((1.0, 0.3), (0.0, 0.7)):
        sent = value.clone()
        sent[0, 0] = level
        got = view.negative_log_likelihood({"w": value}, {"w": sent})
        assert got.item() == pytest.approx(-log(chance), abs=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_likelihood_prefers_the_truth_and_leads_there(bits: int) -> None:
    defense, plain = Quantization(bits=bits), normal(2, 1000)
    view = defense.view()
    assert view is not None and view.negative_log_likelihood is not None
    sent = defense.gradients({"w": plain}, context())
    leaf = (4 * normal(2, 1000, seed=1)).requires_grad_()
    cost = view.negative_log_likelihood({"w": leaf}, sent)
    assert (view.negative_log_likelihood({"w": plain}, sent) < cost).all()
    cost.sum().backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert ((leaf.grad * (leaf - plain)).sum(1) > 0).all()


def test_signs_have_the_likelihood_of_soft_signs() -> None:
    view = Quantization(bits=1).view()
    assert view is not None and view.negative_log_likelihood is not None and view.transmit is None
    value, sent = torch.tensor([[0.7, -0.4]]), torch.tensor([[0.5, 0.5]])
    got = view.negative_log_likelihood({"w": value}, {"w": sent})
    assert got.item() == pytest.approx(-log((1 + tanh(1.4)) / 2) - log((1 + tanh(-0.8)) / 2), rel=1e-5)
    zero = torch.zeros(1, 4, requires_grad=True)
    view.negative_log_likelihood({"w": zero}, {"w": torch.zeros(1, 4)}).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all()
