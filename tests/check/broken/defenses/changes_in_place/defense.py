"""Scales the gradients that it was given."""

from bench.api import Defense, DefenseView, Gradients, HookContext


class ChangesInPlace(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        for value in gradients.values():
            value *= 1 - self.scale / 2
        return gradients

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
