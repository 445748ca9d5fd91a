"""PLG-MI, pseudo label-guided inversion by a conditional GAN (Yuan et al., AAAI 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import ImageGenerator, IncompatibleError, ModelAttack, ModelObservation, Reconstruction
from bench.attacks.plgmi.conditional import COST_OF_A_ROUND, Game
from bench.attacks.plgmi.search import Search, max_margin
from bench.attacks.ppa.views import Views
from bench.engine import generator_of, in_parts

_VIEWS = 64
"""Random views that the steps of a training take in turn."""


class Guided(Game):
    """The conditional GAN: a projection discriminator, and a generator whom the victim guides.

    Attributes:
        victim: images -> scores.
        weight: of the victim's margin beside the discriminator's value.
        views: the images that the victim is shown are randomly moved and scaled.
    """

    def __init__(
        self,
        prior: ImageGenerator,
        num_classes: int,
        *,
        victim: nn.Module,
        weight: float,
        views: Views,
        seed: int,
    ) -> None:
        """Copies the attacker's networks."""
        super().__init__(prior, num_classes, generator=torch.Generator().manual_seed(seed))
        self.victim, self.weight, self.views = victim, weight, views
        self._drawn = views.draw(_VIEWS, seed=seed)
        self._turn = 0

    def realness(self, images: Tensor, labels: Tensor) -> Tensor:
        """The value of an image together with its class (Miyato and Koyama 2018)."""
        values, scores = self.discriminator(images)
        together: Tensor = values + scores.gather(1, labels[:, None])[:, 0]
        return together

    def discriminator_loss(self, real: Tensor, real_labels: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """The distance of Wasserstein, class by class."""
        return self.realness(fake, labels).mean() - self.realness(real, real_labels).mean()

    def generator_loss(self, fake: Tensor, labels: Tensor) -> Tensor:
        """It looks like a real image of its class, and the victim sees that class in it."""
        self._turn = (self._turn + 1) % _VIEWS
        margins = max_margin(self.victim(self.views.see(fake, self._drawn[self._turn])), labels)
        return self.weight * margins.mean() - self.realness(fake, labels).mean()


class PLGMI(ModelAttack):
    """Trains a conditional GAN on images that the victim labels, then searches the latents of a class."""

    def __init__(
        self,
        *,
        generator: str = "wgan_gp",
        top: int = 30,
        training_share: float = 0.5,
        training_rate: float = 2e-3,
        batch: int = 32,
        margin: float = 0.2,
        learning_rate: float = 0.02,
        iterations: int = 50,
        shift: float = 2.0,
        zoom: float = 0.1,
    ) -> None:
        """Sets the training of the GAN and the search; the generator that it begins with is given."""
        self.top = top
        self.training_share = training_share
        self.training_rate = training_rate
        self.batch = batch
        self.margin = margin
        self.iterations = iterations
        self.views = Views(shift=shift, zoom=zoom)
        self.search = Search(learning_rate=learning_rate, views=self.views)

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """One GAN for all classes, one search for each image.

        Raises:
            IncompatibleError: there is no generator with a critic, or there are no auxiliary images.
        """
        prior, victim = generator_of(observation), observation.model
        if observation.images is None:
            raise IncompatibleError("the attack has the victim label auxiliary images")
        rounds = int(self.training_share * budget) // COST_OF_A_ROUND
        spent = rounds * COST_OF_A_ROUND
        game = Guided(
            prior, observation.num_classes, victim=victim, weight=self.margin, views=self.views, seed=seed
        )
        decoder = game.play(
            *self._labelled(observation), rounds=rounds, batch=self.batch, rate=self.training_rate
        )
        return self.search.run(
            observation,
            decoder,
            victim,
            iterations=min(self.iterations, budget - spent),
            spent=spent,
            seed=seed,
        )

    @torch.no_grad()
    def _labelled(self, observation: ModelObservation) -> tuple[Tensor, Tensor]:
        """Top-n selection: of each class the images ``[K * n, ...]`` that it is likeliest for."""
        assert observation.images is not None
        sure = in_parts(lambda some: observation.model(some).softmax(1), observation.images)
        best = sure.topk(min(self.top, len(sure)), dim=0).indices
        labels = torch.arange(observation.num_classes, device=best.device).expand_as(best)
        return observation.images[best.flatten()], labels.flatten()
