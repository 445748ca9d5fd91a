"""What an attacker has of a released classifier."""

from __future__ import annotations

from enum import StrEnum


class ModelAccess(StrEnum):
    """The access level of an attack on the channel ``model``, from the most to the least."""

    WHITE = "white"
    """The network with its weights, which can be differentiated."""
    SCORE = "score"
    """A black box: softmax scores of images of the attacker; no weights, no gradients, no architecture."""
    LABEL = "label"
    """A black box that gives the class of an image and nothing else (label only)."""

    @property
    def words(self) -> str:
        """What the attacker has, for people."""
        return {
            ModelAccess.WHITE: "its architecture and weights (white box)",
            ModelAccess.SCORE: "its softmax scores for images of the attacker (black box)",
            ModelAccess.LABEL: "its class for images of the attacker, without scores (label only)",
        }[self]

    @property
    def observes(self) -> str:
        """The same in a table of threat models."""
        return {
            ModelAccess.WHITE: "the weights of the classifier",
            ModelAccess.SCORE: "the classifier's softmax scores for images of its own",
            ModelAccess.LABEL: "the classifier's class for images of its own",
        }[self]
