"""How much a defense changes what leaves, release by release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet
from bench.api.defense import Defense, DefenseView, HookContext
from bench.victims.releases import Release, Source


class Undistorted(Defense):
    """A defense whose last hook, on gradients or activations, does nothing; those before it are its own.

    Args:
        defense: to be asked for everything else.
    """

    def __init__(self, defense: Defense) -> None:
        self._defense = defense

    def model(self, model: nn.Module) -> nn.Module:
        """The defense's own."""
        return self._defense.model(model)

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """The defense's own."""
        self._defense.prepare(model, private, context)

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        """The defense's own."""
        return self._defense.inputs(images, labels, context)

    def perturbed(self, inputs: Tensor) -> Tensor:
        """The defense's own."""
        return self._defense.perturbed(inputs)

    def loss(self, inputs: Tensor, activations: Tensor, context: HookContext) -> Tensor:
        """The defense's own."""
        return self._defense.loss(inputs, activations, context)

    def view(self) -> DefenseView | None:
        """The defense's own."""
        return self._defense.view()


def distorts(defense: Defense) -> bool:
    """Whether a defense has a hook on what leaves."""
    kind = type(defense)
    return kind.gradients is not Defense.gradients or kind.smashed is not Defense.smashed


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
    own, left = _flat(plain), _flat(release)
    ratios = own.norm(dim=1) / (left - own).norm(dim=1)
    return [float(f"{value:.4g}") if 0 < value < torch.inf else None for value in ratios.tolist()]


def _flat(release: Release) -> Tensor:
    """All that left, ``[N, D]``."""
    return torch.cat([release.sent[name].flatten(1) for name in sorted(release.sent)], dim=1).double()
