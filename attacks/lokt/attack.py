"""LOKT, label-only inversion by knowledge transfer (Nguyen et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.api import (
    Answers,
    BlackBoxObservation,
    ImageGenerator,
    IncompatibleError,
    ModelAccess,
    ModelAttack,
    ModelObservation,
    Reconstruction,
)
from bench.attacks.lokt.surrogates import Surrogates
from bench.attacks.plgmi.conditional import COST_OF_A_ROUND, Game
from bench.attacks.plgmi.search import Search
from bench.attacks.ppa.views import Views
from bench.engine import generator_of


class TACGAN(Game):
    """Target model-assisted ACGAN: its discriminator learns the victim's labels of what is drawn.

    Attributes:
        ask: the victim.
        weight: of the class beside the discriminator's value, in the generator's loss.
    """

    def __init__(
        self, prior: ImageGenerator, num_classes: int, *, ask: Answers, weight: float, seed: int
    ) -> None:
        """Copies the attacker's networks."""
        super().__init__(prior, num_classes, generator=torch.Generator().manual_seed(seed))
        self.ask, self.weight = ask, weight

    def discriminator_loss(self, real: Tensor, real_labels: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """Real images from drawn ones, and what the victim calls either, whatever class a draw was for."""
        real_values, real_scores = self.discriminator(real)
        values, scores = self.discriminator(fake)
        named = cross_entropy(scores, self.ask(fake)) + cross_entropy(real_scores, real_labels)
        loss: Tensor = values.mean() - real_values.mean() + named
        return loss

    def generator_loss(self, fake: Tensor, labels: Tensor) -> Tensor:
        """It looks real, and the discriminator, which is differentiable, calls it what it was drawn for."""
        values, scores = self.discriminator(fake)
        loss: Tensor = self.weight * cross_entropy(scores, labels) - values.mean()
        return loss

    def labelled(
        self, images: Tensor, labels: Tensor, *, steps: int, batch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches for surrogates: half drawn images, half those of the attacker, as the victim calls them."""
        for _ in range(steps):
            with torch.no_grad():
                fake, _ = self.draw(batch, images)
            chosen = torch.randint(len(images), (batch,), generator=self._generator).to(images.device)
            yield torch.cat([fake, images[chosen]]), torch.cat([self.ask(fake), labels[chosen]])


class LOKT(ModelAttack):
    """Moves what the victim knows into surrogates by its labels alone, and attacks these as a white box."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        training_share: float = 0.4,
        training_rate: float = 2e-3,
        batch: int = 32,
        weight: float = 1.5,
        surrogate_share: float = 0.4,
        surrogate_rate: float = 2e-3,
        learning_rate: float = 0.02,
        iterations: int = 50,
        shift: float = 2.0,
        zoom: float = 0.1,
    ) -> None:
        """Sets the training of the T-ACGAN and of the surrogates, and the search; the generator is given."""
        self.training_share = training_share
        self.training_rate = training_rate
        self.batch = batch
        self.weight = weight
        self.surrogate_share = surrogate_share
        self.surrogate_rate = surrogate_rate
        self.iterations = iterations
        self.search = Search(learning_rate=learning_rate, views=Views(shift=shift, zoom=zoom))

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """One T-ACGAN and one set of surrogates for all classes, one search for each image.

        Raises:
            IncompatibleError: the victim gives no labels, there is no generator with a critic, or there are
                no auxiliary images.
        """
        if not isinstance(observation, BlackBoxObservation) or observation.access is not ModelAccess.LABEL:
            raise IncompatibleError("the attack learns from the victim's labels, and this one gives none")
        prior, images = generator_of(observation), observation.images
        if images is None:
            raise IncompatibleError("the attack has the victim label auxiliary images")
        labels = observation.query(images)
        rounds = int(self.training_share * budget) // COST_OF_A_ROUND
        game = TACGAN(prior, observation.num_classes, ask=observation.query, weight=self.weight, seed=seed)
        decoder = game.play(images, labels, rounds=rounds, batch=self.batch, rate=self.training_rate)
        surrogates = Surrogates(observation.num_classes, observation.image_shape, seed=seed).to(images)
        left = budget - rounds * COST_OF_A_ROUND
        steps = min(left, int(self.surrogate_share * budget)) // surrogates.count
        batches = game.labelled(images, labels, steps=steps, batch=self.batch)
        surrogates.learn(batches, rate=self.surrogate_rate)
        left -= steps * surrogates.count
        iterations = min(self.iterations, left)
        return self.search.run(
            observation, decoder, surrogates, iterations=iterations, spent=budget - left, seed=seed
        )
