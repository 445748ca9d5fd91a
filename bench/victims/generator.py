"""Training of an attacker's generative prior, on the auxiliary split alone.

Of a prior whose decoder was trained elsewhere it is the critic that is trained here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.api.dataset import ImageSet
from bench.api.errors import BenchError
from bench.api.generator import ImageGenerator
from bench.models.base import Shape
from bench.models.generators import LATENTS, Critic, Decoder, Encoder
from bench.models.synthetic_faces import LATENTS as FACE_LATENTS
from bench.models.synthetic_faces import SyntheticFaces
from bench.victims.rounds import in_rounds
from bench.victims.training import stream

CURVE_POINTS = 12
PENALTY = 10.0
"""Weight of the gradient penalty (Gulrajani et al. 2017, Eq. 3)."""
SAMPLES = 500
"""Drawn to measure a generator."""
AVERAGE = 0.995
"""Decay of the running average of a GAN's decoder, whose images vary less than those of the last step."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a generator is trained.

    Attributes:
        adversarial: as a Wasserstein GAN with gradient penalty; else as a variational autoencoder.
        steps: of the decoder.
        batch: images per step.
        learning_rate: of Adam; that of an autoencoder falls to zero.
        width: channels at half the image's resolution.
        critic_steps: per step of the decoder.
        critic_rate: the critic's learning rate over the decoder's; a faster critic needs fewer steps (two
            time scales, Heusel et al. 2017).
        shipped: the decoder comes trained, from a package; only the critic is trained, steps are its own.
    """

    adversarial: bool
    steps: int
    batch: int
    learning_rate: float
    width: int = 16
    critic_steps: int = 0
    critic_rate: float = 1.0
    shipped: bool = False


SCHEDULES: dict[str, Schedule] = {
    "wgan_gp": Schedule(
        adversarial=True, steps=1600, batch=32, learning_rate=5e-4, critic_steps=1, critic_rate=2.0
    ),
    "wgan_gp_short": Schedule(
        adversarial=True, steps=300, batch=32, learning_rate=5e-4, critic_steps=1, critic_rate=2.0
    ),
    "wgan_gp_long": Schedule(
        adversarial=True, steps=30_000, batch=64, learning_rate=2e-4, width=64, critic_steps=5
    ),
    "vae": Schedule(adversarial=False, steps=1500, batch=64, learning_rate=2e-3),
    "synthetic_faces": Schedule(
        adversarial=True,
        steps=300,
        batch=32,
        learning_rate=5e-4,
        critic_steps=1,
        critic_rate=2.0,
        shipped=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class TrainedGenerator:
    """A generator as it is stored.

    Attributes:
        state: weights and BatchNorm statistics, ``decoder.*`` and, of a GAN, ``critic.*``.
        curve: ``{"step", "loss"}`` along the training: the critic's estimate of the Wasserstein distance, or
            the evidence lower bound per image in nats, negated.
    """

    state: dict[str, Tensor]
    curve: list[dict[str, float]] = field(default_factory=list)


def assert_disjoint(auxiliary: ImageSet, *private: ImageSet) -> None:
    """Refuses an auxiliary split with an image that is private, by checksums of the pixels.

    Raises:
        BenchError: naming how many images, and the first.
    """
    secret = {digest for part in private for digest in _digests(part.images)}
    shared = [place for place, digest in enumerate(_digests(auxiliary.images)) if digest in secret]
    if shared:
        raise BenchError(
            f"{len(shared)} auxiliary image(s) are private images, the first is number {shared[0]}: a prior "
            "trained on them would know what it is to find out; make the data set's splits disjoint"
        )


def _digests(images: Tensor) -> Iterator[bytes]:
    for image in images.cpu().contiguous():
        yield hashlib.sha256(image.numpy().tobytes()).digest()


def train_generator(
    kind: str, auxiliary: ImageSet, *, private: tuple[ImageSet, ...], image_shape: Shape, seed: int
) -> TrainedGenerator:
    """Trains a generator on images that no victim has seen, on their device.

    Args:
        kind: a key of :data:`SCHEDULES`.
        auxiliary: the auxiliary split.
        private: images that must not be in it; they are looked at for nothing else.
        image_shape: (C, H, W), of any size.
        seed: of weights, batches and noise.

    Raises:
        BenchError: a private image is in the auxiliary split, there are fewer images than a batch, the
            training diverged, or the weights that a package ships are not on this machine.
    """
    schedule = SCHEDULES[kind]
    assert_disjoint(auxiliary, *private)
    if len(auxiliary) < schedule.batch:
        raise BenchError(
            f"generator {kind} needs at least {schedule.batch} auxiliary images, "
            f"the data set's split has {len(auxiliary)}"
        )
    train = _critical if schedule.shipped else _adversarial if schedule.adversarial else _variational
    result = train(schedule, auxiliary.images, image_shape, seed)
    if not all(bool(value.isfinite().all()) for value in result.state.values()):
        raise BenchError(f"generator {kind}: the training diverged, its weights are not finite")
    return result


def load_generator(kind: str, state: dict[str, Tensor], image_shape: Shape) -> ImageGenerator:
    """The generator as an attacker gets it, on the device of its state."""
    schedule, chance = SCHEDULES[kind], torch.Generator()
    width, foreign = schedule.width, schedule.shipped
    decoder = SyntheticFaces(image_shape) if foreign else Decoder.build(image_shape, width, chance)
    networks: dict[str, nn.Module] = {"decoder": decoder}
    if schedule.adversarial:
        networks["critic"] = Critic.build(image_shape, width, chance)
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(name)}
        network.load_state_dict(own)
        network.to(next(iter(own.values())).device).eval().requires_grad_(False)
    return ImageGenerator(latent_size=FACE_LATENTS if foreign else LATENTS, **networks)


@torch.no_grad()
def sample(generator: ImageGenerator, count: int, *, seed: int) -> Tensor:
    """Images ``[M, C, H, W]`` of latents from a standard normal."""
    device = next(generator.decoder.parameters()).device
    latents = torch.randn(count, generator.latent_size, generator=torch.Generator().manual_seed(seed))
    return torch.cat([generator.decoder(part) for part in latents.to(device).split(250)])


class _Chance:
    """Batches and noise of one seed."""

    def __init__(self, images: Tensor, batch: int, seed: int) -> None:
        self._images, self._batch = images, batch
        self._generator = stream(seed, "generator", images.device)

    def images(self) -> Tensor:
        shape = (self._batch,)
        device = self._images.device
        return self._images[torch.randint(len(self._images), shape, generator=self._generator, device=device)]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self._batch, *shape, generator=self._generator, device=self._images.device)

    def uniform(self) -> Tensor:
        return torch.rand(self._batch, 1, 1, 1, generator=self._generator, device=self._images.device)


def _adversarial(schedule: Schedule, images: Tensor, shape: Shape, seed: int) -> TrainedGenerator:
    """WGAN-GP: the critic's values of images and of the decoder's differ by the distance of the two."""
    weights = stream(seed, "generator weights", torch.device("cpu"))
    chance = _Chance(images, schedule.batch, seed)
    decoder = Decoder.build(shape, schedule.width, weights).to(images.device).train()
    critic = Critic.build(shape, schedule.width, weights).to(images.device).train()
    rate = schedule.learning_rate
    steps = torch.optim.Adam(decoder.parameters(), lr=rate, betas=(0.5, 0.9))
    faster = rate * schedule.critic_rate
    critic_steps = torch.optim.Adam(critic.parameters(), lr=faster, betas=(0.5, 0.9))
    average = {name: value.detach().clone() for name, value in decoder.state_dict().items()}
    curve, distance = [], torch.zeros(())
    for turn, _ in in_rounds(range(schedule.steps)):
        for _ in range(schedule.critic_steps):
            distance = _criticise(critic, critic_steps, decoder, chance, LATENTS)
        steps.zero_grad()
        (-critic(decoder(chance.normal(LATENTS))).mean()).backward()
        steps.step()
        _follow(average, decoder)
        if _noted(turn, schedule.steps):
            curve.append({"step": float(turn), "loss": distance.item()})
    state = {f"decoder.{name}": value for name, value in average.items()}
    state |= {f"critic.{name}": value.detach().clone() for name, value in critic.state_dict().items()}
    return TrainedGenerator(state=state, curve=curve)


def _critical(schedule: Schedule, images: Tensor, shape: Shape, seed: int) -> TrainedGenerator:
    """WGAN-GP's critic beside a decoder that stays as it came."""
    weights = stream(seed, "generator weights", torch.device("cpu"))
    chance = _Chance(images, schedule.batch, seed)
    decoder = SyntheticFaces.shipped(shape).to(images.device)
    critic = Critic.build(shape, schedule.width, weights).to(images.device).train()
    rate = schedule.learning_rate * schedule.critic_rate
    steps = torch.optim.Adam(critic.parameters(), lr=rate, betas=(0.5, 0.9))
    curve = []
    for turn, _ in in_rounds(range(schedule.steps)):
        distance = _criticise(critic, steps, decoder, chance, FACE_LATENTS)
        if _noted(turn, schedule.steps):
            curve.append({"step": float(turn), "loss": distance.item()})
    networks = {"decoder": decoder, "critic": critic}
    state = {
        f"{name}.{key}": value.detach().clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    return TrainedGenerator(state=state, curve=curve)


def _criticise(
    critic: nn.Module, steps: torch.optim.Optimizer, decoder: nn.Module, chance: _Chance, latents: int
) -> Tensor:
    """One step of the critic; returns its estimate of the distance before it."""
    real = chance.images()
    with torch.no_grad():
        fake = decoder(chance.normal(latents))
    distance: Tensor = critic(real).mean() - critic(fake).mean()
    penalty = _penalty(critic, real, fake, chance.uniform())
    steps.zero_grad()
    (PENALTY * penalty - distance).backward()
    steps.step()
    return distance


def _penalty(critic: nn.Module, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    between = torch.lerp(fake, real, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    gap: Tensor = gradient.flatten(1).norm(dim=1) - 1
    return gap.square().mean()


@torch.no_grad()
def _follow(average: dict[str, Tensor], network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - AVERAGE)
        else:
            average[name].copy_(value)


def _variational(schedule: Schedule, images: Tensor, shape: Shape, seed: int) -> TrainedGenerator:
    """VAE with a Bernoulli likelihood per pixel; only its decoder is kept."""
    weights = stream(seed, "generator weights", torch.device("cpu"))
    chance = _Chance(images, schedule.batch, seed)
    decoder = Decoder.build(shape, schedule.width, weights).to(images.device).train()
    encoder = Encoder.build(shape, schedule.width, weights).to(images.device).train()
    both = [*decoder.parameters(), *encoder.parameters()]
    steps = torch.optim.Adam(both, lr=schedule.learning_rate)
    falling = torch.optim.lr_scheduler.LinearLR(steps, 1.0, 0.02, total_iters=schedule.steps)
    curve = []
    for turn, _ in in_rounds(range(schedule.steps)):
        batch = chance.images()
        mean, log_variance = encoder(batch)
        latents = mean + chance.normal(LATENTS) * (log_variance / 2).exp()
        wrong = binary_cross_entropy_with_logits(decoder.scores(latents), batch, reduction="sum")
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
        loss = (wrong + divergence) / len(batch)
        steps.zero_grad()
        loss.backward()
        steps.step()
        falling.step()
        if _noted(turn, schedule.steps):
            curve.append({"step": float(turn), "loss": loss.item()})
    state = {f"decoder.{name}": value.detach().clone() for name, value in decoder.state_dict().items()}
    return TrainedGenerator(state=state, curve=curve)


def _noted(turn: int, steps: int) -> bool:
    return turn * CURVE_POINTS // steps > (turn - 1) * CURVE_POINTS // steps
