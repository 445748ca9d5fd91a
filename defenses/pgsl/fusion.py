"""Fusion of the streams: of their activations, and of their decisions (Sections IV-D and IV-E)."""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Streams(NamedTuple):
    """What each stream of the server says, ``[M, K]`` scores."""

    attacked: Tensor
    recovered: Tensor
    fused: Tensor


SHARES = {"attacked": 0.2, "recovered": 0.5, "fused": 0.3}
"""How far each stream is trusted before it is heard (Section IV-E)."""


class ConvolutionSum(nn.Module):
    """The fused activations conv([a, r]) + a (Eqs. 7, 8)."""

    def __init__(self, channels: int) -> None:
        """Builds a 3x3 convolution from both streams' channels to those of one."""
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def initialise(self, generator: torch.Generator) -> None:
        """Weights that keep the variance, and zero biases."""
        nn.init.kaiming_normal_(self.mix.weight, nonlinearity="linear", generator=generator)
        if self.mix.bias is not None:
            nn.init.zeros_(self.mix.bias)

    def forward(self, attacked: Tensor, recovered: Tensor) -> Tensor:
        """Activations ``[M, Z, h, w]`` of a and r."""
        mixed: Tensor = self.mix(torch.cat([attacked, recovered], dim=1))
        return mixed + attacked


def decision(streams: Streams) -> Tensor:
    """The adaptive weighted average of the softmax scores, as log-probabilities ``[M, K]`` (Eqs. 9-11).

    A stream's weight is its share times its own largest score, so that a stream that is sure counts more; the
    weights of an image sum to one.
    """
    logs = torch.stack([scores.log_softmax(1) for scores in streams])
    shares = logs.new_tensor([log(SHARES[name]) for name in Streams._fields])
    weights = (shares[:, None] + logs.amax(2)).log_softmax(0)
    return (weights[..., None] + logs).logsumexp(0)
