"""Sends only the sign of every entry, and one scale for each tensor, with random flips."""

from __future__ import annotations

import torch

from bench.api import Defense, DefenseView, Gradients, HookContext


class MyDefense(Defense):
    """Each client sends sign(g) times the mean magnitude of its tensor; a sign may be flipped."""

    def __init__(self, *, flip: float = 0.1) -> None:
        """Sets the chance of a flip."""
        self.flip = flip

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """What N clients send, ``[N, ...]`` per parameter."""
        sent = {}
        for name, value in gradients.items():
            scale = value.flatten(1).abs().mean(1).view(-1, *[1] * (value.dim() - 1))
            chance = torch.rand(
                value.shape, generator=context.generator, device=value.device, dtype=value.dtype
            )
            sent[name] = value.sign() * scale * torch.where(chance < self.flip, -1.0, 1.0)
        return sent

    def view(self) -> DefenseView | None:
        """The chance of a flip; zeros carry no information."""
        return DefenseView(
            parameters={"flip": self.flip},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
        )
