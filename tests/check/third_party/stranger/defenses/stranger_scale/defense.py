"""Sends half of every gradient."""

from bench.api import Defense, DefenseView, Gradients, HookContext


class StrangerScale(Defense):
    """Scales what leaves."""

    def __init__(self, *, factor: float = 0.5) -> None:
        self.factor = factor

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Each entry times the factor."""
        return {name: self.factor * value for name, value in gradients.items()}

    def view(self) -> DefenseView | None:
        """The factor."""
        return DefenseView(parameters={"factor": self.factor})
