"""GradInversion, "See through Gradients" (Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov, CVPR 2021)."""

from __future__ import annotations

from functools import partial
from math import prod

from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.attacks.gradinversion.group import Group, LangevinAdam
from bench.attacks.gradinversion.matching import TensorNorms
from bench.engine import (
    Fading,
    Matching,
    Objective,
    Pixels,
    assumed,
    chunk_size,
    colour_variation,
    gradient_search,
    in_nats,
    pixel_targets,
    private_labels,
    total_variation,
)
from bench.engine.priors import Weighted

FIRST = 10.0
"""The first BatchNorm layer's statistics, nearest the image, count so many times."""


class GradInversion(Attack):
    """Minimises L_grad + R_fidelity + R_group over the images of several seeds, by Adam with Langevin noise.

    ``L_grad = alpha_G sum_l ||grad_l(x, y) - g_l||`` and ``R_fidelity = alpha_tv R_tv + alpha_l2 R_l2 +
    alpha_BN R_BN`` (Eq. 1, 2, 7 and 8); R_group is that of :class:`~bench.attacks.gradinversion.group.Drawn`.
    """

    def __init__(
        self,
        *,
        seeds: int = 1,
        group: float = 0.01,
        learning_rate: float = 0.1,
        warm_up: float = 0.05,
        noise: float = 0.0,
        iterations: int = 300,
        gradient: float = 1.0,
        relative: bool = True,
        tv_fading: float = 0.1,
        tv: float = 1e-3,
        tv_nats: float = 3000.0,
        l2: float = 1e-6,
        statistics: float = 0.1,
        errors: str = "read",
    ) -> None:
        """Sets the seeds, the schedule, and the weights alpha of what is minimised."""
        self.adam = LangevinAdam(learning_rate=learning_rate, warm_up=warm_up, decay=1.0, noise=noise)
        self.seeds, self.group, self.iterations = seeds, group, iterations
        self.loss = partial(TensorNorms, weight=gradient, relative=relative)
        self.fading = Fading(tv_fading, colour_variation)
        self.priors: Weighted = ((tv, colour_variation), (l2, norms))
        self.nats: Weighted = ((tv_nats, total_variation),)
        self.statistics = statistics
        self.errors = errors

    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Labels are given or inferred from the last layer; all seeds of all victims are searched at once."""
        nats = in_nats(observation)
        priors = self.nats if nats else self.priors
        statistics = 0.0 if nats or observation.statistics is None else self.statistics

        def objective(seen: GradientObservation, matching: Matching) -> Objective:
            classes = assumed(seen, private_labels(seen))
            return Objective(
                seen,
                Pixels.told(seen, pixel_targets(seen, classes, errors=self.errors)),
                matching,
                priors,
                fading=None if nats else self.fading,
                statistics=statistics,
                first_statistics=FIRST,
            )

        return gradient_search(
            observation,
            self.loss,
            objective,
            Group(
                adam=self.adam,
                seeds=self.seeds,
                weight=0.0 if nats else self.group,
                seed=seed,
                rows=chunk_size(observation, unknowns=observation.batch_size * prod(observation.image_shape)),
            ),
            budget=min(budget, self.seeds * self.iterations),
            seed=seed,
            labels=private_labels(observation),
            box=True,
            without=priors,
        )


def norms(images: Tensor) -> Tensor:
    """R_l2: the sum over a batch ``[N, B, C, H, W]`` of the Euclidean norms of its images, ``[N]``."""
    found: Tensor = images.flatten(2).norm(dim=2).sum(dim=1)
    return found
