"""What an attacker receives who may ask a released classifier, and has nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from bench.api.access import ModelAccess
from bench.api.errors import IncompatibleError
from bench.api.released import ModelObservation

Answers = Callable[[Tensor], Tensor]
"""``images [M, C, H, W] -> softmax scores [M, K]`` or ``-> classes int64 [M]``, without gradients."""


class Withheld(nn.Module):
    """Stands where a white-box attacker has the classifier; it has no weights and no answers."""

    def forward(self, images: Tensor) -> Tensor:
        """Refuses.

        Raises:
            IncompatibleError: always.
        """
        raise IncompatibleError("the attack goes through the classifier, and this attacker may only ask it")


@dataclass(frozen=True, kw_only=True)
class BlackBoxObservation(ModelObservation):
    """A released classifier that answers images and shows nothing of itself, attacked class by class.

    Attributes:
        access: ``score`` or ``label``.
        query: its answers to images of the attacker: softmax scores with access ``score``, classes with
            access ``label``. Every image that is asked is counted.
        model: refuses; not even the architecture is known.
    """

    access: ModelAccess
    query: Answers
    model: nn.Module = field(default_factory=Withheld)
