"""What the attacker on a network that is cut in two may see: gradients of its halves, its architecture."""

from __future__ import annotations

from bench.api.observation import GradientObservation
from bench.api.threat import Channel, ThreatModel
from bench.channels.shared.contract import Attacker
from bench.models.split import SplitModel
from bench.victims.releases import Release, Source
from bench.victims.split import build_split
from bench.victims.split_releases import CLIENT, SERVER, SplitLoss
from bench.victims.training import stream


def observe_weight_gradients(
    source: Source, release: Release, attacker: Attacker, channel: str
) -> GradientObservation:
    """Builds the observation of an attack on gradients of one half or of both.

    Args:
        source: both halves' weights and the training loss pass; what else a client keeps does not.
        release: only its gradients pass.
        attacker: see :class:`~bench.channels.shared.contract.Attacker`.
        channel: whose observation it is.
    """
    view, network = attacker.view(source.defense, source.batch_size), blank(source).requires_grad_(False)
    known = {k: v.to(source.device) for k, v in source.parameters.items() if k.startswith((CLIENT, SERVER))}
    return GradientObservation(
        threat=ThreatModel(
            channel=Channel(channel),
            adversary=attacker.adversary,
            batch_size=source.batch_size,
            auxiliary=attacker.receives_auxiliary(view),
            generator=attacker.generator is not None,
        ),
        model=network,
        parameters=known,
        per_victim_weights=False,
        gradients={name: release.sent[name].to(source.device) for name in known if name in release.sent},
        loss=SplitLoss(network),
        **attacker.common(source, view),
    )


def blank(source: Source) -> SplitModel:
    """The architecture with weights of its own, drawn apart from everything that the victim drew."""
    network = build_split(
        source.model,
        num_classes=source.num_classes,
        image_shape=source.image_shape,
        defense=source.defense,
    ).to(source.device)
    network.initialise(stream(source.seed, "blank weights", source.device))
    return network
