"""Top-k with error feedback (Stich et al., NeurIPS 2018; as gradient accumulation Lin et al., ICLR 2018)."""

from __future__ import annotations

from bench.api import Defense, DefenseView, Gradients, HookContext
from bench.defenses.pruning.defense import Pruning
from bench.engine.matching import flat

WHOLE = "whole"


class TopK(Defense):
    """Each client sends the largest entries of its gradient and of all that it has not sent before."""

    def __init__(self, *, share: float = 0.1, scope: str = "whole", memory: bool = True) -> None:
        """Sets the share k / d that is sent, of what k are the largest, and whether the rest is kept."""
        self.share, self.scope, self.memory = share, scope, memory
        self._compressor = Pruning(ratio=1 - share)

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``p = m + g``; ``top_k(p)`` leaves, and ``m = p - top_k(p)`` stays (Algorithm 1)."""
        if not self.memory:
            return self._largest(gradients, context)
        kept = context.memory
        owed = {name: kept[name] + value if name in kept else value for name, value in gradients.items()}
        sent = self._largest(owed, context)
        kept |= {name: (value - sent[name]).detach() for name, value in owed.items()}
        return sent

    def view(self) -> DefenseView | None:
        """Zeros were not sent: an adaptive attacker matches the other entries only."""
        return DefenseView(
            parameters={"share": self.share, "scope": self.scope, "memory": self.memory},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
        )

    def _largest(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``top_k`` of each client's entries, all together or tensor by tensor."""
        if self.scope == "tensor":
            return self._compressor.gradients(gradients, context)
        rows = self._compressor.gradients({WHOLE: flat(gradients)}, context)[WHOLE]
        sizes = [value[0].numel() for value in gradients.values()]
        parts = zip(gradients.items(), rows.split(sizes, dim=1), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}
