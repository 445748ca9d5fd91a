"""Says that attackers can adapt, and tells them nothing."""

from bench.api import Defense, Gradients, HookContext


class HidesItself(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        return {name: value * (1 - self.scale / 2) for name, value in gradients.items()}
