"""Sends signs as g / |g|, which ReLU networks make 0 / 0."""

from bench.api import Defense, DefenseView, Gradients, HookContext


class DividesByZero(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        return {name: self.scale * value / value.abs() for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
