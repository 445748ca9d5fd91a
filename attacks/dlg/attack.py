"""Deep Leakage from Gradients (Zhu, Liu, Han, NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.dlg.joint import Joint, hard
from bench.engine import (
    LBFGS,
    Euclidean,
    Matching,
    Objective,
    PixelsAndLabels,
    Stopping,
    gradient_search,
    in_nats,
    private_labels,
    smoothness,
)


class DLG(Attack):
    """Finds images and labels together whose gradients are the observed ones (Eq. 4)."""

    def __init__(
        self,
        *,
        history: int = 200,
        line_search: str = "wolfe",
        target: float = 1e-9,
        progress: float = 0.05,
        precision: str = "single",
        settled: float = 1e-2,
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
        self.settled = settled
        self.errors = errors
        self.restarts = restarts
        self.tv, self.tv_nats = tv, tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Dummy pixels and label logits start at N(0, 1); failed starts are drawn again.

        Labels that are given are hard ones from the start, and only pixels are searched.
        """
        given, nats = observation.threat.labels_known, in_nats(observation)
        # A likelihood has no known scale.
        stopping = Stopping(progress=1e-2) if nats else self.optimiser.stopping
        settled = 0.0 if nats or given else self.settled
        pixels = replace(self.optimiser, stopping=stopping)

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            labels = private_labels(seen) if given else None
            unknowns = PixelsAndLabels.of(seen) if labels is None else hard(seen, labels, self.errors)
            return Objective(seen, unknowns, matching, smoothness(seen, tv=self.tv, tv_nats=self.tv_nats))

        return gradient_search(
            observation,
            Euclidean,
            objective,
            pixels if given else Joint(pixels=pixels, settled=settled, errors=self.errors),
            budget=budget,
            seed=seed,
            labels=private_labels(observation) if given else None,
            # A start that ends before its labels are settled is stuck between classes.
            enough=min(settled or stopping.abort_cost, stopping.abort_cost),
            restarts=self.restarts,
            precision=self.precision,
            pairs=pixels.history,
        )
