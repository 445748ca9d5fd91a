"""What an attacker sees and knows, as a type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """What leaves the client."""

    GRADIENTS = "gradients"


class Adversary(StrEnum):
    """Whether the attacker knows the defense and its parameters (Kerckhoffs) or ignores that there is one."""

    NAIVE = "naive"
    ADAPTIVE = "adaptive"


class Checkpoint(StrEnum):
    """When in the federation's life the release was made: round 0, or after the last round."""

    INITIAL = "initial"
    TRAINED = "trained"


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """The declared powers of one attacker.

    Attributes:
        channel: what it observes.
        adversary: ``naive`` or ``adaptive``.
        batch_size: images per release (B), known to the attacker as in all of the literature.
        labels_known: the private labels are given. Shown in every table where it is true.
        auxiliary: the attacker owns images of the same distribution, disjoint from all private images.
    """

    channel: Channel
    adversary: Adversary
    batch_size: int
    labels_known: bool = False
    auxiliary: bool = False
