"""Federated learning whose server is the attacker: what clients compute on a model that it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import OF_IMAGES, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.broadcast import Broadcast
    from bench.api.cards import AttackCard
    from bench.api.dataset import Splits
    from bench.api.observation import GradientObservation
    from bench.victims.broadcast import ObedientClients
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim


class MaliciousChannel(ChannelKind):
    """See the module. Its tables stand apart: an honest server has nothing of this."""

    terms: ClassVar[Terms] = OF_IMAGES
    observes = "gradients of one private batch, of the network behind layers that the server adds"
    public = "architecture, global weights, batch size, number of classes, image shape"
    refuses_cut = "is cut in two, and a malicious server puts layers in front of whole networks"
    trains_as = "gradients"

    def train(self, training: Training) -> Victim:
        """As under an honest server: the attack begins when training is where the checkpoint says."""
        from bench.channels.gradients import CHANNEL as GRADIENTS

        return GRADIENTS.train(training)

    def release(self, source: Source) -> Release:
        """What an honest server would get, through the defense."""
        from bench.channels.gradients import CHANNEL as GRADIENTS

        return GRADIENTS.release(source)

    def session(
        self,
        source: Source,
        release: Release,
        card: AttackCard,
        *,
        initial: dict[str, Tensor],
        splits: Splits,
    ) -> ObedientClients | None:
        """The attacked clients, with the weights of the checkpoint; None for a blind guess."""
        from bench.api.threat import Access
        from bench.victims.broadcast import ObedientClients

        if card.access is not Access.ACTIVE:
            return None
        return ObedientClients(source, release.images.to(source.device), release.labels.to(source.device))

    def observe(self, source: Source, release: Release, attacker: Attacker) -> GradientObservation:
        """The clients to whom a model can be sent; nothing of what an honest server would get."""
        from dataclasses import replace

        from bench.api.threat import Channel
        from bench.channels.shared.observe import observe_gradients

        seen = observe_gradients(source, release, attacker)
        threat = replace(seen.threat, channel=Channel.MALICIOUS, access=attacker.card.access)
        return replace(
            seen,
            threat=threat,
            gradients={},
            statistics=None,
            session=cast("Broadcast | None", attacker.session),
        )

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against its own original."""
        from bench.channels.shared.image_scores import image_scores

        return image_scores(scoring)


CHANNEL = MaliciousChannel()
