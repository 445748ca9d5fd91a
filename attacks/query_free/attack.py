"""Query-free inversion (He, Zhang, Lee, ACSAC 2019): a shadow of the client, then its inversion."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bench.api import (
    DefenseView,
    ImageSet,
    Imitation,
    IncompatibleError,
    Reconstruction,
    SmashedAttack,
    SmashedObservation,
)
from bench.attacks.query_free.matching import matching
from bench.engine import total_variation
from bench.engine.transforms.restoration import Restoration
from bench.models.split import ClientHalf


class QueryFree(SmashedAttack):
    """Trains a client's half that serves the frozen server's half, and inverts the releases through it."""

    def __init__(
        self,
        *,
        shadow_share: float = 0.5,
        restoration_share: float = 0.2,
        shadow_rate: float = 1e-3,
        batch: int = 32,
        learning_rate: float = 3e-2,
        tv: float = 1.0,
    ) -> None:
        """Sets the shadow's training, and the rate and the prior of the inversion."""
        self.shadow_share = shadow_share
        self.restoration_share = restoration_share
        self.shadow_rate = shadow_rate
        self.batch = batch
        self.learning_rate = learning_rate
        self.tv = tv

    def reconstruct(self, observation: SmashedObservation, *, budget: int, seed: int) -> Reconstruction:
        """A share of the budget trains the shadow; what is left inverts all releases at once.

        Under a transform of the inputs another share trains the network that undoes it.

        Raises:
            IncompatibleError: there are no auxiliary images.
        """
        if observation.auxiliary is None:
            raise IncompatibleError("the shadow client is trained on auxiliary images")
        imitation = _imitation(observation, observation.auxiliary, seed)
        shadow = ClientHalf.drawn(
            observation.model, observation.image_shape, seed=seed, device=observation.activations.device
        )
        training = int(self.shadow_share * budget)
        restoring = min(int(self.restoration_share * budget), budget - training) if imitation else 0
        self._train(shadow, observation, observation.auxiliary, imitation, steps=training, seed=seed)
        shadow.requires_grad_(False)
        steps = budget - training - restoring
        images, cost = self._invert(shadow, observation, imitation, steps=steps)
        if imitation:
            restore = Restoration(steps=restoring)
            images = restore(images, imitation, observation.auxiliary, seed=seed)
        evaluations = torch.full(images.shape[:1], budget, device=images.device)
        return Reconstruction(images=images, cost=cost, evaluations=evaluations)

    def _train(
        self,
        shadow: nn.Module,
        observation: SmashedObservation,
        auxiliary: ImageSet,
        imitation: Imitation | None,
        *,
        steps: int,
        seed: int,
    ) -> None:
        """Cross-entropy of the server's decision on the shadow's activations, through the defense."""
        device = observation.activations.device
        generator = torch.Generator().manual_seed(seed)
        server = copy.deepcopy(observation.server).requires_grad_(False)
        optimiser = torch.optim.Adam(shadow.parameters(), lr=self.shadow_rate)
        for _ in range(steps):
            index = torch.randint(len(auxiliary), (self.batch,), generator=generator)
            images, labels = auxiliary.images[index].to(device), auxiliary.labels[index].to(device)
            inputs = imitation.inputs(images, labels) if imitation else images
            sent = _through(observation.defense, shadow(inputs), generator)
            optimiser.zero_grad()
            nn.functional.cross_entropy(server(sent), labels).backward()
            optimiser.step()

    def _invert(
        self, shadow: nn.Module, observation: SmashedObservation, imitation: Imitation | None, *, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Regularised maximum likelihood through the shadow, from black inputs.

        Returns:
            What a client may have fed its network, ``[N, B, ...]``, and the distances ``[N]`` left.
        """
        match = matching(observation)
        transform = observation.defense.transform if observation.defense else None
        shape = transform.shape(observation.image_shape) if transform else observation.image_shape
        size = (*observation.activations.shape[:2], *shape)
        inputs = torch.zeros(size, device=observation.activations.device).requires_grad_()
        optimiser = torch.optim.Adam([inputs], lr=self.learning_rate, eps=1e-3, amsgrad=True)
        for _ in range(steps):
            flat = inputs.flatten(0, 1)
            shown = imitation.perturbed(flat) if imitation else flat
            cost = match(shadow(flat).unflatten(0, size[:2]))
            optimiser.zero_grad()
            (cost + self.tv * total_variation(shown.unflatten(0, size[:2]))).sum().backward()
            optimiser.step()
            with torch.no_grad():
                inputs.copy_(transform.project(inputs) if transform else inputs.clamp(0, 1))
        found = inputs.detach()
        return found, match(shadow(found.flatten(0, 1)).unflatten(0, size[:2]))


def _imitation(observation: SmashedObservation, auxiliary: ImageSet, seed: int) -> Imitation | None:
    """The attacker's copy of the transform of the clients' inputs, where it knows of one."""
    if observation.defense is None or observation.defense.transform is None:
        return None
    return observation.defense.transform.learn(auxiliary, num_classes=observation.num_classes, seed=seed)


def _through(view: DefenseView | None, activations: Tensor, generator: torch.Generator) -> Tensor:
    """What would leave of ``[M, *Z]``, each image from a client of its own."""
    if view is None or view.release is None:
        return activations
    return view.release(activations[:, None], generator)[:, 0]
