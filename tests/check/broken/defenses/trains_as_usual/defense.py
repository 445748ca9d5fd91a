"""Declares a strength, and lets the owner train the undefended classifier."""

from bench.api import Defense, DefenseView


class TrainsAsUsual(Defense):
    def __init__(self, *, scale: float = 0.5) -> None:
        self.scale = scale

    def view(self) -> DefenseView | None:
        return DefenseView(parameters={"scale": self.scale})
