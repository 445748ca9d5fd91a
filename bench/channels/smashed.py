"""Split learning: the activations of the client's layers on one private batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import OF_IMAGES, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.cards import AttackCard
    from bench.api.dataset import Splits
    from bench.api.smashed import Query, Received, Session, SmashedObservation
    from bench.models.split import ClientHalf, SplitModel
    from bench.victims.releases import Release, Source
    from bench.victims.session import HijackedTraining
    from bench.victims.training import Victim


class SmashedChannel(ChannelKind):
    """See the module. What passes depends on the attacker's access to the client's half."""

    terms: ClassVar[Terms] = OF_IMAGES
    observes = "activations at the cut (smashed data) of one private batch"
    public = "architecture, the server's half, batch size, number of classes, image shape"
    needs_cut = True
    gives_labels = True

    def train(self, training: Training) -> Victim:
        """Clients and a server in turn, only two tensors pass the cut."""
        from bench.victims.split import train_split

        return train_split(**training.shared)

    def release(self, source: Source) -> Release:
        """The activations, through the defense."""
        from bench.victims.split_releases import release_activations

        return release_activations(source)

    def session(
        self,
        source: Source,
        release: Release,
        card: AttackCard,
        *,
        initial: dict[str, Tensor],
        splits: Splits,
    ) -> HijackedTraining | None:
        """The clients of an active attacker, at round 0; None for a passive one."""
        from dataclasses import replace

        from bench.api.threat import Access
        from bench.victims.session import HijackedTraining
        from bench.victims.split import split_schedule
        from bench.victims.split_releases import loaded

        if card.access is not Access.ACTIVE:
            return None
        schedule = split_schedule(source.model)
        return HijackedTraining(
            loaded(replace(source, parameters=initial)),
            private=splits.private_train,
            test=splits.private_test,
            attacked=(release.images, release.labels),
            defense=source.defense,
            rate=schedule.learning_rate,
            batch_size=schedule.images_per_round,
            seed=source.seed,
        )

    def observe(self, source: Source, release: Release, attacker: Attacker) -> SmashedObservation:
        """Builds the observation of an attack on activations.

        Args:
            source: the server's half passes, the client's half only as far as the access goes.
            release: its activations pass, and to an attack whose card asks for them its labels, which the
                server has by the protocol, since it computes the loss.
            attacker: its session passes only with access ``active``.
        """
        import copy

        from bench.api.smashed import SmashedObservation
        from bench.api.threat import Access, Channel, ThreatModel
        from bench.channels.shared.halves import blank
        from bench.engine.transforms.transmission import ACTIVATIONS
        from bench.victims.split_releases import loaded

        card, view = attacker.card, attacker.view(source.defense, source.batch_size)
        network = loaded(source).requires_grad_(False)
        half = _half(network, source)
        return SmashedObservation(
            threat=ThreatModel(
                channel=Channel.SMASHED,
                adversary=attacker.adversary,
                batch_size=source.batch_size,
                labels_known=card.needs_labels,
                auxiliary=attacker.receives_auxiliary(view),
                access=card.access,
                generator=attacker.generator is not None,
            ),
            activations=release.sent[ACTIVATIONS].to(source.device),
            model=blank(source),
            server=copy.deepcopy(network.server),
            client=half if card.access is Access.WEIGHTS else None,
            query=_black_box(half) if card.access is Access.QUERY else None,
            received=_received(source, card) if card.access is Access.PASSIVE else None,
            session=cast("Session | None", attacker.session) if card.access is Access.ACTIVE else None,
            labels=release.labels.to(source.device) if card.needs_labels else None,
            **attacker.common(source, view),
        )

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against its own original."""
        from bench.channels.shared.image_scores import image_scores

        return image_scores(scoring)


def _half(network: SplitModel, source: Source) -> ClientHalf:
    """The client's half alone: what else a client keeps, such as a helper of its own, is blank in it."""
    from bench.channels.shared.halves import blank
    from bench.models.split import ClientHalf

    shell = blank(source)
    shell.client.load_state_dict(network.client.state_dict())
    return ClientHalf(shell.requires_grad_(False), source.image_shape)


def _received(source: Source, card: AttackCard) -> Received | None:
    """What an honest server has of other batches; their labels only where the card asks for labels."""
    from dataclasses import replace

    from bench.victims.split_releases import received_activations

    found = received_activations(source)
    return found if found is None or card.needs_labels else replace(found, labels=None)


def _black_box(half: ClientHalf) -> Query:
    import torch

    @torch.no_grad()
    def query(inputs: Tensor) -> Tensor:
        answers: Tensor = half(inputs)
        return answers

    return query


CHANNEL = SmashedChannel()
