"""What the attacker of a federation may see: gradients, the global weights, and how clients normalised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api.gradients import Gradients
from bench.api.observation import GradientObservation
from bench.api.threat import BatchNorm, Channel, ThreatModel
from bench.channels.shared.contract import Attacker
from bench.engine.normalisation import running_statistics, threat_of
from bench.metrics.pool import by_digest, others, pool_of
from bench.models.build import build_model, schedule_of
from bench.victims.releases import Release, Source


def split_gradients_and_statistics(
    sent: Gradients, network: nn.Module, *, shared: bool
) -> tuple[BatchNorm, Gradients, Gradients | None]:
    """How the clients normalised, the gradients among what they sent, and known BatchNorm statistics.

    Args:
        sent: everything that left, by name.
        network: the defended architecture, in the mode in which clients use it.
        shared: whether clients send the statistics of their batch along.
    """
    mode, weights = threat_of(network, shared=shared), dict(network.named_parameters())
    gradients = {name: value for name, value in sent.items() if name in weights}
    if mode is BatchNorm.EVAL:
        return mode, gradients, running_statistics(network)
    own = {name: value for name, value in sent.items() if name not in weights}
    return mode, gradients, own or None


def observe_gradients(source: Source, release: Release, attacker: Attacker) -> GradientObservation:
    """Builds the observation of an attack on gradients.

    Args:
        source: only the architecture and the global weights pass; the defense is seen through its view, and
            by the adaptive attacker only; its changes of the architecture are public.
        release: only what left passes: its gradients, and statistics that clients sent along.
        attacker: see :class:`~bench.channels.shared.contract.Attacker`.
    """
    defense, device, view = source.defense, source.device, attacker.view(source.defense, source.batch_size)
    plain = build_model(source.model, num_classes=source.num_classes, image_shape=source.image_shape)
    network = defense.model(plain).to(device)
    sent = {name: value.to(device) for name, value in release.sent.items()}
    mode, gradients, statistics = split_gradients_and_statistics(
        sent, network, shared=plain.shares_statistics
    )
    local = schedule_of(source.model).local
    return GradientObservation(
        threat=ThreatModel(
            channel=Channel.GRADIENTS,
            adversary=attacker.adversary,
            batch_size=source.batch_size,
            auxiliary=attacker.receives_auxiliary(view),
            generator=attacker.generator is not None,
            batch_norm=mode,
            local=local if local.steps(source.batch_size) > 1 else None,
        ),
        model=network,
        parameters={name: value.to(device) for name, value in source.parameters.items()},
        per_victim_weights=False,
        gradients=gradients,
        statistics=statistics,
        **attacker.common(source, view),
    )


def candidate_pool(source: Source, release: Release) -> Tensor:
    """The list ``[P, C, H, W]`` that a bound is given: the released images among the distractors.

    They come in the order of a digest of their pixels, which tells nothing of who released what.
    """
    images = source.private.images
    drawn = pool_of(images, seed=source.seed)
    rows = torch.cat([release.indices.flatten().cpu(), drawn[others(drawn, release.indices)]])
    return by_digest(images[rows.to(images.device)]).to(source.device)
