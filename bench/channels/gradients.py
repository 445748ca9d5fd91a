"""Federated learning: the gradients of one private batch; on a network that is cut in two, of both halves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import OF_IMAGES, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.observation import GradientObservation
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim


class GradientsChannel(ChannelKind):
    """See the module."""

    terms: ClassVar[Terms] = OF_IMAGES
    observes = "gradients of one private batch"
    federated = True
    public = "architecture, global weights, batch size, number of classes, image shape"

    def train(self, training: Training) -> Victim:
        """Federated SGD; SplitFed where the network is cut in two."""
        from bench.models.spec import parse_model
        from bench.victims.splitfed import train_splitfed
        from bench.victims.training import train_victim

        federated = train_victim if parse_model(training.model).cut is None else train_splitfed
        return federated(batch_size=training.batch_size, **training.shared)

    def release(self, source: Source) -> Release:
        """The gradients, through the defense."""
        from bench.models.spec import parse_model
        from bench.victims.releases import release_gradients
        from bench.victims.split_releases import CLIENT, SERVER
        from bench.victims.splitfed import release_weight_gradients

        if parse_model(source.model).cut is not None:
            return release_weight_gradients(source, halves=(CLIENT, SERVER))
        return release_gradients(source)

    def observe(self, source: Source, release: Release, attacker: Attacker) -> GradientObservation:
        """The gradients, the architecture and the global weights."""
        from bench.channels.shared.halves import observe_weight_gradients
        from bench.channels.shared.observe import observe_gradients
        from bench.models.spec import parse_model

        if parse_model(source.model).cut is not None:
            return observe_weight_gradients(source, release, attacker, "gradients")
        return observe_gradients(source, release, attacker)

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against its own original."""
        from bench.channels.shared.image_scores import image_scores

        return image_scores(scoring)


CHANNEL = GradientsChannel()
