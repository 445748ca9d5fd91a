"""What an attacker sees and knows, as a type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from bench.search_path import channel_names

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Channel(str):
    """The name of what leaves the client; each is a file of :mod:`bench.channels`.

    Raises:
        ValueError: there is no such channel.
    """

    GRADIENTS: ClassVar[Channel]
    """Federated learning: the update of one private batch; on networks that are cut, of both halves."""
    SMASHED: ClassVar[Channel]
    """Split learning: the activations of the client's layers on one private batch."""
    CLIENT_GRADIENTS: ClassVar[Channel]
    """Split learning: the gradient of the client's weights on one private batch; all weights are known."""
    MALICIOUS: ClassVar[Channel]
    """Federated learning whose server is the attacker, and sends a model of its own: the update of it."""
    MODEL: ClassVar[Channel]
    """A released classifier: its weights, trained by their owner on all private images."""

    def __new__(cls, name: str) -> Channel:
        """Takes the name of a channel that there is."""
        if name not in (known := channel_names()):
            raise ValueError(f"{name!r} is no channel: write {', '.join(known)}")
        return super().__new__(cls, name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text in files, checked as here."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


Channel.GRADIENTS = Channel("gradients")
Channel.SMASHED = Channel("smashed")
Channel.CLIENT_GRADIENTS = Channel("client_gradients")
Channel.MALICIOUS = Channel("malicious")
Channel.MODEL = Channel("model")


class Access(StrEnum):
    """What an attacker on the channel ``smashed`` has of the client's half of the network.

    The server's half is always the attacker's own. On the channel ``malicious`` every attack is ``active``.
    """

    WEIGHTS = "weights"
    """White box: the client's weights."""
    QUERY = "query"
    """It may send images of its own through the client's half."""
    ARCHITECTURE = "architecture"
    """The layers and their sizes, no weights and no answers."""
    PASSIVE = "passive"
    """The same, and what the clients have sent an honest server of other private batches."""
    ACTIVE = "active"
    """It is the server of the training, and answers with gradients of its choice."""

    @property
    def words(self) -> str:
        """What the attacker has, for people."""
        return {
            Access.WEIGHTS: "its weights (white box)",
            Access.QUERY: "its answers to images of the attacker",
            Access.ARCHITECTURE: "its layers and their sizes alone",
            Access.PASSIVE: "its layers and their sizes, and what it sent of other batches (honest server)",
            Access.ACTIVE: "its training: the attacker is a malicious server",
        }[self]


class Adversary(StrEnum):
    """Whether the attacker knows the defense and its parameters (Kerckhoffs) or ignores that there is one."""

    NAIVE = "naive"
    ADAPTIVE = "adaptive"


class Checkpoint(StrEnum):
    """When in the federation's life the release was made: round 0, or after the last round."""

    INITIAL = "initial"
    TRAINED = "trained"


class BatchNorm(StrEnum):
    """What the client's BatchNorm layers did, and what of it the attacker knows."""

    NONE = "none"
    """The network has no such layers."""
    TRAIN = "train"
    """The client normalised by its own batch, whose statistics stayed with it: the mode of a real client."""
    EVAL = "eval"
    """The client normalised by public running statistics."""
    KNOWN = "known"
    """The client normalised by its own batch, and the statistics left with the gradient."""


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """What a client of federated averaging does with its images before it sends (McMahan et al. 2017).

    Plain gradient descent from the global weights w_0 to w_S; what leaves is ``(w_0 - w_S) / (S * rate)``,
    the mean of the gradients on the way. One step is the gradient itself.

    Attributes:
        epochs: passes over the client's images.
        batch_size: images of one step, drawn anew in each pass; 0: all at once.
        learning_rate: of each step; the server sets it, and so knows it.
    """

    epochs: int = 1
    batch_size: int = 0
    learning_rate: float = 0.05

    def steps(self, images: int) -> int:
        """S, the number of steps of a client with so many images."""
        return self.epochs * math.ceil(images / (self.batch_size or images))


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """The declared powers of one attacker.

    Attributes:
        channel: what it observes.
        adversary: ``naive`` or ``adaptive``.
        batch_size: images per release (B), known to the attacker as in all of the literature; on the channel
            ``model`` the images that are rebuilt of each class.
        labels_known: the private labels are given. Shown in every table where it is true.
        auxiliary: the attacker owns images of the same distribution, disjoint from all private images.
        batch_norm: how the client normalised, and whether its statistics are known.
        access: to the client's half of a split network, or to the clients of a malicious server; else None.
        generator: the attacker has trained a generator on these images.
        local: the clients' steps before they send, where they are more than one; all but the order of their
            images is known.
    """

    channel: Channel
    adversary: Adversary
    batch_size: int
    labels_known: bool = False
    auxiliary: bool = False
    batch_norm: BatchNorm = BatchNorm.NONE
    access: Access | None = None
    generator: bool = False
    local: LocalTraining | None = None
