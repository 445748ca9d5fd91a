"""Differentially private SGD (Abadi et al., CCS 2016), with clients who trust no server."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from bench.api import (
    Clients,
    Defense,
    DefenseView,
    Gradients,
    HookContext,
    ImageSet,
    IncompatibleError,
)
from bench.defenses.dpsgd.accountant import epsilon
from bench.defenses.dpsgd.bound import psnr_without_prior, recovered_at_most
from bench.engine.normalisation import batch_norms, by_batch

SHOWN = 1000
"""Test images that the bound is averaged over, at most."""


class DPSGD(Defense):
    """Each client clips the gradient of each of its images, and adds Gaussian noise to their mean.

    Algorithm 1: ``g_b / max(1, |g_b| / C)`` over all trained weights together, and with B images
    ``(sum_b clip(g_b) + N(0, (z C)^2 I)) / B``, where z is the noise multiplier.
    """

    def __init__(self, *, noise_multiplier: float = 0.1, clip_norm: float = 1.0) -> None:
        """Sets z and C."""
        self.noise_multiplier = noise_multiplier
        self.clip_norm = clip_norm

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """What N clients send, ``[N, ...]`` per parameter.

        Raises:
            IncompatibleError: what a client has at hand is not the mean of gradients of single images.
        """
        size, clients = context.batch_size, context.clients
        if clients is not None:
            _check(clients)
        if size == 1:
            mean = clipped(gradients, self.clip_norm)
        else:
            assert clients is not None, "a mean does not tell the gradients of its images"
            each = {name: value.flatten(0, 1) for name, value in clients.of_examples().items()}
            short = clipped(each, self.clip_norm)
            mean = {name: value.unflatten(0, (-1, size)).mean(1) for name, value in short.items()}
        sigma = self.noise_multiplier * self.clip_norm / size
        return {name: value + sigma * _unit(value, context) for name, value in mean.items()}

    def view_of(self, batch_size: int) -> DefenseView | None:
        """A candidate is clipped as clients clip, and is the mean of a Gaussian of known deviation.

        For B > 1 the search has the mean of the candidates' gradients alone, which is clipped as a whole:
        as with clients, nothing longer than C is sent.
        """
        sigma = self.noise_multiplier * self.clip_norm / batch_size
        return DefenseView(
            parameters={"noise_multiplier": self.noise_multiplier, "clip_norm": self.clip_norm},
            negative_log_likelihood=partial(_gaussian, sigma=sigma) if sigma else None,
            transmit=lambda candidate, observed: clipped(candidate, self.clip_norm),
        )

    def view(self) -> DefenseView | None:
        """The same for B = 1."""
        return self.view_of(1)

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """What is guaranteed: epsilons of the training (see the card), and bounds on one release.

        Of attackers without a prior the PSNR of images like these, see :func:`psnr_without_prior`; of all
        attackers the share of private images that they find in the list of them.
        """
        if (done := context.federated) is None or not self.noise_multiplier:
            return {}
        z, per_round = self.noise_multiplier, done.clients * done.batch_size
        averaged = z * math.sqrt(done.clients)
        return {
            "epsilon_server": epsilon(z, steps=done.releases_of_one),
            "epsilon_model": epsilon(averaged, steps=done.rounds, rate=per_round / done.images),
            "epsilon_model_in_passes": epsilon(averaged, steps=done.rounds_of_one),
            "psnr_without_prior": psnr_without_prior(test.images[:SHOWN], z).mean().item(),
            "recovered_at_most": recovered_at_most(z, pool=done.images),
        }


def clipped(gradients: Gradients, norm: float) -> Gradients:
    """Gradients ``[N, ...]`` per parameter, each scaled down to a norm over all parameters together."""
    energy = torch.stack([value.reshape(len(value), -1).square().sum(1) for value in gradients.values()])
    # The root of zero has no derivative.
    scale = (norm / energy.sum(0).clamp_min(norm**2).sqrt()).clamp_max(1)
    return {name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}


def _check(clients: Clients) -> None:
    if clients.local is not None:
        raise IncompatibleError("dpsgd clips the gradients of single images, and local steps send none")
    if getattr(clients.model, "shares_statistics", False):
        raise IncompatibleError("dpsgd adds no noise to the BatchNorm statistics that these clients send")
    mixing = any(by_batch(layer) for layer in batch_norms(clients.model).values())
    if mixing and clients.labels.shape[1] > 1:
        raise IncompatibleError(
            "BatchNorm by the client's own batch mixes its images: none has a gradient of its own to be "
            "clipped (norm=group has)"
        )


def _unit(like: Tensor, context: HookContext) -> Tensor:
    return torch.randn(like.shape, generator=context.generator, device=like.device, dtype=like.dtype)


def _gaussian(candidate: Gradients, observed: Gradients, *, sigma: float) -> Tensor:
    """``|observed - candidate|^2 / (2 sigma^2)`` in nats, ``[N]``."""
    gaps = (candidate[name] - observed[name] for name in candidate)
    return torch.stack([gap.reshape(len(gap), -1).square().sum(1) for gap in gaps]).sum(0) / (2 * sigma**2)
