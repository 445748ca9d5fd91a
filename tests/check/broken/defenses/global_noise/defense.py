"""Draws its noise from the global random state."""

import torch

from bench.api import Defense, DefenseView, Gradients, HookContext


class GlobalNoise(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        return {name: value + self.scale * torch.randn_like(value) for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
