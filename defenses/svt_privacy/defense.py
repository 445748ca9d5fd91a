"""The sparse vector technique on an update (Li et al. 2019; Lyu, Su, Li 2017), as NVIDIA FLARE ships it."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext
from bench.engine.matching import flat

PASSES = 1000
"""After so many passes a client sends what is above the threshold by then."""


class SVTPrivacy(Defense):
    """Each client sends some entries whose noisy magnitude passes a noisy threshold, clamped and noised."""

    def __init__(
        self,
        *,
        noise_var: float = 0.1,
        epsilon: float = 0.1,
        fraction: float = 0.1,
        gamma: float = 1e-5,
        tau: float = 1e-6,
        learning_rate: float = 0.05,
    ) -> None:
        """Sets budgets, the share that is sent, the bound, the threshold and the rate of the step."""
        self.parameters: dict[str, object] = {
            "noise_var": noise_var, "epsilon": epsilon, "fraction": fraction, "gamma": gamma, "tau": tau,
            "learning_rate": learning_rate,
        }  # fmt: skip
        self.epsilon, self.fraction = epsilon, fraction
        self.bound, self.threshold = gamma / learning_rate, tau / learning_rate
        self.scale = 2 * self.bound / noise_var

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``clamp(v, gamma) + Lap(2 gamma / noise_var)`` where an entry was chosen, else 0."""
        entries = flat(gradients)
        values = entries.clamp(-self.bound, self.bound)
        # Drawn before the passes, whose number depends on the slowest client.
        noisy = values + self.scale * _laplace(entries, entries.shape[1], context)
        chosen = self._chosen(values.abs(), context)
        sent = torch.where(chosen, noisy, 0.0).split([v[0].numel() for v in gradients.values()], dim=1)
        return {name: row.reshape(v.shape) for (name, v), row in zip(gradients.items(), sent, strict=True)}

    def view(self) -> DefenseView | None:
        """The density of what was sent around a clamped candidate; which entries were is chance, almost."""
        return DefenseView(
            parameters=self.parameters,
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
            negative_log_likelihood=self._density,
        )

    def _chosen(self, size: Tensor, context: HookContext) -> Tensor:
        """Which entries ``[N, P]`` are sent: c draws with replacement from those above the threshold.

        Algorithm 7 of Lyu et al. for magnitudes in [0, gamma], with the budgets ``1 : (2c)^(2/3)`` of their
        Section 4.2; entries below the threshold are asked again until c are above it.
        """
        count = ceil(self.fraction * size.shape[1])
        first = self.epsilon / (1 + (2 * count) ** (2 / 3))
        level = self.threshold + self.bound / first * _laplace(size, 1, context)
        picks = torch.rand(
            len(size), count, generator=context.generator, device=size.device, dtype=torch.float64
        )
        above = torch.zeros_like(size, dtype=torch.bool)
        for _ in range(PASSES):
            missing = above.sum(1, keepdim=True) < count
            if not missing.any():
                break
            noise = 2 * count * self.bound / (self.epsilon - first) * _laplace(size, size.shape[1], context)
            above |= missing & ~(size + noise < level)  # what is no number is sent, too
        # The k-th of the m entries above the threshold, for uniform k.
        order = above.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        which = (picks * above.sum(1, keepdim=True)).long()
        return above & torch.zeros_like(above).scatter(1, order.gather(1, which), True)

    def _density(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """``sum |soft clamp(v) - sent| / scale`` over what was sent, in nats."""
        sent = flat(observed)
        values = flat({name: candidate[name] for name in observed})
        soft = values / (1 + values.abs() / self.bound)
        return ((soft - sent).abs() * (sent != 0)).sum(1) / self.scale


def _laplace(like: Tensor, width: int, context: HookContext) -> Tensor:
    """Unit Laplace noise ``[N, width]``, by the inverse of its distribution."""
    uniform = torch.rand(
        len(like), width, generator=context.generator, device=like.device, dtype=torch.float64
    )
    centred = (uniform - 0.5).clamp(-0.5 + 1e-15, 0.5)
    return (-centred.sign() * torch.log1p(-2 * centred.abs())).to(like)
