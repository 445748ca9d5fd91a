"""The only thing an attack receives. What an attacker may not know has no field here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.api.gradients import BatchLoss, Gradients
from bench.api.threat import BatchNorm

if TYPE_CHECKING:
    from bench.api.broadcast import Broadcast
    from bench.api.dataset import ImageSet
    from bench.api.defense import DefenseView
    from bench.api.generator import ImageGenerator
    from bench.api.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class GradientObservation:
    """N releases of the channel ``gradients``: the update of one private batch each.

    The victim's loss is the mean cross-entropy over the B images of the batch, unless ``loss`` says
    otherwise; this is public, as are the architecture and the global weights that the server broadcast.

    Attributes:
        threat: the declared powers of this attacker.
        model: the architecture. Its own parameter values are meaningless: use ``parameters``.
        parameters: the global weights, one tensor per name, shared by all victims (``per_victim_weights``
            false) or with a leading dimension N.
        per_victim_weights: whether ``parameters`` carry a leading dimension N.
        gradients: what was released, ``[N, ...]`` per parameter; on networks that are cut in two perhaps of
            some parameters only.
        image_shape: (C, H, W).
        num_classes: K.
        ids: int64 ``[N]``, the attacker's own numbering of the releases. Random starts are drawn by it, so
            that a victim's result depends neither on its neighbours nor on their order.
        labels: ``[N, B]`` int64, only if ``threat.labels_known``.
        defense: the adaptive attacker's model of the defense; None for the naive one.
        auxiliary: images of the same distribution; only if ``threat.auxiliary``.
        generator: what draws images like those; only if ``threat.generator``.
        statistics: what the BatchNorm layers normalised by, by buffer name: ``[C]`` of all victims where
            ``threat.batch_norm`` is ``eval``, ``[N, C]`` of each where it is ``known``; else None.
        loss: how the loss depends on the weights, where it is not the cross-entropy of the model's scores.
        session: the attacked clients, of an attacker who is a malicious server; else None.
        pool: ``[P, C, H, W]``, a list that holds the private images, without labels; only for a bound, whose
            card says ``receives_pool``.
    """

    threat: ThreatModel
    model: nn.Module
    parameters: Mapping[str, Tensor]
    per_victim_weights: bool
    gradients: Gradients
    image_shape: tuple[int, int, int]
    num_classes: int
    ids: Tensor
    labels: Tensor | None = None
    defense: DefenseView | None = None
    auxiliary: ImageSet | None = None
    generator: ImageGenerator | None = None
    statistics: Mapping[str, Tensor] | None = None
    loss: BatchLoss | None = None
    session: Broadcast | None = None
    pool: Tensor | None = None

    @property
    def victims(self) -> int:
        """N, the number of independent releases."""
        return len(self.ids)

    @property
    def batch_size(self) -> int:
        """B, the number of images in each release."""
        return self.threat.batch_size

    @property
    def reference(self) -> Tensor:
        """Any tensor of the release, or of the weights where there is none: the attack's dtype and device."""
        return next(iter((self.gradients or self.parameters).values()))

    def select(self, victims: Tensor) -> GradientObservation:
        """The observation of some of the victims, in the order given; a session goes on with all of them.

        Args:
            victims: int64 ``[M]`` indices into N.
        """
        own, known = self.per_victim_weights, self.statistics
        if known is not None and self.threat.batch_norm is BatchNorm.KNOWN:
            known = {k: v[victims] for k, v in known.items()}
        return replace(
            self,
            parameters={k: v[victims] for k, v in self.parameters.items()} if own else self.parameters,
            gradients={k: v[victims] for k, v in self.gradients.items()},
            ids=self.ids[victims],
            labels=None if self.labels is None else self.labels[victims],
            statistics=known,
        )
