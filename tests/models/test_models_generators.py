"""Networks of a generative prior: shapes, values, weights of their own generator, images that do not mix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.generators import LATENTS, Critic, Decoder, Encoder, Network

GREY, COLOUR = (1, 32, 32), (3, 32, 32)
SHAPES = [GREY, COLOUR, (1, 16, 24), (3, 40, 48)]
Shape = tuple[int, int, int]


def drawn(network: type[Network], shape: Shape = GREY, *, seed: int = 0, width: int = 4) -> nn.Module:
    return network.build(shape, width, torch.Generator().manual_seed(seed)).eval()


def images(shape: Shape, count: int = 5) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_latents_become_images_in_the_unit_range(shape: Shape) -> None:
    latents = 30 * torch.randn(5, LATENTS, generator=torch.Generator().manual_seed(0))
    found = drawn(Decoder, shape)(latents)
    assert found.shape == (5, *shape)
    assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1
    assert found.std() > 0


def test_scores_are_the_images_before_the_sigmoid() -> None:
    decoder, latents = drawn(Decoder), torch.randn(5, LATENTS, generator=torch.Generator().manual_seed(0))
    assert isinstance(decoder, Decoder)
    assert torch.equal(decoder.scores(latents).sigmoid(), decoder(latents))


@pytest.mark.parametrize("shape", SHAPES)
def test_images_become_values_and_moments(shape: Shape) -> None:
    assert drawn(Critic, shape)(images(shape)).shape == (5,)
    mean, log_variance = drawn(Encoder, shape)(images(shape))
    assert mean.shape == log_variance.shape == (5, LATENTS)
    assert not torch.equal(mean, log_variance)


@pytest.mark.parametrize("network", [Decoder, Critic, Encoder])
def test_weights_belong_to_the_generator_alone(network: type[Network]) -> None:
    def vector(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(drawn(network, seed=seed).parameters()).detach()

    before = torch.random.get_rng_state()
    first = vector(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(vector(0), first)
    assert not torch.equal(vector(1), first)


@pytest.mark.parametrize("network", [Decoder, Critic, Encoder])
def test_weights_are_drawn_as_pytorch_draws_them(network: type[Network]) -> None:
    """PyTorch's own start of the same network has the same spread in every layer, and the same constants."""
    ours = dict(drawn(network, width=16).named_parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        usual = dict(network(GREY, 16).named_parameters())
    assert set(ours) == set(usual)
    for name, value in usual.items():
        if (value == value.flatten()[0]).all() and value.numel() > 1:
            assert torch.equal(ours[name], value), name
        elif value.numel() > 200:
            assert ours[name].abs().max().item() == pytest.approx(value.abs().max().item(), rel=0.1), name
            assert ours[name].std().item() == pytest.approx(value.std().item(), rel=0.1), name


@pytest.mark.parametrize("training", [False, True])
def test_the_critic_mixes_no_images(training: bool) -> None:
    critic, batch = drawn(Critic).train(training), images(GREY)
    alone = torch.cat([critic(image[None]) for image in batch])
    torch.testing.assert_close(critic(batch), alone, rtol=1e-4, atol=1e-6)
    batch.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(batch)[2], batch)
    assert gradient[2].any() and not gradient[[0, 1, 3, 4]].any()


def test_a_larger_width_is_a_larger_network() -> None:
    for network in (Decoder, Critic, Encoder):
        small, large = (
            sum(value.numel() for value in drawn(network, width=width).parameters()) for width in (4, 8)
        )
        assert large > 2 * small


SMALL = [(1, 28, 28), (3, 20, 20), (1, 30, 33), (1, 8, 11), (1, 5, 48)]


@pytest.mark.parametrize("shape", SMALL)
def test_images_of_any_size_are_drawn_and_judged_by_every_pixel(shape: Shape) -> None:
    latents = torch.randn(5, LATENTS, generator=torch.Generator().manual_seed(0))
    found = drawn(Decoder, shape)(latents)
    assert found.shape == (5, *shape) and found.min() >= 0 and found.max() <= 1
    assert found.std(0).min() > 0, "a pixel that no latent moves was not drawn"
    batch = images(shape).requires_grad_()
    (gradient,) = torch.autograd.grad(drawn(Critic, shape).train()(batch).sum(), batch)
    assert gradient.abs().sum(0).min() > 0, "a pixel that the critic does not see"
    mean, _ = drawn(Encoder, shape)(images(shape))
    assert mean.shape == (5, LATENTS)


@pytest.mark.parametrize("shape", SMALL)
def test_what_is_drawn_is_the_middle_of_a_larger_image_and_judged_in_a_frame_of_zeros(shape: Shape) -> None:
    larger = (shape[0], *(max(16, -(-side // 8) * 8) for side in shape[1:]))
    above, left = ((big - side) // 2 for big, side in zip(larger[1:], shape[1:], strict=True))
    middle = (..., slice(above, above + shape[1]), slice(left, left + shape[2]))
    latents = torch.randn(5, LATENTS, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn(Decoder, shape)(latents), drawn(Decoder, larger)(latents)[middle])
    framed = torch.zeros(5, *larger)
    framed[middle] = images(shape)
    assert torch.equal(drawn(Critic, shape)(images(shape)), drawn(Critic, larger)(framed))
    ours, theirs = drawn(Encoder, shape)(images(shape)), drawn(Encoder, larger)(framed)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_where_whole_cells_fill_the_image_nothing_is_cut_or_framed(shape: Shape) -> None:
    """The plain layers, one after the other: images of 32x32 are drawn as they ever were."""
    decoder, latents = drawn(Decoder, shape), torch.randn(5, LATENTS)
    assert isinstance(decoder, Decoder)
    assert torch.equal(decoder(latents), decoder.body(decoder.start(latents)).sigmoid())
    assert decoder.start[0].out_features == 16 * shape[1] * shape[2] // 64
    critic = drawn(Critic, shape)
    assert isinstance(critic, Critic)
    assert torch.equal(critic(images(shape)), critic.head(critic.features(images(shape)))[:, 0])
