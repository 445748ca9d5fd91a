"""Improved Deep Leakage from Gradients (Zhao, Mopuri, Bilen, 2020)."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Attack, GradientObservation, IncompatibleError, Reconstruction
from bench.engine import (
    LBFGS,
    Euclidean,
    Matching,
    Objective,
    Pixels,
    Stopping,
    assumed,
    gradient_search,
    in_nats,
    pixel_targets,
    private_labels,
    smoothness,
)


class IDLG(Attack):
    """Reads the label off the last layer (Eq. 4), then matches gradients (Algorithm 1)."""

    def __init__(
        self,
        *,
        history: int = 200,
        line_search: str = "wolfe",
        target: float = 1e-9,
        progress: float = 0.05,
        precision: str = "single",
        errors: str = "read",
        hopeless: float = 0.3,
        restarts: int = 2,
        tv: float = 3e-4,
        tv_nats: float = 3000.0,
    ) -> None:
        """Sets the optimiser, the stopping rule and the weights of the adaptive attacker's prior."""
        stopping = Stopping(target=target, progress=progress, abort_cost=hopeless)
        self.optimiser = LBFGS(history=history, line_search=line_search, stopping=stopping)
        self.precision = precision
        self.errors = errors
        self.restarts = restarts
        self.tv, self.tv_nats = tv, tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Dummy pixels start at N(0, 1); failed starts are drawn again.

        Labels that are given are used. Where the last layer does not tell the label, it is reported as
        unknown, and every start assumes another class.

        Raises:
            IncompatibleError: B > 1 and no labels are given: the sign rule does not tell them.
        """
        if observation.batch_size != 1 and not observation.threat.labels_known:
            raise IncompatibleError("the sign rule for labels holds for B = 1 only")
        # A likelihood has no known scale.
        stopping = Stopping(progress=1e-2) if in_nats(observation) else self.optimiser.stopping

        def unknowns(seen: GradientObservation, attempt: int) -> Pixels:
            classes = assumed(seen, private_labels(seen), turn=attempt)
            return Pixels.told(seen, pixel_targets(seen, classes, errors=self.errors))

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            prior = smoothness(seen, tv=self.tv, tv_nats=self.tv_nats)
            return Objective(seen, unknowns(seen, 0), matching, prior, again=unknowns)

        return gradient_search(
            observation,
            Euclidean,
            objective,
            replace(self.optimiser, stopping=stopping),
            budget=budget,
            seed=seed,
            labels=private_labels(observation),
            enough=stopping.abort_cost,
            restarts=self.restarts,
            precision=self.precision,
            pairs=self.optimiser.history,
        )
