"""The training of a generative prior: on auxiliary images alone, repeatable, and refused where it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import BenchError, ImageSet
from bench.models.generators import LATENTS
from bench.victims import generator as module
from bench.victims.generator import (
    SCHEDULES,
    Schedule,
    TrainedGenerator,
    assert_disjoint,
    load_generator,
    sample,
    train_generator,
)
from tests.engine.observations import DIGITS, digits

KINDS = ("vae", "wgan_gp")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules of a second."""
    for kind in KINDS:
        rest = {"critic_steps": 1} if SCHEDULES[kind].adversarial else {}
        monkeypatch.setitem(SCHEDULES, kind, replace(SCHEDULES[kind], steps=4, batch=16, width=4, **rest))


def part(count: int = 64, start: int = 0) -> ImageSet:
    known = digits().auxiliary
    return ImageSet(known.images[start : start + count], known.labels[start : start + count])


def trained(kind: str, *, seed: int = 0, auxiliary: ImageSet | None = None) -> TrainedGenerator:
    images = auxiliary or part()
    shape = images.images.shape
    return train_generator(
        kind, images, private=(digits().private_train,), image_shape=(shape[1], shape[2], shape[3]), seed=seed
    )


def equal(one: TrainedGenerator, other: TrainedGenerator) -> bool:
    assert one.state.keys() == other.state.keys()
    return one.curve == other.curve and all(torch.equal(one.state[k], other.state[k]) for k in one.state)


def flat(generator: TrainedGenerator) -> Tensor:
    return torch.cat([value.flatten().float() for value in generator.state.values()])


# -------------------------------------------------------------------------------------- private images


