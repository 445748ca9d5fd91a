"""Clips by the norm of all clients together."""

import torch

from bench.api import Defense, DefenseView, Gradients, HookContext


class MixesClients(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        norm = torch.stack([value.square().sum() for value in gradients.values()]).sum().sqrt()
        return {name: value * (1 - self.scale / 2) / norm for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
