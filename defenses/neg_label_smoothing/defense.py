"""Label smoothing, negative or positive (Struppek, Hintersdorf, Kersting, ICLR 2024)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from bench.api import Defense, HookContext

START, END = 0.5, 0.75
"""Between these shares of the training the labels change: epochs 50 and 75 of the published 100."""


class NegativeLabelSmoothing(Defense):
    """The classifier unlearns, late in its training, what its other scores say."""

    def __init__(self, *, smoothing: float = 0.05) -> None:
        """Sets the amount of negative smoothing, -alpha; below zero it is positive smoothing, a control."""
        self.smoothing = smoothing

    def alpha(self, progress: float) -> float:
        """The smoothing factor at a share of the training that is over: positive ones need no ramp."""
        if self.smoothing < 0:
            return -self.smoothing
        return -self.smoothing * min(1.0, max(0.0, (progress - START) / (END - START)))

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """Cross-entropy with the targets ``(1 - alpha) * one_hot + alpha / K`` (Eq. 1).

        They sum to one. Where those of other classes are negative, the loss has no lower bound.
        """
        scores: Tensor = model(images)
        alpha, classes = self.alpha(context.progress), scores.shape[1]
        targets = (1 - alpha) * one_hot(labels, classes).to(scores.dtype) + alpha / classes
        return cross_entropy(scores, targets)
