"""SME: a surrogate of the client's local training in place of its simulation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from bench.api import GradientObservation, Reconstruction
from bench.api.threat import LocalTraining
from bench.attacks.sme.surrogate import PixelsAndPlace, SurrogateObjective, WithPlace, last_weights
from bench.engine import Cosine, Objective, Pixels, SignedAdam
from bench.engine.gradients import gradient_map, one_hot
from bench.metrics import psnr
from bench.plugins import build_attack
from tests.engine.observations import batches, drawn, observation, plain_gradients, weights

LOCAL = LocalTraining(epochs=5, batch_size=0, learning_rate=0.05)


@cache
def updates(
    victims: int = 2, batch_size: int = 1
) -> tuple[GradientObservation, Tensor, list[dict[str, Tensor]]]:
    """Releases of local training by hand, in float64; the images, and the weights each client ended with."""
    images, labels = batches(victims, batch_size)
    model, start = drawn("convnet", 0).double(), {k: v.double() for k, v in weights("convnet", 0).items()}
    sent, ended = [], []
    for batch, named in zip(images.double(), labels, strict=True):
        here = dict(start)
        for _ in range(LOCAL.epochs):
            step = plain_gradients(model, here, batch, named)
            here = {name: value - LOCAL.learning_rate * step[name] for name, value in here.items()}
        ended.append(here)
        moved = LOCAL.epochs * LOCAL.learning_rate
        sent.append({name: (start[name] - value) / moved for name, value in here.items()})
    seen = observation("convnet", images, labels, dtype=torch.float64)
    return (
        replace(
            seen,
            gradients={name: torch.stack([one[name] for one in sent]) for name in start},
            threat=replace(seen.threat, local=LOCAL),
        ),
        images,
        ended,
    )


def surrogate(seen: GradientObservation, labels: Tensor) -> SurrogateObjective:
    single = replace(seen, threat=replace(seen.threat, local=None))
    shape = (seen.batch_size, *seen.image_shape)
    unknowns = PixelsAndPlace(shape, one_hot(labels, seen.num_classes, torch.float64))
    return SurrogateObjective(
        observation=single, parametrisation=unknowns, matching=Cosine(), last=last_weights(seen, LOCAL)
    )


def test_the_release_and_the_rate_tell_where_a_client_ended() -> None:
    seen, _, ended = updates()
    last = last_weights(seen, LOCAL)
    for name in seen.parameters:
        for victim, weight in enumerate(ended):
            torch.testing.assert_close(last[name][victim], weight[name])


def test_at_its_ends_the_surrogate_is_the_first_and_the_last_model() -> None:
    seen, images, ended = updates()
    labels = batches(2, 1)[1]
    objective = surrogate(seen, labels)
    for place, known in ((0.0, [seen.parameters] * 2), (1.0, ended)):
        point = torch.cat([images.double().flatten(1), torch.full((2, 1), place).double()], dim=1)
        stacked = {name: torch.stack([one[name] for one in known]) for name in seen.parameters}
        there = gradient_map(seen.model, stacked, per_victim_weights=True)
        found = there(images.double(), one_hot(labels, 10, torch.float64))
        torch.testing.assert_close(objective.costs(point), Cosine()(found, seen.gradients))


def test_the_cost_is_differentiable_in_the_place() -> None:
    seen, images, _ = updates()
    objective = surrogate(seen, batches(2, 1)[1])
    point = torch.cat([images.double().flatten(1), torch.tensor([[0.3], [0.6]]).double()], dim=1)
    step = torch.zeros_like(point)
    step[:, -1] = 1e-7  # a longer one crosses kinks of the ReLU network
    _, gradient = objective(point)
    numeric = (objective.costs(point + step) - objective.costs(point - step)) / 2e-7
    torch.testing.assert_close(gradient[:, -1], numeric, rtol=1e-3, atol=1e-6)
    assert (numeric.abs() > 1e-6).all()


def test_true_images_fit_best_between_the_ends() -> None:
    """The mean of the gradients on the way is nearer to one on the way than to the first or the last."""
    seen, images, _ = updates()
    objective = surrogate(seen, batches(2, 1)[1])

    def cost(place: float) -> Tensor:
        return objective.costs(
            torch.cat([images.double().flatten(1), torch.full((2, 1), place).double()], dim=1)
        )

    assert (cost(0.4) < cost(0.0)).all() and (cost(0.4) < cost(1.0)).all()


class _Slopes:
    """The same derivatives everywhere."""

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        return -point.sum(1), -torch.ones_like(point)


def test_the_place_has_a_rate_of_its_own_and_stays_between_the_ends() -> None:
    start = torch.full((1, 3), 0.5)
    count = torch.tensor([4])
    found = WithPlace(learning_rate=0.1, decay="steps", place_rate=0.01).minimise(
        _Slopes(), start, evaluations=count
    )
    plain = SignedAdam(learning_rate=0.1, decay="steps").minimise(_Slopes(), start, evaluations=count)
    torch.testing.assert_close(found.point[:, :2], plain.point[:, :2])
    torch.testing.assert_close(found.point[:, 2], torch.tensor([0.53]))
    far = WithPlace(place_rate=0.4).minimise(_Slopes(), start, evaluations=count)
    assert far.point[0, 2] == 1


def attacked(name: str, seen: GradientObservation, **parameters: int | str) -> Reconstruction:
    return build_attack(name, {"iterations": 60, **parameters}).reconstruct(seen, budget=60, seed=0)


def test_of_a_single_step_it_is_inverting_gradients() -> None:
    seen = observation("convnet", *batches(2, 1))
    found = attacked("sme", seen).images
    assert torch.equal(found, attacked("inverting_gradients", seen, errors="dummy").images)


def test_it_rebuilds_what_one_gradient_does_not_explain() -> None:
    seen, images, _ = updates()
    seen = replace(
        seen,
        model=seen.model.float(),
        parameters={name: value.float() for name, value in seen.parameters.items()},
        gradients={name: value.float() for name, value in seen.gradients.items()},
    )
    taken = replace(seen, threat=replace(seen.threat, local=None))
    level = psnr(attacked("sme", seen).images.flatten(0, 1), images.flatten(0, 1)).mean()
    plain = psnr(attacked("inverting_gradients", taken, errors="dummy").images[:, 0], images[:, 0]).mean()
    print(f"{level:.1f} dB, as one gradient {plain:.1f}")
    assert level > plain + 0.5


def test_victims_of_another_order_or_alone_are_found_alike() -> None:
    seen, _, _ = updates()
    attack = build_attack("sme", {"iterations": 8})
    whole = attack.reconstruct(seen, budget=8, seed=0).images
    turned = attack.reconstruct(seen.select(torch.tensor([1, 0])), budget=8, seed=0).images
    alone = attack.reconstruct(seen.select(torch.tensor([1])), budget=8, seed=0).images
    assert ((turned.flip(0) - whole).abs() < 1e-6).double().mean() > 0.999
    assert ((alone - whole[1:]).abs() < 1e-6).double().mean() > 0.999


def test_no_local_step_is_simulated() -> None:
    """One evaluation is two passes of the network, however many steps the clients took."""
    seen, images, _ = updates()
    objective = surrogate(seen, batches(2, 1)[1])
    assert isinstance(objective, Objective) and isinstance(objective.parametrisation, Pixels)
    passes: list[int] = []
    handle = seen.model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        objective(torch.cat([images.double().flatten(1), torch.full((2, 1), 0.5).double()], dim=1))
    finally:
        handle.remove()
    assert len(passes) == 1
