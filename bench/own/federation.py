"""What the clients of a federation compute and send, with a network of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call

from bench.api.attack import Reconstruction
from bench.api.defense import Clients, HookContext
from bench.api.gradients import BatchLoss, Gradients
from bench.api.threat import BatchNorm, LocalTraining
from bench.engine.gradients import GradientMap, gradient_map, one_hot
from bench.engine.normalisation import evaluating, own_statistics, running_statistics, threat_of
from bench.engine.transforms.local import MOST_STEPS
from bench.own.attempts import explained_share
from bench.own.choose import ChosenDefense
from bench.own.network import OwnNetwork, gives_probabilities
from bench.victims.clients import soft_cross_entropy
from bench.victims.training import stream

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(scores [B, K], targets [B, K] probabilities) -> scalar``: what clients minimise."""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What the clients compute.

    Attributes:
        network: their network.
        loss: of a batch; None: the cross-entropy.
        local: their steps, where they are more than one.
        defense: what they do about it.
        batch_size: B.
        seed: of the defense's randomness.
    """

    network: OwnNetwork
    loss: Loss | None
    local: LocalTraining | None
    defense: ChosenDefense
    batch_size: int
    seed: int

    @property
    def batch_norm(self) -> BatchNorm:
        """What the network normalises by."""
        return threat_of(self.network.model, shared=False)

    @property
    def limits(self) -> tuple[str, ...]:
        """What makes its attackers weaker than they could be, or its numbers odd."""
        limits = []
        if self.local is not None and self.local.steps(self.batch_size) > MOST_STEPS:
            limits.append(
                f"attackers simulate up to {MOST_STEPS} local steps; more, as here, are taken for one "
                "gradient, so that less is found than could be"
            )
        if self.loss is None and gives_probabilities(self.network):
            limits.append(
                "the model returns probabilities, of which the cross-entropy takes a softmax again: return "
                "the scores before it, or give the loss that clients use"
            )
        return tuple(limits)

    @property
    def statistics(self) -> dict[str, Tensor] | None:
        """Public ones, by which BatchNorm layers in evaluation mode normalise."""
        return running_statistics(self.network.model) if self.batch_norm is BatchNorm.EVAL else None

    def batch_loss(self) -> BatchLoss | None:
        """The loss as the engine takes it; None for the cross-entropy of the scores."""
        if (loss := self.loss) is None:
            return None
        fixed, model = self.statistics or {}, self.network.model
        network = own_statistics(model if self.statistics is None else evaluating(model))

        def of_batch(
            weights: Mapping[str, Tensor], still: Mapping[str, Tensor], images: Tensor, targets: Tensor
        ) -> Tensor:
            return loss(functional_call(network, {**still, **weights, **fixed}, (images,)), targets)

        return of_batch

    def gradient_map(self) -> GradientMap:
        """What clients send, as a function of their batches."""
        return gradient_map(
            self.network.model,
            self.network.parameters,
            per_victim_weights=False,
            loss=soft_cross_entropy,
            statistics=self.statistics,
            batch_loss=self.batch_loss(),
            names=self.network.trained,
            local=self.local,
        )

    def release(self, images: Tensor, labels: Tensor) -> Gradients:
        """What N clients send of batches ``[N, B, C, H, W]``, through the defense."""
        hooks = self.defense.defense
        context = HookContext(
            generator=stream(self.seed, "release noise", images.device), batch_size=self.batch_size
        )
        seen, named = hooks.inputs(images, labels, context)
        clients = Clients(
            model=self.network.model, weights=self.network.parameters, images=seen, labels=named,
            gradients=self._gradients, local=self.local,
        )  # fmt: skip
        sent = hooks.gradients(self._gradients(seen, named), replace(context, clients=clients))
        return {name: value.detach() for name, value in sent.items()}

    def _gradients(self, images: Tensor, labels: Tensor) -> Gradients:
        """What clients would send of batches ``[N, B, ...]`` without a defense's last hook."""
        return self.gradient_map()(images, one_hot(labels, self.network.num_classes))

    def evaluation(self, releases: int) -> Callable[[], object]:
        """One evaluation of a search for all releases: the gradient of a distance of gradients."""
        shape = (releases, self.batch_size, *self.network.image_shape)

        def evaluate() -> object:
            images = torch.full(shape, 0.5, device=self.network.device, requires_grad=True)
            targets = images.new_full((*shape[:2], self.network.num_classes), 1 / self.network.num_classes)
            sent = self.gradient_map()(images, targets)
            energy = torch.stack([value.square().sum() for value in sent.values()]).sum()
            return torch.autograd.grad(energy, images)

        return evaluate

    def explained(self, released: Gradients) -> Callable[[Reconstruction], float]:
        """How much of what was released a reconstruction would have released itself."""
        classes = self.network.num_classes

        def share(found: Reconstruction) -> float:
            shape = found.images.shape[:2]
            unknown = torch.full(shape, -1, device=found.images.device)
            labels = unknown if found.labels is None else found.labels
            return explained_share(
                dict(released), dict(self.gradient_map()(found.images, one_hot(labels, classes)))
            )

        return share
