"""What attacks on gradients share: what is minimised, tried again, charged and reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, DefenseView, GradientObservation, Gradients
from bench.engine import (
    Cosine,
    Euclidean,
    Fading,
    Matching,
    Objective,
    Optimum,
    Pixels,
    PixelsAndLabels,
    colour_variation,
    gradient_search,
    total_variation,
)
from bench.engine.minimisers.contract import Project
from tests.engine.observations import batches, observation

Built = Callable[[GradientObservation, Matching], Objective]


@dataclass
class Still:
    """Stays where it starts; costs are written down for each attempt of all victims."""

    costs: list[list[float]]
    price: int = 1
    met: list[tuple[Objective, Tensor, list[int]]] = field(default_factory=list)

    def minimise(
        self, objective: Objective, start: Tensor, *, evaluations: Tensor, project: Project | None = None
    ) -> Optimum:
        point = project(start) if project else start
        cost = torch.tensor(self.costs[len(self.met)]).to(start)
        self.met.append((objective, start, evaluations.tolist()))
        return Optimum(point, cost, torch.full_like(evaluations, self.price))


def told(seen: GradientObservation, matching: Matching) -> Objective:
    return Objective(seen, Pixels.of(seen, batches(len(seen.ids), 1)[1]), matching)


def joint(seen: GradientObservation, matching: Matching) -> Objective:
    return Objective(seen, PixelsAndLabels.of(seen), matching)


def run(way: Still, built: Built = told, **more: Any) -> Any:
    seen = more.pop("seen", None) or observation("lenet", *batches(2, 1))
    return gradient_search(seen, Euclidean, built, way, **{"budget": 20, "seed": 3, **more})


def test_attempts_have_starts_of_their_own_and_share_the_budget() -> None:
    way = Still([[0.9, 0.1], [0.2]], price=7)
    found = run(way, restarts=3, enough=0.5)
    assert [spent for *_, spent in way.met] == [[20, 20], [13]]
    (_, first, _), (again, second, _) = way.met
    assert again.ids.tolist() == [0] and not torch.equal(first[0], second[0])
    assert found.evaluations.tolist() == [14, 7] and found.cost.tolist() == pytest.approx([0.2, 0.1])
    torch.testing.assert_close(found.images.flatten(1), torch.cat([second, first[1:]]))


def test_a_further_attempt_may_search_other_unknowns() -> None:
    def built(seen: GradientObservation, matching: Matching) -> Objective:
        def unknowns(some: GradientObservation, attempt: int) -> Pixels:
            return Pixels.of(some, torch.full_like(some.ids, attempt)[:, None])

        return Objective(seen, unknowns(seen, 0), matching, again=unknowns)

    way = Still([[0.9, 0.1], [0.9], [0.9]])
    run(way, built, restarts=2, enough=0.5)
    targets = [
        objective.parametrisation.decode(start)[1].argmax(-1).flatten().tolist()
        for objective, start, _ in way.met
    ]
    assert targets == [[0, 0], [1], [2]]


def test_a_box_holds_pixels_and_leaves_labels_alone() -> None:
    way = Still([[0.0, 0.0]])
    found = run(way, joint, box=True)
    logits = way.met[0][1][:, -10:]
    assert found.images.min() >= 0 and found.images.max() <= 1 and logits.min() < 0
    assert torch.equal(found.labels.flatten(), logits.argmax(1))


def test_what_is_reported_may_leave_priors_out_and_name_labels() -> None:
    labels = torch.tensor([[4], [-1]])
    found = run(Still([[5.0, 5.0]]), without=((2.0, total_variation),), labels=labels)
    torch.testing.assert_close(found.cost, 5 - 2 * total_variation(found.images))
    assert torch.equal(found.labels, labels)


def test_an_adaptive_attackers_loss_is_the_likelihood() -> None:
    def likelihood(candidate: Gradients, observed: Gradients) -> Tensor:
        return torch.zeros(2)

    seen = observation("lenet", *batches(2, 1), adversary=Adversary.ADAPTIVE)
    known = replace(seen, defense=DefenseView(negative_log_likelihood=likelihood))
    for some, want in ((seen, Euclidean()), (known, likelihood)):
        way = Still([[0.0, 0.0]])
        run(way, seen=some)
        assert way.met[0][0].matching == want


def test_double_precision_reaches_the_minimiser() -> None:
    way = Still([[0.0, 0.0]])
    found = run(way, precision="double")
    assert way.met[0][1].dtype == torch.float64 and found.images.dtype == torch.float32


def test_what_fades_guides_the_objective_gradients_by_its_share_and_enters_no_cost() -> None:
    seen = observation("lenet", *batches(2, 1))
    plain = Objective(seen, Pixels.of(seen, batches(2, 1)[1]), Cosine())
    led = replace(plain, fading=Fading(0.5, colour_variation, 3.0))
    point = torch.rand(2, 1024, generator=torch.Generator().manual_seed(0))
    leaf = point.clone().requires_grad_()
    (rough,) = torch.autograd.grad(colour_variation(leaf.view(2, 1, 1, 32, 32)).sum(), leaf)
    cost, objective_gradient = plain(point)
    for share in (1.0, 0.5, 0.0):
        own, guided = led(point, share)
        torch.testing.assert_close(own, cost)
        torch.testing.assert_close(guided, objective_gradient + 0.5 * share**3 * rough)


def test_one_victim_is_searched_alone_and_the_last_of_several_is_not() -> None:
    single, several = Still([[0.9]]), Still([[0.9, 0.1], [0.2]])
    run(single, seen=observation("lenet", *batches(1, 1)))
    run(several, restarts=1, enough=0.5)
    assert [objective.alone for objective, *_ in single.met] == [True]
    assert [(len(objective.ids), objective.alone) for objective, *_ in several.met] == [
        (2, False),
        (1, False),
    ]
