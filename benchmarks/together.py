"""Cells that differ in their seed or strength alone, in one batch: what it saves, and what it changes.

A cell is computed alone, so that it can be computed again alone, bit for bit. This measures the price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.setting import alternated, fresh, table, victims

CELLS = 4
"""As many as are attacked at once: at most 64 releases."""
RELEASES = 15
"""Of a cell of `full`."""
CLIENTS = 32
"""Of a round of training."""


def _joined(seen: Sequence[Any], *, shared: bool) -> Any:
    """The releases of several cells as those of one, each with the weights of its own network."""
    import torch

    first = seen[0]
    return replace(
        first,
        per_victim_weights=not shared,
        parameters=first.parameters
        if shared
        else {
            name: torch.cat([one.parameters[name].expand(one.victims, *value.shape) for one in seen])
            for name, value in first.parameters.items()
        },
        gradients={name: torch.cat([one.gradients[name] for one in seen]) for name in first.gradients},
        ids=torch.cat([one.ids for one in seen]),
    )


def attacked(model: str, attack: str, *, shared: bool) -> dict[str, str]:
    """One matching-gradient evaluation of four cells, one after another and in one batch."""
    import torch

    from bench.engine import Cosine, Euclidean, Objective, Pixels, PixelsAndLabels, total_variation
    from bench.engine.parametrise import starts

    torch.set_num_threads(1)
    # Strengths of one seed share the network of round 0; other releases stand for other noise.
    cells = [victims(model, RELEASES * (turn + 1), seed=0 if shared else turn) for turn in range(CELLS)]
    rows = torch.arange(RELEASES)
    seen = [one.observation.select(rows + turn * RELEASES) for turn, one in enumerate(cells)]
    labels = [one.labels[rows + turn * RELEASES] for turn, one in enumerate(cells)]

    def objective(one: Any, known: Any) -> Any:
        if attack == "dlg":
            return Objective(one, PixelsAndLabels.of(one), Euclidean())
        return Objective(one, Pixels.of(one, known), Cosine(), ((1e-3, total_variation),))

    alone = [objective(*pair) for pair in zip(seen, labels, strict=True)]
    whole = objective(_joined(seen, shared=shared), torch.cat(labels))
    size = alone[0].parametrisation.size
    points = [starts(one.ids, size, seed=0, like=one.reference) for one in seen]
    together = torch.cat(points)

    def one_by_one() -> Any:
        return torch.cat([one(point)[1] for one, point in zip(alone, points, strict=True)])

    what = "strengths of a seed" if shared else "seeds"
    return _row(f"`{attack}`, {model}, {CELLS} {what}", one_by_one, lambda: whole(together)[1])


def trained(model: str) -> dict[str, str]:
    """The gradients of one round of four federations."""
    import torch

    from bench.engine.gradients import gradient_map, one_hot
    from bench.victims.clients import soft_cross_entropy

    torch.set_num_threads(1)
    cells = [victims(model, CLIENTS, seed=turn) for turn in range(CELLS)]
    whole = _joined([one.observation for one in cells], shared=False)
    targets = [one_hot(one.labels, 10) for one in cells]
    maps = [
        gradient_map(
            one.observation.model,
            one.observation.parameters,
            per_victim_weights=False,
            loss=soft_cross_entropy,
        )
        for one in cells
    ]
    joint = gradient_map(whole.model, whole.parameters, per_victim_weights=True, loss=soft_cross_entropy)
    images, labels = torch.cat([one.images for one in cells]), torch.cat(targets)

    def flat(found: Any) -> Any:
        return torch.cat([value.flatten(1) for value in found.values()], dim=1)

    def one_by_one() -> Any:
        each = zip(maps, cells, targets, strict=True)
        return torch.cat([flat(found(one.images, label)) for found, one, label in each])

    return _row(f"training, {model}, {CELLS} federations", one_by_one, lambda: flat(joint(images, labels)))


def _row(what: str, alone: Callable[[], Any], together: Callable[[], Any]) -> dict[str, str]:
    """Both in turns, and how far apart their results are."""
    import torch

    first, second = alone(), together()
    apart = ((first - second).norm(dim=1) / first.norm(dim=1)).max().item()
    taken = alternated({"alone": alone, "together": together}, rounds=15)
    return {
        "": what,
        "alone, us per victim": f"{taken['alone'] * 1e6 / len(first):,.0f}",
        "together": f"{taken['together'] * 1e6 / len(first):,.0f}",
        "gain": f"{taken['alone'] / taken['together']:.2f}x",
        "largest relative difference": "none" if torch.equal(first, second) else f"{apart:.0e}",
    }


def report() -> str:
    """The table."""
    pairs = [(model, attack) for model in ("lenet", "convnet") for attack in ("dlg", "inverting_gradients")]
    rows = [fresh(attacked, *pair, shared=shared) for shared in (True, False) for pair in pairs]
    rows += [fresh(trained, model) for model in ("lenet", "convnet")]
    head = (
        f"One evaluation of {CELLS} cells of {RELEASES} releases, and one round of {CELLS} federations of "
        f"{CLIENTS} clients, one after another and in one batch. Searches and trainings magnify differences "
        "in the last digits: where there are any, a cell of a batch could not be computed again alone."
    )
    return "\n".join([head, "", table(rows)])
