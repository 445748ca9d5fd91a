"""Declares a strength, and sends what was computed."""

from bench.api import Defense, DefenseView


class DoesNothing(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
