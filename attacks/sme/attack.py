"""SME: surrogate model extension (Zhu, Yao, Blaschko, ICML 2023)."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.sme.surrogate import PixelsAndPlace, SurrogateObjective, WithPlace, last_weights
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
    private_labels,
    total_variation,
)
from bench.engine.gradients import one_hot


class SurrogateModelExtension(Attack):
    """Takes an update of many local steps for one gradient, at weights between the first and the last."""

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        decay: str = "cosine",
        iterations: int = 240,
        place: float = 0.5,
        place_rate: float = 0.01,
        tv: float = 0.03,
        tv_power: float = 2.0,
        tv_end: float = 1e-3,
        tv_nats: float = 3000.0,
    ) -> None:
        """Sets the schedule, the surrogate's first place and its rate, and the weights of the prior."""
        self.optimiser = SignedAdam(learning_rate=learning_rate, decay=decay, iterations=iterations)
        self.place, self.place_rate = place, place_rate
        self.fading = Fading(tv, colour_variation, tv_power)
        self.tv_end, self.tv_nats = tv_end, tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Minimises 1 - cos(w_0 - w_S, grad L(w(a))) + tv TV(x) over the images and a.

        A client that takes one step sends the gradient at w_0, and a is 0.
        """
        local, nats = observation.threat.local, in_nats(observation)
        prior = (self.tv_nats, total_variation) if nats else (self.tv_end, colour_variation)
        labels = private_labels(observation)
        # To all that follows the update is one gradient.
        whole = replace(observation, threat=replace(observation.threat, local=None))

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            targets = one_hot(assumed(seen, labels), seen.num_classes, seen.reference.dtype)
            shape = (seen.batch_size, *seen.image_shape)
            faded = None if nats else self.fading
            if local is None:
                return Objective(seen, Pixels(shape, targets), matching, (prior,), fading=faded)
            return SurrogateObjective(
                observation=seen,
                parametrisation=PixelsAndPlace(shape, targets, self.place),
                matching=matching,
                priors=(prior,),
                fading=faded,
                last=last_weights(seen, local),
            )

        adam = replace(self.optimiser, decay="steps") if nats else self.optimiser
        return gradient_search(
            whole,
            Cosine,
            objective,
            adam if local is None else WithPlace(**vars(adam), place_rate=self.place_rate),
            budget=budget,
            seed=seed,
            labels=labels,
            box=True,
            without=(prior,),
        )
