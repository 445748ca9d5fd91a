"""What a victim releases on each channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.defense import Defense, HookContext
from bench.engine.normalisation import batch_statistics
from bench.models.base import Shape
from bench.models.build import build_model, schedule_of
from bench.victims.clients import Local, client_releases
from bench.victims.distortion import Undistorted, digits, distorts, ratios
from bench.victims.training import draws, stream


@dataclass(frozen=True, kw_only=True)
class Release:
    """N private batches and what left of them; the images never reach an attack.

    Attributes:
        images: ``[N, B, C, H, W]``.
        labels: int64 ``[N, B]``.
        indices: int64 ``[N, B]`` into ``private_train``.
        sent: what left, after the defense: gradients ``[N, ...]`` by parameter, beside them perhaps BatchNorm
            statistics ``[N, C]`` by buffer, or the activations ``[N, B, *Z]``.
        perturbed: the images ``[N, B, C, H, W]`` that the clients computed on, where the defense made others
            of them; else None.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    sent: dict[str, Tensor]
    perturbed: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where releases come from.

    Attributes:
        model: architecture name.
        parameters: the weights of the released checkpoint, as the victim was stored.
        private: ``private_train``.
        num_classes: K.
        image_shape: (C, H, W).
        defense: its hooks are applied.
        releases: N.
        batch_size: B.
        seed: of the batches and of the defense's randomness.
        device: where to compute.
        memory: what clients kept until the checkpoint, ``[slots, ...]`` by name; empty at round 0.
    """

    model: str
    parameters: dict[str, Tensor]
    private: ImageSet
    num_classes: int
    image_shape: Shape
    defense: Defense
    releases: int
    batch_size: int
    seed: int
    device: torch.device
    memory: dict[str, Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> dict[str, int | Shape]:
        """Number of classes and shape of an image, as builders take them."""
        return {"num_classes": self.num_classes, "image_shape": self.image_shape}

    def context(self, model: torch.nn.Module | None = None) -> HookContext:
        """The randomness of the attacked releases, and what their clients remember: anew for every call."""
        own = {name: value[self._slots(len(value))].to(self.device) for name, value in self.memory.items()}
        return HookContext(
            generator=stream(self.seed, "release noise", self.device),
            batch_size=self.batch_size,
            model=model,
            memory=own,
        )

    def _slots(self, number: int) -> Tensor:
        """Whose memory each attacked client has: int64 ``[N]``, all slots in the seed's order, then again."""
        return draws(number, self.releases, stream(self.seed, "client slots", torch.device("cpu")))


def batches(source: Source) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``[N, B, C, H, W]``, labels and indices ``[N, B]`` of the attacked releases.

    Drawn without repetition by the seed alone: every defense, model and checkpoint of one seed releases the
    same images, so that comparisons are paired.

    Raises:
        ValueError: fewer private images than N * B.
    """
    wanted = source.releases * source.batch_size
    if wanted > len(source.private):
        raise ValueError(
            f"{source.releases} releases of {source.batch_size} need more than the {len(source.private)} "
            "private images"
        )
    generator = stream(source.seed, "releases", torch.device("cpu"))
    indices = torch.randperm(len(source.private), generator=generator)[:wanted]
    indices = indices.view(source.releases, source.batch_size)
    images, labels = source.private.images[indices], source.private.labels[indices]
    return images.to(source.device), labels.to(source.device), indices


def release_gradients(source: Source) -> Release:
    """The gradients of N clients of a federation, one private batch each, through the hooks of the training.

    Where the network's clients share the statistics of their batch, no defense touches those.

    Raises:
        ValueError: fewer private images than N * B.
    """
    images, labels, indices = batches(source)
    plain = build_model(source.model, num_classes=source.num_classes, image_shape=source.image_shape)
    network = source.defense.model(plain).to(source.device)
    weights = {name: value.to(source.device) for name, value in source.parameters.items()}
    orders = stream(source.seed, "local batches of releases", source.device)
    gradients = client_releases(
        network, weights, images, labels,
        defense=source.defense, context=source.context(), num_classes=source.num_classes,
        local=Local.drawn(schedule_of(source.model).local, indices, orders),
    )  # fmt: skip
    sent = {name: value.detach() for name, value in gradients.items()}
    if plain.shares_statistics:
        seen, _ = source.defense.inputs(images, labels, source.context())  # the draws of the release itself
        sent |= batch_statistics(network, weights, seen, per_victim_weights=False)
    return Release(images=images, labels=labels, indices=indices, sent=sent)


def signal(release: Release, source: Source, again: Callable[[Source], Release]) -> list[float | None] | None:
    """The norm of what would have left over the norm of what the defense changed in it, of each release.

    Args:
        release: what left.
        source: where it comes from.
        again: makes the same releases of another source.

    Returns:
        A number of four digits for each release, None where nothing was changed or something is not finite;
        None for all if the defense has no hook on what leaves.
    """
    if not distorts(source.defense):
        return None
    plain = again(replace(source, defense=Undistorted(source.defense)))
    return [digits(value) for value in ratios(plain.sent, release.sent).tolist()]
