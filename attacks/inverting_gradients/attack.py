"""Inverting Gradients (Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Attack, GradientObservation, IncompatibleError, Reconstruction
from bench.engine import (
    Cosine,
    Fading,
    Matching,
    Objective,
    Pixels,
    SignedAdam,
    assumed,
    colour_variation,
    gradient_search,
    in_nats,
    pixel_targets,
    private_labels,
    total_variation,
)


class InvertingGradients(Attack):
    """Matches the direction of the gradient, with total variation as prior (Eq. 4), by signed Adam."""

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        decay: str = "cosine",
        iterations: int = 240,
        tv_grey: float = 0.03,
        tv_colour: float = 0.05,
        tv_end: float = 1e-3,
        tv_power_grey: float = 2.0,
        tv_power_colour: float = 1.0,
        tv_nats: float = 3000.0,
        errors: str = "read",
        statistics: float = 0.0,
    ) -> None:
        """Sets the schedule and the weights of the priors: beside the cosine, or beside a likelihood."""
        self.optimiser = SignedAdam(learning_rate=learning_rate, decay=decay, iterations=iterations)
        self.grey = Fading(tv_grey, colour_variation, tv_power_grey)
        self.colour = Fading(tv_colour, colour_variation, tv_power_colour)
        self.tv_end, self.tv_nats = tv_end, tv_nats
        self.errors = errors
        self.statistics = statistics

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """One schedule from N(0, 1) for every victim; labels are given, or inferred from the last layer.

        Labels that the last layer does not tell are reported as unknown; the search assumes likely ones.

        Raises:
            IncompatibleError: BatchNorm statistics are to be matched, and there are none, or no cosine.
        """
        nats = in_nats(observation)
        if self.statistics and (nats or observation.statistics is None):
            why = "are weighed against a cosine" if nats else "are not known of this release"
            raise IncompatibleError(f"BatchNorm statistics {why}")
        prior = (self.tv_nats, total_variation) if nats else (self.tv_end, colour_variation)
        # Digits want little of what fades, photographs much; every attacker sees whether images are grey.
        fading = self.grey if observation.image_shape[0] == 1 else self.colour

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            classes = assumed(seen, private_labels(seen))
            unknowns = Pixels.told(seen, pixel_targets(seen, classes, errors=self.errors))
            faded = None if nats else fading
            return Objective(seen, unknowns, matching, (prior,), fading=faded, statistics=self.statistics)

        return gradient_search(
            observation,
            Cosine,
            objective,
            replace(self.optimiser, decay="steps") if nats else self.optimiser,
            budget=budget,
            seed=seed,
            labels=private_labels(observation),
            box=True,
            without=(prior,),
        )
