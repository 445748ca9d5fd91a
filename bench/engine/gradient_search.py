"""The search that attacks on gradients share: what a paper says is handed in, all else is done here."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from bench.api.attack import Reconstruction
from bench.api.observation import GradientObservation
from bench.engine.matching import Loss, Matching, adaptive_loss
from bench.engine.memory import chunk_size
from bench.engine.minimisers.contract import Minimiser
from bench.engine.minimisers.search import Chunks, Restarts
from bench.engine.objective import Objective
from bench.engine.parametrise import Parametrisation, WithDraws
from bench.engine.priors import Weighted
from bench.engine.transforms.inputs import InputSpace, imitated

RESERVE = 5
"""Another attempt is worth it while one of so many parts of the budget is left."""


def gradient_search(
    observation: GradientObservation,
    loss: Loss,
    objective: Callable[[GradientObservation, Matching], Objective],
    minimiser: Minimiser[Objective],
    *,
    budget: int,
    seed: int,
    labels: Tensor | None = None,
    enough: float = math.inf,
    restarts: int = 0,
    box: bool = False,
    precision: str = "single",
    imitations: int = 0,
    without: Weighted = (),
    pairs: int = 0,
    changed: int = 0,
    found_as: Parametrisation | None = None,
) -> Reconstruction:
    """Minimises the cost of every victim's dummy batch, and returns the images.

    The adaptive attacker's loss is the likelihood of a known defense, or looks at transmitted entries alone.
    Inputs that clients are known to transform are searched in place of images, from which a network leads
    back that learns within the budget; or images are searched through copies of the transform.

    Args:
        observation: of N victims.
        loss: the attack's own distance of gradients.
        objective: the cost of some releases, by the loss that the attacker really uses.
        minimiser: of every attempt.
        budget: evaluations per victim over all its attempts, and what is learned.
        seed: of the starts (by it, the attempt and the victim's number) and of what is learned.
        labels: int64 ``[N, B]``, what is reported; None: the likeliest ones of the targets found.
        enough: a cost above which an attempt failed.
        restarts: further attempts that a victim may have while a fifth of the budget is left.
        box: whether every iterate is projected on inputs that a client could have.
        precision: ``single`` or ``double``.
        imitations: copies of a known transform to search through; 0: its results are searched.
        without: priors that the cost reported leaves out.
        pairs: of points that the minimiser remembers of each victim.
        changed: numbers that it changes for each victim, if not the unknowns.
        found_as: what its points are, if not the unknowns.

    Raises:
        IncompatibleError: a transform is known, and there are no auxiliary images.
    """
    if imitations:
        space = InputSpace(observation=observation, budget=budget, seed=seed)
    else:
        space = InputSpace.of(observation, budget=budget, seed=seed)
    seen = in_double(space.observation) if precision == "double" else space.observation
    whole = objective(seen, adaptive_loss(seen, loss))
    if imitations:
        whole = replace(whole, imitations=imitated(seen, seed=seed, number=imitations))
    if found_as is None and whole.again is None and not whole.penalties:
        whole = replace(whole, parametrisation=WithDraws.of(whole.parametrisation, seen))
    unknowns = whole.parametrisation
    size = chunk_size(seen, unknowns=changed or unknowns.size, pairs=pairs)
    whole = replace(whole, alone=min(size, seen.victims) == 1)
    start = [
        unknowns.start(seen.ids, seed=seed + number, like=seen.reference) for number in range(restarts + 1)
    ]
    least = max(1, math.ceil(space.budget / RESERVE))
    search = Chunks(minimiser=Restarts(minimiser=minimiser, enough=enough, least=least), size=size)
    found = search.minimise(
        whole,
        torch.stack(start, dim=1),
        evaluations=torch.full_like(seen.ids, space.budget),
        project=space.project if box else None,
    )
    with torch.no_grad():
        images, targets = (found_as or unknowns).decode(found.point)
        cost = found.cost
        for weight, prior in without:
            cost = cost - weight * prior(images)
    return Reconstruction(
        images=space.images(images).float(),
        cost=cost.float(),
        evaluations=found.evaluations + space.learning,
        labels=targets.argmax(-1) if labels is None else labels,
    )


def in_double(observation: GradientObservation) -> GradientObservation:
    """The same observation in float64; what was rounded before it was released stays rounded."""
    known = observation.statistics
    return replace(
        observation,
        model=copy.deepcopy(observation.model).double(),
        parameters={name: value.double() for name, value in observation.parameters.items()},
        gradients={name: value.double() for name, value in observation.gradients.items()},
        statistics=None if known is None else {name: value.double() for name, value in known.items()},
    )
