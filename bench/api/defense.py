"""The contract of a defense: hooks that run in training and at release alike."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.api.observation import Gradients


@dataclass(frozen=True, kw_only=True)
class HookContext:
    """What a hook may use besides its tensors.

    Attributes:
        generator: the source of the defense's randomness, on the device of the tensors.
        batch_size: images per release.
    """

    generator: torch.Generator
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class DefenseView:
    """An adaptive attacker's model of a defense: all that Kerckhoffs' principle gives away.

    Attributes:
        parameters: the defense's parameters by name.
        negative_log_likelihood: ``(candidate, observed) -> [N]``: -log p(observed | true gradient =
            candidate) in nats up to a constant, differentiable in the candidate; None where the defense has
            no density.
        transmitted: ``observed -> {name: bool [N, ...]}``: which entries of the release carry information;
            None where all do.
    """

    parameters: dict[str, object] = field(default_factory=dict)
    negative_log_likelihood: Callable[[Gradients, Gradients], Tensor] | None = None
    transmitted: Callable[[Gradients], Gradients] | None = None


class Defense(ABC):  # noqa: B024 - every hook has a default, a defense overrides those it needs
    """Base class of all defenses; strengths are keyword-only constructor arguments.

    Every hook is the identity by default. The victim is trained WITH its hooks and releases through the
    same hooks, so that the accuracy and the leak of one row belong to the same victim.
    """

    def model(self, model: nn.Module) -> nn.Module:
        """Changes the architecture before training (e.g. adds a bottleneck)."""
        return model

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        """Transforms what each client computes its gradient on.

        Args:
            images: ``[N, B, C, H, W]`` private batches of N clients, in [0, 1].
            labels: ``[N, B]`` int64.
            context: randomness and batch size.
        """
        return images, labels

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Transforms what leaves N clients in federated learning.

        Args:
            gradients: ``[N, ...]`` per parameter, each client's own; clients never mix.
            context: randomness and batch size.
        """
        return gradients

    def view(self) -> DefenseView | None:
        """What an adaptive attacker knows; None if there is nothing to adapt to."""
        return None
