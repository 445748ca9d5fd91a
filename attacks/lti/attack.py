"""Learning to Invert: a network from gradients to images (Wu, Chen, Guo, Weinberger, UAI 2023)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from bench.api import Attack, GradientObservation, ImageSet, IncompatibleError, Reconstruction
from bench.attacks.lti.features import Features
from bench.attacks.lti.network import Inverter, nearest_order
from bench.attacks.lti.pairs import Imitated
from bench.engine.matching import flat


class LearningToInvert(Attack):
    """Releases its own images as the clients release theirs, and learns the way back."""

    def __init__(
        self,
        *,
        pairs: int = 1500,
        draws: int = 4,
        entries: int = 16384,
        components: int = 512,
        width: int = 512,
        steps: int = 1000,
        pairs_per_step: int = 32,
        learning_rate: float = 3e-3,
    ) -> None:
        """Sets how many pairs are made, what of a release is looked at, the network and its training."""
        self.pairs, self.draws = pairs, draws
        self.entries, self.components, self.width = entries, components, width
        self.steps, self.pairs_per_step = steps, pairs_per_step
        self.learning_rate = learning_rate

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One network for all victims that share their weights.

        Raises:
            IncompatibleError: the attacker owns no images.
        """
        owned, device = observation.auxiliary, observation.ids.device
        if owned is None or not len(owned):
            raise IncompatibleError("a network learns to invert from auxiliary images, and there are none")
        if observation.per_victim_weights:
            return self._one_by_one(observation, budget=budget, seed=seed)
        generator = torch.Generator(device=device).manual_seed(seed)
        mine = ImageSet(owned.images.to(device), owned.labels.to(device))
        index = _batches(mine, observation.batch_size, min(budget, self.pairs), generator)
        clients = Imitated(observation, mine, generator, self.draws)
        features, learned = Features.of(
            clients.releases(index, seed=seed),
            entries=self.entries,
            components=self.components,
        )
        steps = min(budget, self.steps)
        network, error = self._trained(observation, learned, mine, index, steps, seed)
        with torch.no_grad():
            images, scores = network(features(flat(observation.gradients)))
        return Reconstruction(
            images=images.float(),
            cost=error.float().expand(observation.victims).clone(),
            evaluations=torch.full_like(observation.ids, max(len(index), steps)),
            labels=scores.argmax(-1),
        )

    def _one_by_one(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        parts = []
        for victim in range(observation.victims):
            seen = observation.select(torch.tensor([victim], device=observation.ids.device))
            own = {name: value[0] for name, value in seen.parameters.items()}
            shared = replace(seen, parameters=own, per_victim_weights=False)
            parts.append(self.reconstruct(shared, budget=budget, seed=seed))
        names = ("images", "cost", "evaluations", "labels")
        return Reconstruction(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _trained(
        self,
        seen: GradientObservation,
        learned: Tensor,
        owned: ImageSet,
        index: Tensor,
        steps: int,
        seed: int,
    ) -> tuple[Inverter, Tensor]:
        """Minimises the squared error of the images in the order that suits best, by Adam.

        Returns:
            The network, and its mean error on the last tenth of its steps: all that an attacker knows of how
            well it will do.
        """
        generator = torch.Generator(device=learned.device).manual_seed(seed)
        shape = (seen.batch_size, *seen.image_shape)
        network = Inverter.drawn(learned, shape, classes=seen.num_classes, width=self.width, seed=seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
        draws, images = len(learned), owned.images.to(learned)
        errors = []
        for rows in _in_passes(len(index), steps * self.pairs_per_step, generator).split(self.pairs_per_step):
            drawn = torch.randint(draws, rows.shape, generator=generator, device=rows.device)
            found, scores = network(learned[drawn, rows])
            with torch.no_grad():
                order = nearest_order(found, images[index[rows]])
            truth = index[rows].to(order.device).gather(1, order)
            error = mse_loss(found, images[truth])
            optimiser.zero_grad()
            (error + cross_entropy(scores.flatten(0, 1), owned.labels[truth].flatten())).backward()
            optimiser.step()
            schedule.step()
            errors.append(error.detach())
        return network, torch.stack(errors[-max(1, steps // 10) :]).mean()


def _in_passes(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Indices ``[count]`` below ``size``: passes over all of them, each in a new order."""
    passes = -(-count // size)
    orders = [torch.randperm(size, generator=generator, device=generator.device) for _ in range(passes)]
    return torch.cat(orders)[:count]


def _batches(owned: ImageSet, size: int, count: int, generator: torch.Generator) -> Tensor:
    """Indices ``[M, B]`` of M batches; single images are taken once, since another time tells nothing."""
    count = min(count, len(owned)) if size == 1 else count
    return _in_passes(len(owned), count * size, generator).view(count, size)
