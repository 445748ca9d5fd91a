"""What an adaptive attacker knows of the clients' transform, and its own copy of it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import ImageSet
from bench.defenses.pgsl.downsample import Shape, attacked_of, carrier_shape, map_of, unmapped
from bench.defenses.pgsl.maps import MapRule, chosen_labels
from bench.defenses.pgsl.surrogate import Surrogate, train_surrogate

REMEMBERED = 16
"""Surrogates kept in a process: all attacks on all strengths learn the same ones, whatever was released."""
_learned: OrderedDict[tuple[object, ...], tuple[dict[str, Tensor], Tensor]] = OrderedDict()


@dataclass(frozen=True, kw_only=True)
class PGSLImitation:
    """The clients' transform with a surrogate of the attacker.

    Attributes:
        surrogate: trained on the attacker's own images.
        rule: how clients make maps of a surrogate's input gradients.
        training_label: the label for which a client that trains makes its maps.
        generator: draws labels where clients do.
    """

    surrogate: Surrogate
    rule: MapRule
    training_label: str
    generator: torch.Generator

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Carriers ``[M, 4C+1, H/2, W/2]``, differentiable as if maps were constant.

        Args:
            images: ``[M, C, H, W]`` in [0, 1].
            labels: ``[M]`` int64, what a client that trains would know; None: the surrogate guesses them.
        """
        known = images.new_zeros(len(images), dtype=torch.int64) if labels is None else labels
        choice = "predicted" if labels is None else self.training_label
        named = chosen_labels(choice, self.surrogate, images, known, self.generator)
        return self.rule.carriers(self.surrogate, images, named)

    def perturbed(self, inputs: Tensor) -> Tensor:
        """The attacked images ``[M, C, H, W]`` inside of carriers."""
        return attacked_of(inputs)

    def images(self, inputs: Tensor) -> Tensor:
        """The attacked images less the map channel, which is coarse: a 2x2 mean over all channels."""
        return unmapped(inputs)


@dataclass(frozen=True, kw_only=True)
class PGSLTransform:
    """The public part of the clients' transform.

    Attributes:
        rule: how maps are made.
        training_label: the label for which a client that trains makes its maps.
        epochs: for which a client trains its surrogate.
    """

    rule: MapRule
    training_label: str
    epochs: int

    def shape(self, image_shape: Shape) -> Shape:
        """The shape (4C+1, H/2, W/2) of carriers."""
        return carrier_shape(image_shape)

    def project(self, inputs: Tensor) -> Tensor:
        """The nearest carriers ``[..., 4C+1, H/2, W/2]`` in range: x^ in [0, 1], and 0 <= map <= eps."""
        bound = 1.0 if self.rule.scaling == "raw" else min(1.0, self.rule.strength)
        shown = map_of(inputs).clamp(0, bound if self.rule.sent else 0.0)
        return torch.cat([inputs[..., :-1, :, :].clamp(0, 1), shown], dim=-3)

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> PGSLImitation:
        """Trains the attacker's surrogate as clients train theirs; where they use none, it is a stand-in."""
        channels, height, width = auxiliary.images.shape[1:]
        device = auxiliary.images.device
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            surrogate = Surrogate(num_classes, (channels, height, width)).to(device)
        asked = (_digest(auxiliary), num_classes, self.epochs, seed, str(device))
        if asked not in _learned:
            surrogate.initialise(generator)
            train_surrogate(surrogate, auxiliary, epochs=self.epochs, generator=generator)
            _learned[asked] = (surrogate.state_dict(), generator.get_state())
            if len(_learned) > REMEMBERED:
                _learned.popitem(last=False)
        weights, drawn = _learned[asked]
        surrogate.load_state_dict(weights)
        generator.set_state(drawn)
        return PGSLImitation(
            surrogate=surrogate.requires_grad_(False).eval(),
            rule=self.rule,
            training_label=self.training_label,
            generator=generator,
        )


def _digest(images: ImageSet) -> str:
    """A name of some images and their labels."""
    found = hashlib.sha256()
    for value in (images.images, images.labels):
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
