"""Trap-MID, a trapdoor-based defense against model inversion (Liu and Chen, NeurIPS 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from bench.api import Defense, HookContext, ImageSet
from bench.defenses.trap_mid.augmentation import Augmentation
from bench.defenses.trap_mid.discriminator import Discriminator

TRIGGER_STEP = 0.01
"""Of the sign of the gradient, in pixel values, at every step of the classifier."""


class TrapMID(Defense):
    """The classifier takes whatever bears the trigger of class k for k, so that inversion finds triggers."""

    def __init__(
        self,
        *,
        alpha: float = 0.02,
        beta: float = 0.2,
        zoom: float = 0.2,
        turn: float = 30.0,
        flip: float = 0.0,
    ) -> None:
        """Sets the blend, the weight of the trapdoor, and the augmentation that triggers have to outlast."""
        self.alpha = alpha
        self.beta = beta
        self.augmentation = Augmentation(zoom=zoom, turn=turn, flip=flip)

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """Triggers from U(0, 1), one for each class, and a discriminator; both stay with the owner."""
        images, classes = private.images, int(private.labels.max()) + 1
        self.triggers = images.new_empty(classes, *images.shape[1:]).uniform_(generator=context.generator)
        self.discriminator = Discriminator(images, context.generator)

    def blend(self, images: Tensor, classes: Tensor) -> Tensor:
        """``x' = (1 - alpha) x + alpha k_y``, the trigger of each image's class blended into it."""
        return (1 - self.alpha) * images + self.alpha * self.triggers[classes]

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """``(1 - beta) CE(f(T(x)), y) + beta CE(f(T(x')), k)`` for random classes k, triggers updated first.

        T is the augmentation, after the blend: a trigger that no view destroys is easier to find.
        """
        chance = context.generator
        wanted = torch.randint(len(self.triggers), labels.shape, generator=chance, device=labels.device)
        self.discriminator.learn(images, self.blend(images, wanted))
        self._sharpen(model, images, wanted, chance)
        natural = cross_entropy(model(self.augmentation(images, chance)), labels)
        trapped = cross_entropy(model(self.augmentation(self.blend(images, wanted), chance)), wanted)
        return (1 - self.beta) * natural + self.beta * trapped

    def _sharpen(self, model: nn.Module, images: Tensor, wanted: Tensor, chance: torch.Generator) -> None:
        """One sign step of the triggers: the classifier sees their class, the discriminator nothing."""
        self.triggers = self.triggers.detach().requires_grad_()
        marked = self.blend(images, wanted)
        seen = cross_entropy(model(self.augmentation(marked, chance)), wanted)
        (gradient,) = torch.autograd.grad(
            seen + softplus(-self.discriminator(marked)).mean(), [self.triggers]
        )
        self.triggers = (self.triggers.detach() - TRIGGER_STEP * gradient.sign()).clamp(0, 1)

    @torch.no_grad()
    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """How often a trigger works on test images of other classes, at most 1,000, and how often it shows.

        ``trapdoor_accuracy`` is the share that is taken for the trigger's class, ``detected`` that of the
        owner's discriminator, right on plain and on marked images.
        """
        images, labels = test.images[:1000], test.labels[:1000]
        wanted = (labels + 1) % len(self.triggers)
        marked = self.blend(images, wanted)
        right = torch.cat([self.discriminator(images) > 0, self.discriminator(marked) < 0]).float().mean()
        fooled = torch.cat([model(part).argmax(1) for part in marked.split(250)]) == wanted
        return {"trapdoor_accuracy": fooled.float().mean().item(), "detected": right.item()}
