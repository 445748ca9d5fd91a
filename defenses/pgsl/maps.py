"""Maps that a client adds to its images: non-targeted JSMA, reversed (Section IV-A, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.defenses.pgsl.downsample import pack

Classifier = Callable[[Tensor], Tensor]
"""``images [M, C, H, W] -> logits [M, K]``; no image's logits depend on another image."""


def input_gradients(classify: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How each pixel moves the score of one class, and the scores of all others together.

    Images are independent, so two backward passes of sums over the batch give the Jacobian's two sums of
    every image; no Jacobian is ever built.

    Args:
        classify: the scores to be differentiated.
        images: ``[M, C, H, W]`` in [0, 1].
        labels: ``[M]`` int64, the class y.

    Returns:
        alpha = df_y / dx and beta = sum over y' != y of df_y' / dx, both ``[M, C, H, W]``.
    """
    with torch.enable_grad():  # the map is needed in tests and releases, too, where no graph is kept
        pixels = images.detach().requires_grad_()
        scores = classify(pixels)
        own = scores.gather(1, labels[:, None]).sum()
        (alpha,) = torch.autograd.grad(own, pixels, retain_graph=True)
        (beta,) = torch.autograd.grad(scores.sum() - own, pixels)
    return alpha, beta


@dataclass(frozen=True, kw_only=True)
class MapRule:
    """How a map is made of a classifier's input gradients.

    Attributes:
        strength: eps, in units of the images' range.
        scaling: ``max``: the largest entry of an image's map is eps; ``sign``: every entry of its support is
            eps; ``raw``: Eq. 1 times eps.
        scores: what is differentiated, ``logits`` or their ``softmax``. The probabilities sum to one, so that
            with them beta = -alpha exactly.
        sent: the carrier holds the map; else zeros in its place.
    """

    strength: float
    scaling: str
    scores: str
    sent: bool

    def map(self, classify: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """The scaled map ``[M, C, H, W]``, nowhere negative (Eq. 1).

        It points away from the label: brighter where that lowers f_y and raises the other scores.
        """
        alpha, beta = input_gradients(self._scores(classify), images, labels)
        support = (alpha < 0) & (beta > 0)
        if self.scaling == "sign":
            return self.strength * support.to(images.dtype)
        # In double precision: the product of two gradients of a saturated score is below the smallest float.
        product = torch.where(support, -alpha.double() * beta.double(), 0.0)
        if self.scaling == "max":
            largest = product.amax(dim=(1, 2, 3), keepdim=True)
            product = product / torch.where(largest > 0, largest, 1.0)
        return (self.strength * product).to(images.dtype)

    def carriers(self, classify: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """What a client's network takes of x^ = x + Map, clipped to [0, 1].

        Args:
            classify: whose input gradients make the map.
            images: ``[M, C, H, W]``; the carriers are differentiable in them as if maps were constant.
            labels: ``[M]`` int64, the classes that the maps point away from.

        Returns:
            ``[M, 4C+1, H/2, W/2]``.
        """
        attacked = (images + self.map(classify, images, labels)).clamp(0, 1)
        difference = attacked - images
        return pack(attacked, difference if self.sent else torch.zeros_like(difference))

    def _scores(self, classify: Classifier) -> Classifier:
        if self.scores == "logits":
            return classify
        return lambda images: classify(images).softmax(1)


@torch.no_grad()
def chosen_labels(
    choice: str, classify: Classifier, images: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """The classes ``[M]`` that maps point away from.

    Args:
        choice: ``true`` labels; those ``predicted`` by the classifier; ``random`` ones, of all classes alike;
            or ``wrong`` ones, of all classes but the true one.
        classify: predicts.
        images: ``[M, C, H, W]``.
        labels: int64 ``[M]``, the true ones.
        generator: draws, on the images' device.
    """
    if choice == "true":
        return labels
    scores = classify(images)
    if choice == "predicted":
        return scores.argmax(1)
    drawn = torch.rand(scores.shape, generator=generator, device=generator.device)
    if choice == "wrong":
        drawn = drawn.scatter(1, labels[:, None], -1.0)
    return drawn.argmax(1)
