"""Deep Leakage from Gradients (Zhu, Liu, Han, NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.engine import (
    LBFGS,
    Euclidean,
    InputSpace,
    Objective,
    Optimum,
    Pixels,
    PixelsAndLabels,
    Stopping,
    adaptive_loss,
    chunk_size,
    incomplete,
    pixel_targets,
    private_labels,
    search,
    total_variation,
)
from bench.engine.parametrise import starts
from bench.engine.precision import in_double


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
        self.optimiser = LBFGS(history=history, line_search=line_search)
        self.stopping = Stopping(target=target, progress=progress, abort_cost=hopeless)
        self.precision = precision
        self.settled = settled
        self.errors = errors
        self.restarts = restarts
        self.tv = tv
        self.tv_nats = tv_nats

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Dummy pixels and label logits start at N(0, 1); failed starts are drawn again.

        Labels that are given are hard ones from the start, and only pixels are searched.
        """
        space = InputSpace.of(observation, budget=budget, seed=seed)
        observation = in_double(space.observation) if self.precision == "double" else space.observation
        matching, likelihood = adaptive_loss(observation, Euclidean)
        given = observation.threat.labels_known
        unknowns = self._told(observation) if given else PixelsAndLabels.of(observation)
        weight = self.tv_nats if likelihood else self.tv
        priors = ((weight, total_variation),) if incomplete(observation) else ()
        # A likelihood has no known scale.
        stopping = Stopping(progress=1e-2) if likelihood else self.stopping
        settled = 0.0 if likelihood else self.settled
        # A start that ends before its labels are settled is stuck between classes.
        enough = min(settled, stopping.abort_cost) if settled and not given else stopping.abort_cost

        def attempt(seen: GradientObservation, restart: int, left: Tensor) -> Optimum:
            start = starts(seen.ids, unknowns.size, seed=seed + restart, like=seen.reference)
            if given:
                alone = Objective(seen, self._told(seen), matching, priors)
                return self.optimiser.minimise(alone, start, budget=left, stopping=stopping)
            joint = Objective(seen, unknowns, matching, priors)
            until = replace(stopping, target=max(stopping.target, settled))
            found = self.optimiser.minimise(joint, start, budget=left, stopping=until)
            rows = ((found.cost <= settled) & (found.evaluations < left)).nonzero()[:, 0]
            return self._finished(joint, found, rows, left, stopping) if len(rows) else found

        size = unknowns.size
        found = search(
            observation,
            attempt,
            budget=space.budget,
            failed=lambda cost: cost > enough,
            restarts=self.restarts,
            chunk=chunk_size(observation, unknowns=size, pairs=self.optimiser.history),
        )
        images, labels = unknowns.decode(found.point)
        return Reconstruction(
            images=space.images(images).float(),
            cost=found.cost.float(),
            evaluations=found.evaluations + space.learning,
            labels=private_labels(observation) if given else labels.argmax(-1),
        )

    def _told(self, seen: GradientObservation) -> Pixels:
        """The unknowns where the labels are given."""
        return Pixels.told(seen, pixel_targets(seen, private_labels(seen), errors=self.errors))

    def _finished(
        self, joint: Objective, found: Optimum, rows: Tensor, left: Tensor, stopping: Stopping
    ) -> Optimum:
        """Searches the images of some victims further, with the labels that were found as hard ones.

        A softmax approaches a hard label ever more slowly, and would take as many evaluations again.
        """
        part, point = joint.observation.select(rows), found.point[rows]
        images, labels = joint.parametrisation.decode(point)
        pixels = Pixels.told(part, pixel_targets(part, labels.argmax(-1), errors=self.errors))
        alone = Objective(part, pixels, joint.matching, joint.priors)
        spent = found.evaluations[rows]
        # The memory of curvature starts anew, so that its progress is looked at more patiently.
        stopping = replace(stopping, patience=2 * stopping.patience)
        more = self.optimiser.minimise(alone, images.flatten(1), budget=left[rows] - spent, stopping=stopping)
        better = more.cost < found.cost[rows]
        whole = torch.cat([more.point, point[:, pixels.size :]], dim=1)
        found.point[rows] = torch.where(better.unsqueeze(1), whole, point)
        found.cost[rows] = torch.where(better, more.cost, found.cost[rows])
        found.evaluations[rows] = spent + more.evaluations
        return found
