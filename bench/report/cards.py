"""What the tables need from plug-in cards; a plug-in that is not installed has no card and no effect."""

from __future__ import annotations

from bench.api.cards import AttackCard, DefenseCard
from bench.api.errors import UsageError
from bench.plugins import attack_card, defense_card


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
