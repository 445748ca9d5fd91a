"""Improved Deep Leakage from Gradients (Zhao, Mopuri, Bilen, 2020)."""

from __future__ import annotations

from torch import Tensor

from bench.api import Attack, GradientObservation, IncompatibleError, Reconstruction
from bench.engine import (
    LBFGS,
    Euclidean,
    InputSpace,
    Objective,
    Optimum,
    Pixels,
    Stopping,
    adaptive_loss,
    assumed,
    chunk_size,
    incomplete,
    pixel_targets,
    private_labels,
    search,
    total_variation,
)
from bench.engine.parametrise import starts
from bench.engine.precision import in_double


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
        self.optimiser = LBFGS(history=history, line_search=line_search)
        self.stopping = Stopping(target=target, progress=progress, abort_cost=hopeless)
        self.precision = precision
        self.errors = errors
        self.restarts = restarts
        self.tv = tv
        self.tv_nats = tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Dummy pixels start at N(0, 1); failed starts are drawn again.

        Labels that are given are used. Where the last layer does not tell the label, it is reported as
        unknown, and every start assumes another class.

        Raises:
            IncompatibleError: B > 1 and no labels are given: the sign rule does not tell them.
        """
        if observation.batch_size != 1 and not observation.threat.labels_known:
            raise IncompatibleError("the sign rule for labels holds for B = 1 only")
        labels = private_labels(observation)
        space = InputSpace.of(observation, budget=budget, seed=seed)
        observation = in_double(space.observation) if self.precision == "double" else space.observation
        matching, likelihood = adaptive_loss(observation, Euclidean)
        weight = self.tv_nats if likelihood else self.tv
        priors = ((weight, total_variation),) if incomplete(observation) else ()
        # A likelihood has no known scale.
        stopping = Stopping(progress=1e-2) if likelihood else self.stopping

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            classes = assumed(seen, private_labels(seen), turn=restart)
            unknowns = Pixels.told(seen, pixel_targets(seen, classes, errors=self.errors))
            objective = Objective(seen, unknowns, matching, priors)
            start = starts(seen.ids, unknowns.size, seed=seed + restart, like=seen.reference)
            return self.optimiser.minimise(objective, start, budget=left, stopping=stopping)

        unknowns = Pixels.of(observation, assumed(observation, labels))
        found = search(
            observation,
            attempt,
            budget=space.budget,
            failed=lambda cost: cost > stopping.abort_cost,
            restarts=self.restarts,
            chunk=chunk_size(observation, unknowns=unknowns.size, pairs=self.optimiser.history),
        )
        images, _ = unknowns.decode(found.point)
        return Reconstruction(
            images=space.images(images).float(),
            cost=found.cost.float(),
            evaluations=found.evaluations + space.learning,
            labels=labels,
        )
