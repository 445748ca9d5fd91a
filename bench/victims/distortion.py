"""How much a defense changes what leaves: of each release, and in the training of its victim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet
from bench.api.defense import Defense, DefenseView, HookContext
from bench.api.gradients import ClientLoss, Gradients, rows_of_each

Signal = tuple[float | None, ...]


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

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss | None:
        """The defense's own."""
        return self._defense.client_loss(images, context)

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


def ratios(plain: Gradients, left: Gradients) -> Tensor:
    """Norm ``[N]`` of what would have left over that of what was changed in it; infinite if nothing was."""
    own = _flat(plain)
    found: Tensor = own.norm(dim=1) / (_flat(left) - own).norm(dim=1)
    return found


class Watch:
    """Notes how much a defense changes in the first and in the last round of a training.

    It takes no part: what the defense draws is drawn again for the comparison, from a copy of its generator,
    and clients remember copies.

    Attributes:
        signal: for each of the two rounds the median of the clients' :func:`ratios`, None where it is none;
            None for both if the defense has no hook on what leaves.
    """

    def __init__(self, defense: Defense, rounds: int) -> None:
        """Watches a training of so many rounds."""
        self._defense, self._rounds = defense, rounds
        self.signal: Signal | None = () if distorts(defense) else None

    def sent(
        self, turn: int, context: HookContext, send: Callable[[Defense, HookContext], Gradients]
    ) -> Gradients:
        """What the clients of a round send.

        Args:
            turn: the round, from 1.
            context: of the training.
            send: what leaves the clients under a defense.
        """
        if self.signal is None or turn not in (1, self._rounds):
            return send(self._defense, context)
        generator = torch.Generator(context.generator.device)
        generator.set_state(context.generator.get_state())
        again = replace(context, generator=generator, memory=dict(context.memory))
        left = send(self._defense, context)
        plain = send(Undistorted(self._defense), again)
        self.signal += (digits(ratios(plain, left).median().item()),)
        return left


def digits(value: float) -> float | None:
    """A ratio with four digits; None where nothing was changed or something is not finite."""
    return float(f"{value:.4g}") if 0 < value < torch.inf else None


def _flat(sent: Gradients) -> Tensor:
    """All that left, ``[N, D]``."""
    return torch.cat([rows_of_each(sent[name].detach()) for name in sorted(sent)], dim=1).double()
