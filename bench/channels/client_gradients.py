"""Split learning: the gradient of the client's weights on one private batch; all weights are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import OF_IMAGES, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.observation import GradientObservation
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim


class ClientGradientsChannel(ChannelKind):
    """See the module."""

    terms: ClassVar[Terms] = OF_IMAGES
    observes = "gradients of the client's half of one private batch"
    public = "architecture, weights of both halves, batch size, classes, image shape"
    needs_cut = True
    trains_as = "gradients"

    def train(self, training: Training) -> Victim:
        """As for the gradients of both halves."""
        from bench.channels.gradients import CHANNEL as GRADIENTS

        return GRADIENTS.train(training)

    def release(self, source: Source) -> Release:
        """The gradients of the client's half, through the defense."""
        from bench.victims.split_releases import CLIENT
        from bench.victims.splitfed import release_weight_gradients

        return release_weight_gradients(source, halves=(CLIENT,))

    def observe(self, source: Source, release: Release, attacker: Attacker) -> GradientObservation:
        """These gradients, and the weights of both halves."""
        from bench.channels.shared.halves import observe_weight_gradients

        return observe_weight_gradients(source, release, attacker, "client_gradients")

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against its own original."""
        from bench.channels.shared.image_scores import image_scores

        return image_scores(scoring)


CHANNEL = ClientGradientsChannel()
