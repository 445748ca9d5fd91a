"""The pilot: a client's half of the attacker's own, with the decoder that undoes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import ImageSet, Imitation, IncompatibleError, SmashedObservation
from bench.attacks.fsha.networks import Decoder, draw
from bench.models.split import ClientHalf


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What the attacker trains on auxiliary images, before and beside the hijacked clients.

    Attributes:
        half: inputs ``[M, ...]`` -> codes ``[M, *Z]``.
        decoder: codes -> images ``[M, C, H, W]``.
        observation: with the adaptive attacker's view of the defense.
        auxiliary: images of the same distribution as the private ones.
        imitation: of the clients' transform of their inputs, where the attacker knows of one.
        generator: of all draws.
    """

    half: ClientHalf
    decoder: Decoder
    observation: SmashedObservation
    auxiliary: ImageSet
    imitation: Imitation | None
    generator: torch.Generator

    @classmethod
    def drawn(cls, observation: SmashedObservation, auxiliary: ImageSet, *, seed: int) -> Pilot:
        """Untrained networks; the half has the client's architecture and weights of its own.

        Raises:
            IncompatibleError: the codes are no feature maps.
        """
        code, device = tuple(observation.activations.shape[2:]), observation.activations.device
        if len(code) != 3:
            raise IncompatibleError("the decoder takes feature maps [C, H, W]")
        half = ClientHalf.drawn(observation.model, observation.image_shape, seed=seed, device=device)
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.random.fork_rng(devices=[]):
            decoder = Decoder((code[0], code[1], code[2]), observation.image_shape)
        draw(decoder, generator)
        view = observation.defense
        transform = view.transform if view else None
        return cls(
            half=half,
            decoder=decoder.to(device),
            observation=observation,
            auxiliary=auxiliary,
            imitation=transform.learn(auxiliary, num_classes=observation.num_classes, seed=seed)
            if transform
            else None,
            generator=generator,
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of both networks."""
        yield from self.half.network.client.parameters()
        yield from self.decoder.parameters()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Some auxiliary images ``[M, C, H, W]`` and their labels ``[M]``."""
        index = torch.randint(len(self.auxiliary), (size,), generator=self.generator)
        index = index.to(self.auxiliary.images.device)
        return self.auxiliary.images[index], self.auxiliary.labels[index]

    def codes(self, images: Tensor, labels: Tensor) -> Tensor:
        """What would leave a hijacked client of these images: through the defense, as far as it is known."""
        codes: Tensor = self.half(self.imitation.inputs(images, labels) if self.imitation else images)
        view = self.observation.defense
        if view is None or view.release is None:
            return codes
        return view.release(codes[:, None], self.generator)[:, 0]

    def loss(self, size: int) -> Tensor:
        """Cross-entropy of each decoded pixel with that of the auxiliary image, as a share of white.

        Behind a sigmoid the squared error of mostly black images has no gradient left to leave black again.
        """
        images, labels = self.batch(size)
        return nn.functional.binary_cross_entropy(self.decoder(self.codes(images, labels)), images)
