"""The costs of candidates by their activations."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Gradients, IncompatibleError, SmashedObservation
from bench.engine.transforms.imitated import Imitations
from bench.engine.transforms.transmission import ACTIVATIONS, transmission_gain

_AT_ONCE = 250


@torch.no_grad()
def activation_costs(
    seen: SmashedObservation, pool: Tensor, copies: Imitations | None
) -> tuple[Tensor, Tensor]:
    """How unlike the activations of each candidate the observed ones are.

    The adaptive attacker takes the density of the known defense, or else the squared distance of what was
    transmitted; the naive one that of everything. Of a client that changes its images, every copy answers,
    and the distances are averaged.

    Args:
        seen: releases of one image each.
        pool: ``[P, C, H, W]``.
        copies: of what clients do to their images; None: nothing.

    Returns:
        Costs ``[N, P]``, and how many images were released for each, ``[N]``.

    Raises:
        IncompatibleError: the client gives no answers.
    """
    query = seen.query
    if query is None:
        raise IncompatibleError("candidates asks the client's half for activations, and it gives none")
    observed = seen.activations[:, 0]
    view, gain = seen.defense, 1.0
    if view is not None:
        gain = transmission_gain(view, seen.activations)
    found, spent = [], 0
    for part in pool.split(_AT_ONCE):
        inputs = part.to(observed)[None] if copies is None else copies.each(part.to(observed))
        answers = [gain * query(one) for one in inputs]
        spent += len(answers) * len(part)
        found.append(torch.stack([_costs(seen, one) for one in answers]).mean(0))
    return torch.cat(found, dim=1), torch.full_like(seen.ids, spent)


def _costs(seen: SmashedObservation, answers: Tensor) -> Tensor:
    """Costs ``[N, P]`` of answers ``[P, *Z]``."""
    view = seen.defense
    if view is not None and view.negative_log_likelihood is not None:
        rows = [
            view.negative_log_likelihood(_named(answers), _named(one.expand_as(answers)))
            for one in seen.activations
        ]
        return torch.stack(rows)
    observed, theirs = seen.activations.flatten(1).double(), answers.flatten(1).double()
    mask = torch.ones_like(observed)
    if view is not None and view.transmitted is not None:
        mask = view.transmitted({ACTIVATIONS: seen.activations})[ACTIVATIONS].flatten(1).to(mask)
    own = (mask * observed.square()).sum(1, keepdim=True)
    return mask @ theirs.square().T - 2 * (mask * observed) @ theirs.T + own


def _named(activations: Tensor) -> Gradients:
    """``[P, *Z]`` as P releases of one image."""
    return {ACTIVATIONS: activations.unsqueeze(1)}
