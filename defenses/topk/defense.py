"""Top-k with error feedback (Stich et al., NeurIPS 2018; as gradient accumulation Lin et al., ICLR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Defense, DefenseView, Gradients, HookContext
from bench.defenses.pruning.defense import Pruning
from bench.engine.matching import flat


class TopK(Defense):
    """Each client sends the largest entries of its gradient and of all that it has not sent before."""

    def __init__(self, *, share: float = 0.1, scope: str = "whole", memory: bool = True) -> None:
        """Sets the share k / d that is sent, of what k are the largest, and whether the rest is kept."""
        self.share, self.scope, self.memory = share, scope, memory
        self._largest_of_each = Pruning(ratio=1 - share)

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """``p = m + g``; ``top_k(p)`` leaves, and ``m = p - top_k(p)`` stays (Algorithm 1)."""
        if not self.memory:
            return self._top_k(gradients, context)
        kept = context.memory
        whole = {name: kept[name] + value if name in kept else value for name, value in gradients.items()}
        sent = self._top_k(whole, context)
        kept |= {name: (value - sent[name]).detach() for name, value in whole.items()}
        return sent

    def view(self) -> DefenseView | None:
        """Zeros were not sent, and are no larger than the least that was.

        What clients remember is unknown: the attacker takes it for nothing, as it is at round 0.
        """
        return DefenseView(
            parameters={"share": self.share, "scope": self.scope, "memory": self.memory},
            transmitted=lambda observed: {name: value != 0 for name, value in observed.items()},
            transmit=self._below,
            compares_all=True,
        )

    def _top_k(self, gradients: Gradients, context: HookContext) -> Gradients:
        """The largest entries of each client, of all tensors together or of each."""
        if self.scope == "tensor":
            return self._largest_of_each.gradients(gradients, context)
        rows = self._largest_of_each.gradients({"whole": flat(gradients)}, context)["whole"]
        sizes = [value[0].numel() for value in gradients.values()]
        parts = zip(gradients.items(), rows.split(sizes, dim=1), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}

    def _below(self, candidate: Gradients, observed: Gradients) -> Gradients:
        """A candidate as it is where something was sent; elsewhere how far it is above the least."""
        least = {name: _least(value) for name, value in observed.items()}
        if self.scope == "whole":
            least = dict.fromkeys(observed, torch.stack(list(least.values())).amin(0))
        found = {}
        for name, sent in observed.items():
            value, bound = candidate[name], least[name].view(-1, *[1] * (sent.dim() - 1))
            found[name] = torch.where(sent != 0, value, value - value.clamp(-bound, bound))
        return found


def _least(sent: Tensor) -> Tensor:
    """The smallest magnitude ``[N]`` that was sent of a tensor ``[N, ...]``; infinite if nothing was."""
    size = sent.reshape(len(sent), -1).abs()
    return torch.where(size > 0, size, torch.inf).amin(1)
