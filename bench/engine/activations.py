"""How well inputs explain the activations seen, image by image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from bench.api import SmashedObservation
from bench.api.defense import DefenseView
from bench.engine.minimisers.contract import BatchedObjective
from bench.engine.priors import total_variation
from bench.engine.transforms.transmission import ACTIVATIONS, transmission_gain


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Weights of the total variation of an image.

    Attributes:
        start: beside the relative error; it falls to zero with the square of the step.
        incomplete: beside the relative error of entries that were sent, if others were not; it stays.
        nats: beside a negative log-likelihood; it stays.
    """

    start: float
    incomplete: float
    nats: float


@dataclass(frozen=True)
class Features(BatchedObjective):
    """The squared error of the activations of M independent images, or a likelihood of them.

    Attributes:
        client: the client's half, inputs ``[M, *S] -> [M, *Z]``.
        seen: ``[M, *Z]``.
        view: what the adaptive attacker knows.
        sent: bool ``[M, *Z]``, entries that carry information; None where all do.
        gain: by which the defense multiplies the entries that it sends.
        tv: the weight of total variation that stays to the end, per image.
        tv_start: the weight that falls to zero with the square of the step.
    """

    client: nn.Module
    seen: Tensor
    view: DefenseView | None
    sent: Tensor | None
    gain: float
    tv: float
    tv_start: float

    def select(self, rows: Tensor) -> Self:
        """The same for some of the images."""
        return replace(self, seen=self.seen[rows], sent=None if self.sent is None else self.sent[rows])

    def match(self, activations: Tensor) -> Tensor:
        """``[M]``: -log p in nats where the defense has a density, else the error by the energy seen."""
        if self.view is not None and self.view.negative_log_likelihood is not None:
            # Every image as a release of its own: images are independent, so each has its own cost.
            return self.view.negative_log_likelihood(
                {ACTIVATIONS: activations[:, None]}, {ACTIVATIONS: self.seen[:, None]}
            )
        mine, seen = self.gain * activations, self.seen
        if self.sent is not None:
            mine, seen = mine * self.sent, seen * self.sent
        energy = seen.square().flatten(1).sum(1).clamp_min(torch.finfo(seen.dtype).tiny)
        return (mine - seen).square().flatten(1).sum(1) / energy

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        """Costs ``[M]`` of inputs ``[M, *S]``, and their gradients there."""
        leaf = point.detach().requires_grad_()
        with torch.enable_grad():
            roughness = total_variation(leaf)
            cost = self.match(self.client(leaf)) + self.tv * roughness
            led = cost + self.tv_start * share**2 * roughness
            (gradient,) = torch.autograd.grad(led.sum(), leaf)
        return cost.detach(), gradient


def features(seen: SmashedObservation, client: nn.Module, prior: Prior) -> Features:
    """The matching for all images of an observation, ``[N * B, *Z]``."""
    view, released = seen.defense, seen.activations
    flat = released.flatten(0, 1)
    if view is not None and view.negative_log_likelihood is not None:
        return Features(client, flat, view, None, 1.0, prior.nats, 0.0)
    if view is not None and view.transmitted is not None:
        sent = view.transmitted({ACTIVATIONS: released})[ACTIVATIONS].flatten(0, 1)
        return Features(
            client, flat, view, sent, transmission_gain(view, released), prior.incomplete, prior.start
        )
    return Features(client, flat, view, None, 1.0, 0.0, prior.start)
