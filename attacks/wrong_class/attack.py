"""What images of another class score as those of the attacked one: a control, not an attack."""

from __future__ import annotations

from dataclasses import replace

from bench.api import ModelAttack, ModelObservation, Reconstruction
from bench.attacks.gmi.attack import GMI


class WrongClass(ModelAttack):
    """GMI at the class after the target."""

    def __init__(self, *, generator: str = "wgan_gp") -> None:
        """The generator is given; all else is as in GMI."""
        self.attack = GMI()

    def reconstruct(self, observation: ModelObservation, *, budget: int, seed: int) -> Reconstruction:
        """Images of class (target + 1) mod K.

        Raises:
            IncompatibleError: there is no generator with a critic.
        """
        others = (observation.targets + 1) % observation.num_classes
        found = self.attack.aimed(observation, others, budget=budget, seed=seed)
        return replace(found, labels=None)
