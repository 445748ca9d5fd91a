"""Adds noise to what leaves first, and later none."""

import torch

from bench.api import Defense, DefenseView, Gradients, HookContext


class Tires(Defense):
    def __init__(self, *, sigma: float = 0.1) -> None:
        self.sigma = sigma
        self.calls = 0

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        self.calls += 1
        if self.calls > 40:
            return gradients
        return {
            name: value
            + self.sigma * torch.randn(value.shape, generator=context.generator, device=value.device)
            for name, value in gradients.items()
        }

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"sigma": self.sigma})
