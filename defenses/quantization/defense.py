"""QSGD (Alistarh et al., NeurIPS 2017), and signs with a mean magnitude (Bernstein et al., ICML 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from bench.api import Defense, DefenseView, Gradients, HookContext

ROUNDING = 1e-3
"""Share of the largest entry that may be float32's rounding; the finest of 127 levels is eight times that."""
TAIL = (1e-3, 0.5)
"""Smallest and largest likelihood below which the adaptive attacker's penalty is a straight line."""


class Quantization(Defense):
    """Each client sends, per bucket of a tensor, a scale and a few bits for every entry."""

    def __init__(self, *, bits: int = 4, norm: str = "l2", bucket: int = 0) -> None:
        """Sets the bits of an entry, sign included, the scale of its levels, and the size of a bucket."""
        self.bits, self.norm, self.bucket = bits, norm, bucket
        self.levels = 2 ** (bits - 1) - 1

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``Q_s(v)`` of each client's tensors ``[N, ...]`` (Section 3.1); one bit is ``sign(v) mean |v|``."""
        return {name: self._sent(value, context) for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        """Levels and scales are public: rounding has a likelihood, and signs are given one."""
        return DefenseView(
            parameters={"bits": self.bits, "norm": self.norm, "bucket": self.bucket},
            negative_log_likelihood=self._rounding if self.levels else _signs,
        )

    def _split(self, value: Tensor) -> Tensor:
        """Buckets ``[N, K, D]`` of a tensor ``[N, ...]``, the last one filled up with zeros."""
        rows = value.reshape(len(value), -1)
        size = self.bucket or rows.shape[1]
        found: Tensor = pad(rows, (0, -rows.shape[1] % size)).unflatten(1, (-1, size))
        return found

    def _sent(self, value: Tensor, context: HookContext) -> Tensor:
        buckets = self._split(value)
        size = buckets.abs()
        if self.levels:
            scale = size.norm(dim=2, keepdim=True) if self.norm == "l2" else size.amax(2, keepdim=True)
            place = self.levels * (size / scale.clamp_min(torch.finfo(scale.dtype).tiny))
            chance = torch.rand(size.shape, generator=context.generator, device=size.device, dtype=size.dtype)
            level = place.floor() + (chance < place - place.floor())
            sent = buckets.sign() * level * scale / self.levels
        else:
            mean = size.sum(2, keepdim=True) / self._split(torch.ones_like(value)).sum(2, keepdim=True)
            sent = torch.where(buckets < 0, -mean, mean)
        found: Tensor = sent.flatten(1)[:, : value[0].numel()].reshape(value.shape)
        return found

    def _rounding(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """``-sum log p(sent | v)``, where p is 1 - d for an entry that was sent as a level d steps from v.

        No v is rounded further than a step, so that the penalty goes on as a line from where p is half the
        mean level of the bucket: entries of few levels are mostly below one, and few are sent.
        """
        total = []
        for name, value in observed.items():
            sent = self._split(value)
            step = spacing(sent)
            least = ((sent.abs() / step).mean(2, keepdim=True) / 2).clamp(*TAIL)
            gap = ((self._split(candidate[name]) - sent) / step).abs()
            near = -(1 - torch.minimum(gap, 1 - least)).log()
            total.append((near + (gap - 1 + least).clamp_min(0) / least).flatten(1).sum(1))
        return torch.stack(total).sum(0)


def _signs(candidate: Gradients, observed: Gradients) -> Tensor:
    """``-sum log (1 + s tanh(v / m)) / 2``: soft signs s of a candidate v, at the scale m that was sent."""
    total = []
    for name, value in observed.items():
        scale = value.abs().clamp_min(torch.finfo(value.dtype).tiny)
        total.append(-logsigmoid(2 * value.sign() * candidate[name] / scale).reshape(len(value), -1).sum(1))
    return torch.stack(total).sum(0)


def spacing(sent: Tensor) -> Tensor:
    """The distance of two levels ``[N, K, 1]`` in buckets ``[N, K, D]``: what divides all entries (Euclid).

    It is sent beside the entries. Infinite where all entries are zero.
    """
    size = sent.abs()
    least = ROUNDING * size.amax(2, keepdim=True)
    step = torch.where(size > least, size, torch.inf).amin(2, keepdim=True)
    while True:
        rest = (size - step * (size / step).round()).abs()
        smaller = torch.where(rest > least, rest, torch.inf).amin(2, keepdim=True)
        if not (smaller < step).any():
            return step
        step = torch.minimum(step, smaller)
