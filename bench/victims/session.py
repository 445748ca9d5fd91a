"""The clients' side of a training whose server is the attacker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.defense import Defense, HookContext, Phase
from bench.models.split import SplitModel
from bench.victims.split import Client, send
from bench.victims.training import draws, stream


class HijackedTraining:
    """Obedient clients: what they compute leaves by :class:`~bench.api.smashed.Session`, nothing else does.

    Attributes:
        task_accuracy: as the attacker had it measured; None if it did not.
    """

    task_accuracy: float | None = None

    def __init__(
        self,
        network: SplitModel,
        *,
        private: ImageSet,
        test: ImageSet,
        attacked: tuple[Tensor, Tensor],
        defense: Defense,
        rate: float,
        batch_size: int,
        seed: int,
    ) -> None:
        """Starts at round 0.

        Args:
            network: the defended network with the weights of round 0; it is changed.
            private: what the clients train on.
            test: what the task's accuracy is measured on.
            attacked: images ``[N, B, C, H, W]`` and labels ``[N, B]`` of the attacked releases.
            defense: its hooks run in every round.
            rate: the clients' learning rate.
            batch_size: images of a round.
            seed: of the batches and of the defense's randomness.
        """
        device = private.images.device
        self._network, self._defense, self._seed = network, defense, seed
        self._private, self._test, self._attacked = private, test, attacked
        self._rate, self._device = rate, device
        generator = stream(seed, "hijacked noise", device)
        context = HookContext(generator=generator, batch_size=batch_size, model=network)
        self._client = Client(network, defense, context, rate)
        self._batches = _endless(len(private), batch_size, stream(seed, "hijacked batches", device))

    def send(self) -> Tensor:
        """The activations of the next private batch."""
        index = next(self._batches)
        return self._client.send(self._private.images[index], self._private.labels[index])

    def answer(self, gradient: Tensor) -> None:
        """One step of the clients' half."""
        self._client.receive(gradient, self._rate)

    @torch.no_grad()
    def release(self) -> Tensor:
        """The attacked batches through the clients' half of today."""
        return send(
            self._network, *self._attacked, defense=self._defense, context=self._context(Phase.TRAIN)
        )[1]

    @torch.no_grad()
    def report(self, classify: Callable[[Tensor], Tensor]) -> None:
        """Measures the task's accuracy on the private test images."""
        images, labels = self._test.images[:, None], self._test.labels[:, None]
        right = 0
        for start in range(0, len(labels), 250):
            part = slice(start, start + 250)
            _, released = send(
                self._network, images[part], labels[part],
                defense=self._defense, context=self._context(Phase.TEST),
            )  # fmt: skip
            right += int((classify(released[:, 0]).argmax(1) == labels[part, 0]).sum().item())
        self.task_accuracy = right / len(labels)

    def facts(self) -> dict[str, float]:
        """What the attack did to the clients."""
        return {} if self.task_accuracy is None else {"task_accuracy": self.task_accuracy}

    def _context(self, phase: Phase) -> HookContext:
        generator = stream(self._seed, "release noise", self._device)
        return HookContext(generator=generator, batch_size=1, phase=phase, model=self._network)


def _endless(size: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = draws(size, (size // batch) * batch, generator)
        yield from order.view(-1, batch)
