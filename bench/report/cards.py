"""What the tables need from plug-in cards; a plug-in that is not installed has no card and no effect."""

from __future__ import annotations

from collections.abc import Mapping

from bench.api.cards import AttackCard, DefenseCard
from bench.api.errors import UsageError
from bench.matrix import load_matrix
from bench.matrix.suites import Suite, by_channel, newest
from bench.plugins import attack_card, dataset_card, defense_card


class Cards:
    """Look-ups that answer None for a plug-in that is unknown here or broken."""

    def attack(self, name: str) -> AttackCard | None:
        """The card of an attack."""
        try:
            return attack_card(name)
        except UsageError:
            return None

    def defense(self, name: str) -> DefenseCard | None:
        """The card of a defense."""
        try:
            return defense_card(name)
        except UsageError:
            return None

    def observes_release(self, name: str) -> bool:
        """False for an attack whose card says that it ignores the release: it is a floor of the tables."""
        card = self.attack(name)
        return card is None or card.observes_release

    def adaptable(self, name: str) -> bool | None:
        """Whether an adaptive attacker finds anything to adapt to in a defense; None if nobody says."""
        card = self.defense(name)
        return None if card is None else card.adaptive_view

    def holds_answer(self, name: str) -> bool:
        """True for a bound that chooses from a list in which the private images are: it is no attack."""
        card = self.attack(name)
        return card is not None and card.receives_pool

    def classes(self, dataset: str) -> int | None:
        """How many classes a data set has; None where nobody says, as for a user's own images."""
        try:
            return dataset_card(dataset).num_classes
        except UsageError:
            return None

    def suites(self, matrix: str) -> Mapping[str, Suite]:
        """The suites that the rows of a matrix must have met, by channel.

        Args:
            matrix: ``name@version`` of a matrix that ships; empty for any other, to which the newest suites
                apply. To an old matrix that names no suite none does.
        """
        return by_channel(load_matrix(matrix).suites if matrix else newest())
