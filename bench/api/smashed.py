"""What an attacker on split learning receives: activations of the client's layers, and its own half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.api.dataset import ImageSet
    from bench.api.defense import DefenseView
    from bench.api.generator import ImageGenerator
    from bench.api.threat import ThreatModel

Query = Callable[[Tensor], Tensor]
"""``inputs [M, ...] -> activations [M, *Z]``: the client's half as a black box."""


class Session(Protocol):
    """The clients' side of a training whose server is the attacker.

    The clients start from the weights of round 0 and obey the protocol: each round they send the activations
    of a private batch, wait for a gradient at the cut and take one step along it.
    """

    def send(self) -> Tensor:
        """The activations ``[M, *Z]`` of the next private batch, through the defense."""

    def answer(self, gradient: Tensor) -> None:
        """Gives the clients a gradient ``[M, *Z]`` for what they sent last; they take one step."""

    def release(self) -> Tensor:
        """The activations ``[N, B, *Z]`` of the attacked batches, by the clients' weights of today."""

    def report(self, classify: Callable[[Tensor], Tensor]) -> None:
        """Has the task's accuracy measured under attack, on images that the attacker never sees.

        Args:
            classify: ``activations [M, *Z] -> class scores [M, K]``, the server's half as it pretends to be.
        """


@dataclass(frozen=True, kw_only=True)
class Received:
    """What an honest server has received from the clients beside the attacked releases.

    Attributes:
        activations: of P other private images, ``[P, *Z]``, through the defense, by the released weights.
        labels: int64 ``[P]``, only if ``threat.labels_known``.
    """

    activations: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class SmashedObservation:
    """N releases of the channel ``smashed``: the activations of one private batch each.

    Attributes:
        threat: the declared powers of this attacker.
        activations: what was released, ``[N, B, *Z]``, through the defense.
        model: the architecture of both halves, with ``client``, ``server`` and ``initialise``. Its weights
            are drawn anew and have nothing to do with the victim's.
        server: the server's half with its weights: the attacker is the server.
        image_shape: (C, H, W).
        num_classes: K.
        ids: int64 ``[N]``, the attacker's own numbering of the releases; random starts are drawn by it.
        client: the client's half with its weights, differentiable; only with access ``weights``.
        query: answers of the client's half to inputs of the attacker; only with access ``query``.
        received: what other batches have left the clients; only with access ``passive``, and None there
            where no others are known.
        session: the other side of a training; only with access ``active``.
        labels: ``[N, B]`` int64, only if ``threat.labels_known``: the protocol gives them to the server, who
            computes the loss.
        defense: the adaptive attacker's model of the defense; None for the naive one.
        auxiliary: images of the same distribution; only if ``threat.auxiliary``.
        generator: what draws images like those; only if ``threat.generator``.
        pool: ``[P, C, H, W]``, a list that holds the private images, without labels; only for a bound, whose
            card says ``receives_pool``.
    """

    threat: ThreatModel
    activations: Tensor
    model: nn.Module
    server: nn.Module
    image_shape: tuple[int, int, int]
    num_classes: int
    ids: Tensor
    client: nn.Module | None = None
    query: Query | None = None
    received: Received | None = None
    session: Session | None = None
    labels: Tensor | None = None
    defense: DefenseView | None = None
    auxiliary: ImageSet | None = None
    generator: ImageGenerator | None = None
    pool: Tensor | None = None

    @property
    def victims(self) -> int:
        """N, the number of independent releases."""
        return self.activations.shape[0]

    @property
    def batch_size(self) -> int:
        """B, the number of images in each release."""
        return self.threat.batch_size

    def select(self, victims: Tensor) -> SmashedObservation:
        """The observation of some of the victims, in the order given.

        Args:
            victims: int64 ``[M]`` indices into N.
        """
        return replace(
            self,
            activations=self.activations[victims],
            ids=self.ids[victims],
            labels=None if self.labels is None else self.labels[victims],
        )
