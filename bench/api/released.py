"""What an attacker on a released classifier receives: the network, and which classes it is after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.api.defense import DefenseView
    from bench.api.generator import ImageGenerator
    from bench.api.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class ModelObservation:
    """One release of the channel ``model``, attacked class by class.

    Attributes:
        threat: the declared powers of this attacker; its ``batch_size`` is B, the images to rebuild of each
            class.
        model: the released classifier with its weights, images ``[M, C, H, W]`` -> scores ``[M, K]``; in
            evaluation mode, without gradients for its weights.
        targets: int64 ``[N]``, the classes.
        image_shape: (C, H, W).
        num_classes: K.
        ids: int64 ``[N]``, the attacker's own numbering of the classes; random starts are drawn by it.
        generator: what draws images like the private ones; only if ``threat.generator``.
        images: images ``[M, C, H, W]`` of the same distribution, disjoint from all private ones and without
            labels, since with labels an attacker would need no victim to know what a class looks like; only
            if ``threat.auxiliary``.
        defense: the adaptive attacker's model of the defense; None for the naive one.
    """

    threat: ThreatModel
    model: nn.Module
    targets: Tensor
    image_shape: tuple[int, int, int]
    num_classes: int
    ids: Tensor
    generator: ImageGenerator | None = None
    images: Tensor | None = None
    defense: DefenseView | None = None

    @property
    def victims(self) -> int:
        """N, the number of classes."""
        return self.targets.shape[0]

    @property
    def batch_size(self) -> int:
        """B, the number of images of each class."""
        return self.threat.batch_size

    def select(self, victims: Tensor) -> ModelObservation:
        """The observation of some of the classes, in the order given.

        Args:
            victims: int64 ``[M]`` indices into N.
        """
        return replace(self, targets=self.targets[victims], ids=self.ids[victims])