@pytest.mark.parametrize("which", ["private_train", "private_test"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_private_image_is_refused_and_named(kind: str, which: str) -> None:
    splits, known = digits(), part()
    images = known.images.clone()
    images[37] = getattr(splits, which).images[123]
    with pytest.raises(BenchError, match=r"^\D*1 auxiliary\D*\b37\b"):
        train_generator(
            kind,
            ImageSet(images, known.labels),
            private=(splits.private_train, splits.private_test),
            image_shape=DIGITS,
            seed=0,
        )


def test_all_private_images_are_counted() -> None:
    private = part(10, start=100)
    images = torch.cat([part(5).images, private.images[3:6], part(5, start=20).images])
    mixed = ImageSet(images, torch.zeros(len(images), dtype=torch.int64))
    with pytest.raises(BenchError, match=r"3 auxiliary\D*\b5\b"):
        assert_disjoint(mixed, part(5, start=50), private)
    assert_disjoint(part(), digits().private_train, digits().private_test)


def test_the_layout_in_memory_hides_no_private_image() -> None:
    private = ImageSet(torch.rand(3, 3, 8, 8), torch.zeros(3))
    turned = private.images.contiguous(memory_format=torch.channels_last)
    with pytest.raises(BenchError, match="3 auxiliary"):
        assert_disjoint(ImageSet(turned, private.labels), private)


def test_private_images_are_looked_at_for_nothing_else() -> None:
    other = train_generator(
        "vae", part(), private=(part(9, start=900),), image_shape=DIGITS, seed=0
    )  # fmt: skip
    assert equal(other, trained("vae"))


# --------------------------------------------------------------------------------------- repeatability


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_and_the_global_random_state_stays(kind: str) -> None:
    before = torch.random.get_rng_state()
    first = trained(kind)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert equal(trained(kind), first)
    assert not torch.equal(flat(trained(kind, seed=1)), flat(first))


def test_labels_are_of_no_use_to_it() -> None:
    known = part()
    without = ImageSet(known.images, torch.zeros_like(known.labels))
    assert equal(trained("vae", auxiliary=without), trained("vae"))


def test_samples_depend_on_the_seed_alone() -> None:
    loaded = load_generator("vae", trained("vae").state, DIGITS)
    before = torch.random.get_rng_state()
    first = sample(loaded, 300, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.shape == (300, *DIGITS) and not first.requires_grad
    assert torch.equal(sample(loaded, 300, seed=0), first)
    assert not torch.equal(sample(loaded, 300, seed=1), first)


def test_samples_are_the_decoders_images_of_normal_latents() -> None:
    loaded = load_generator("vae", trained("vae").state, DIGITS)
    latents = torch.randn(300, LATENTS, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(sample(loaded, 300, seed=5), loaded.decoder(latents), rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize("shape", [DIGITS, (3, 32, 32), (3, 24, 40), (1, 28, 28), (3, 20, 9)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_generator_draws_images_of_the_shape(kind: str, shape: tuple[int, int, int]) -> None:
    images = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    state = trained(kind, auxiliary=ImageSet(images, torch.zeros(20, dtype=torch.int64))).state
    loaded = load_generator(kind, state, shape)
    found = sample(loaded, 7, seed=0)
    assert found.shape == (7, *shape) and found.min() >= 0 and found.max() <= 1
    assert loaded.latent_size == LATENTS
    assert (loaded.critic is None) == (kind == "vae")
    for network in filter(None, (loaded.decoder, loaded.critic)):
        assert not network.training and not any(value.requires_grad for value in network.parameters())
    if loaded.critic is not None:
        assert loaded.critic(found).shape == (7,)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_trained(kind: str) -> None:
    state = trained(kind).state
    loaded = load_generator(kind, state, DIGITS)
    networks = {"decoder": loaded.decoder, "critic": loaded.critic}
    found = {
        f"{name}.{key}": value
        for name, network in networks.items()
        if network is not None
        for key, value in network.state_dict().items()
    }
    assert found.keys() == state.keys(), "the encoder of an autoencoder is not kept"
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_the_decoder_of_a_gan_is_the_running_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, "wgan_gp", replace(SCHEDULES["wgan_gp"], steps=1))
    states = {}
    for decay in (1.0, 0.75, 0.0):
        monkeypatch.setattr(module, "AVERAGE", decay)
        states[decay] = trained("wgan_gp").state
    first, mixed, last = states.values()
    assert not torch.equal(first["decoder.body.1.weight"], last["decoder.body.1.weight"])
    for name, value in mixed.items():
        if name.startswith("critic") or not value.is_floating_point():
            assert torch.equal(value, last[name]), "only the decoder's weights are averaged"
        else:
            torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * last[name])


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_ends_with_the_last_step(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, kind, replace(SCHEDULES[kind], steps=30))
    curve = trained(kind).curve
    steps = [point["step"] for point in curve]
    assert len(curve) == module.CURVE_POINTS and steps == sorted(set(steps)) and steps[-1] == 30
    assert all(torch.tensor(point["loss"]).isfinite() for point in curve)


# ------------------------------------------------------------------------------------------- it learns


def test_the_autoencoders_loss_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, "vae", replace(SCHEDULES["vae"], steps=120, batch=32))
    curve = trained("vae", auxiliary=digits().auxiliary).curve
    assert curve[-1]["loss"] < curve[1]["loss"] < curve[0]["loss"] < 1024 * torch.tensor(2.0).log() * 1.1


def test_the_autoencoders_loss_is_the_bound_of_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropy of the pixels plus the divergence of the latents, per image, in nats."""
    monkeypatch.setitem(SCHEDULES, "vae", replace(SCHEDULES["vae"], steps=1, batch=16))

    def moments(self: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        still = 0 * images.flatten(1)[:, :LATENTS]
        return still + 2, still  # the divergence of N(2, 1) from N(0, 1) is 2 per latent

    def half(self: nn.Module, latents: Tensor) -> Tensor:
        return (0 * latents.sum(1) + 0 * sum(value.sum() for value in self.parameters()))[
            :, None, None, None
        ].expand(-1, *DIGITS)

    monkeypatch.setattr(module.Encoder, "forward", moments)
    monkeypatch.setattr(module.Decoder, "scores", half)
    (point,) = trained("vae").curve
    wanted = 1024 * torch.tensor(2.0).log().item() + 2 * LATENTS
    assert point["loss"] == pytest.approx(wanted, rel=1e-5)


def test_the_critic_learns_to_tell_images_from_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, "wgan_gp", replace(SCHEDULES["wgan_gp"], steps=20, critic_steps=2))
    loaded = load_generator("wgan_gp", trained("wgan_gp", auxiliary=digits().auxiliary).state, DIGITS)
    assert loaded.critic is not None
    noise = torch.rand(100, *DIGITS, generator=torch.Generator().manual_seed(0))
    real = digits().private_test.images[:100]
    higher = loaded.critic(real)[:, None] > loaded.critic(noise)
    assert higher.double().mean() > 0.95


@pytest.mark.parametrize("norm", [0.0, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_known(norm: float) -> None:
    """The gradient is the weight everywhere, so the penalty is ``(|w| - 1)^2`` wherever it is taken."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 1024, generator=generator)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1))
    critic[1].weight.data.copy_(norm * weight / weight.norm())
    real, fake = torch.rand(2, 6, *DIGITS, generator=generator)
    found = module._penalty(critic, real, fake, torch.rand(6, 1, 1, 1, generator=generator))
    assert found.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)
    found.backward()
    if norm == 3:
        torch.testing.assert_close(critic[1].weight.grad, 4 * weight / weight.norm(), rtol=1e-4, atol=1e-6)


def test_the_penalty_is_taken_between_the_images() -> None:
    seen: list[Tensor] = []

    class Watcher(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return images.flatten(1).square().sum(1)

    real, fake = torch.ones(3, *DIGITS), torch.zeros(3, *DIGITS)
    share = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    found = module._penalty(Watcher(), real, fake, share)
    assert torch.equal(seen[0], share.expand_as(real))
    norms = 2 * share.flatten() * 32  # the norm of 2x over 1,024 pixels
    assert found.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)


# --------------------------------------------------------------------------------------- it is refused


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_images_are_named(kind: str) -> None:
    with pytest.raises(BenchError, match=rf"generator {kind} .*\b16\b.*\b15\b"):
        trained(kind, auxiliary=part(15))
    trained(kind, auxiliary=part(16))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_diverged_is_an_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, kind, replace(SCHEDULES[kind], learning_rate=float("inf")))
    with pytest.raises(BenchError, match=f"generator {kind}.*diverged"):
        trained(kind)


def test_schedules_are_complete() -> None:
    assert set(KINDS) < set(SCHEDULES)
    for schedule in SCHEDULES.values():
        assert isinstance(schedule, Schedule)
        assert schedule.adversarial == (schedule.critic_steps > 0)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_trains_on_a_gpu_and_draws_there(kind: str) -> None:
    images = ImageSet(part().images.to("cuda"), part().labels.to("cuda"))
    found = trained(kind, auxiliary=images)
    assert all(value.isfinite().all() for value in found.state.values())
    generator = load_generator(kind, found.state, DIGITS)
    drawn = generator.decoder(torch.randn(3, LATENTS, generator=torch.Generator().manual_seed(0)).to("cuda"))
    assert drawn.device.type == "cuda" and drawn.shape == (3, *DIGITS) and drawn.isfinite().all()
