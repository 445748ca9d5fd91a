"""BatchNorm in per-victim graphs: whose statistics are used, and what an attacker knows of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import Adversary, Channel, GradientObservation, ThreatModel
from bench.api.threat import BatchNorm
from bench.engine import Euclidean, Objective, Pixels
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.normalisation import batch_norms, batch_statistics, evaluating, own_statistics
from bench.models.resnet import ResNet18
from tests.engine.observations import DIGITS, batches, plain_gradients

VICTIMS, BATCH = 3, 2
near = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-9)


def network(seed: int = 0, *, running: bool = False) -> ResNet18:
    model = ResNet18(10, DIGITS, width=4, running=running)
    model.initialise(torch.Generator().manual_seed(seed))
    return model.double()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def private() -> tuple[Tensor, Tensor]:
    images, labels = batches(VICTIMS, BATCH)
    return images.double(), labels


def running_statistics(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, layer in batch_norms(model).items():
        channels = layer.num_features
        found[f"{name}.running_mean"] = torch.randn(channels, generator=generator, dtype=torch.float64)
        found[f"{name}.running_var"] = torch.rand(channels, generator=generator, dtype=torch.float64) + 0.5
    return found


@pytest.mark.parametrize("running", [False, True], ids=["own", "tracked"])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "per-victim"])
def test_training_mode_normalises_each_victim_by_its_own_batch(own: bool, running: bool) -> None:
    images, labels = private()
    models = [network(seed, running=running) for seed in ((0, 1, 2) if own else (0, 0, 0))]
    each = [weights_of(model) for model in models]
    stacked = {k: torch.stack([one[k] for one in each]) for k in each[0]}
    parameters = stacked if own else each[0]
    before = {k: v.clone() for k, v in models[0].named_buffers()}
    got = gradient_map(models[0], parameters, per_victim_weights=own)(
        images, one_hot(labels, 10, torch.float64)
    )
    assert all(torch.equal(value, before[name]) for name, value in models[0].named_buffers())
    for i in range(VICTIMS):
        lonely = network(0, running=running).train()
        want = plain_gradients(lonely, each[i], images[i], labels[i])
        for name, value in want.items():
            near(got[name][i], value)


def test_evaluation_mode_normalises_by_the_public_statistics() -> None:
    images, labels = private()
    model = network(running=True)
    statistics = running_statistics(model)
    got = gradient_map(model, weights_of(model), per_victim_weights=False, statistics=statistics)(
        images, one_hot(labels, 10, torch.float64)
    )
    assert model.training
    plain = network(running=True)
    plain.load_state_dict(statistics, strict=False)
    plain.eval()
    for i in range(VICTIMS):
        for name, value in plain_gradients(plain, weights_of(plain), images[i], labels[i]).items():
            near(got[name][i], value)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "per-victim"])
def test_batch_statistics_are_what_pytorch_would_remember(own: bool) -> None:
    images, _ = private()
    seeds = (0, 1, 2) if own else (0, 0, 0)
    each = [weights_of(network(seed)) for seed in seeds]
    parameters = {k: torch.stack([one[k] for one in each]) for k in each[0]} if own else each[0]
    got = batch_statistics(network(), parameters, images, per_victim_weights=own)
    for i in range(VICTIMS):
        plain = network(running=True)
        sizes: dict[str, int] = {}
        for name, layer in batch_norms(plain).items():
            layer.momentum = 1.0
            layer.register_forward_pre_hook(partial(count, sizes, name))
        functional_call(plain.train(), each[i], (images[i],))
        for name, layer in batch_norms(plain).items():
            assert layer.running_mean is not None and layer.running_var is not None
            near(got[f"{name}.running_mean"][i], layer.running_mean)
            biased = layer.running_var * (sizes[name] - 1) / sizes[name]
            near(got[f"{name}.running_var"][i], biased)


def count(sizes: dict[str, int], name: str, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
    sizes[name] = args[0].numel() // args[0].shape[1]


def seen(mode: BatchNorm) -> GradientObservation:
    images, labels = private()
    model = network(running=mode is BatchNorm.EVAL)
    parameters = weights_of(model)
    statistics = {
        BatchNorm.EVAL: lambda: running_statistics(model),
        BatchNorm.KNOWN: lambda: batch_statistics(model, parameters, images, per_victim_weights=False),
        BatchNorm.TRAIN: lambda: None,
    }[mode]()
    public = statistics if mode is BatchNorm.EVAL else None
    release = gradient_map(model, parameters, per_victim_weights=False, statistics=public)
    return GradientObservation(
        threat=ThreatModel(
            channel=Channel.GRADIENTS, adversary=Adversary.NAIVE, batch_size=BATCH, batch_norm=mode
        ),
        model=model,
        parameters=parameters,
        per_victim_weights=False,
        gradients=release(images, one_hot(labels, 10, torch.float64)),
        image_shape=DIGITS,
        num_classes=10,
        ids=torch.arange(VICTIMS),
        statistics=statistics,
    )


@pytest.mark.parametrize("mode", [BatchNorm.TRAIN, BatchNorm.EVAL, BatchNorm.KNOWN])
def test_the_private_batch_costs_nothing_under_each_threat_model(mode: BatchNorm) -> None:
    images, labels = private()
    observation = seen(mode)
    weight = 1e-3 if mode is BatchNorm.KNOWN else 0.0  # running statistics are those of no single batch
    objective = Objective(observation, Pixels.of(observation, labels), Euclidean(), statistics=weight)
    cost, objective_gradient = objective(images.flatten(1))
    assert cost.abs().max() < 1e-12 and objective_gradient.abs().max() < 1e-6
    cost, _ = objective(images.flatten(1).roll(1, 0))
    assert (cost > 1e-3).all()


@pytest.mark.parametrize("mode", [BatchNorm.EVAL, BatchNorm.KNOWN])
@pytest.mark.parametrize("alone", [False, True])
def test_statistics_are_those_of_the_forward_pass_that_gives_the_gradient(
    mode: BatchNorm, alone: bool
) -> None:
    images, labels = private()
    observation = seen(mode).select(torch.tensor([1]))
    public = observation.statistics if mode is BatchNorm.EVAL else None
    client = gradient_map(
        observation.model, observation.parameters, per_victim_weights=False, statistics=public, alone=alone
    )
    entering: dict[str, Tensor] = {}
    network = evaluating(observation.model) if public else own_statistics(observation.model)
    for name in batch_norms(observation.model):
        network.get_submodule(name).register_forward_hook(
            lambda layer, inputs, output, name=name: entering.update({name: inputs[0]})
        )
    functional_call(network, {**observation.parameters, **(public or {})}, (images[1],))
    gradients, found = client.with_statistics(images[1:2], one_hot(labels[1:2], 10, torch.float64))
    for name, value in observation.gradients.items():
        near(gradients[name], value)
    assert len(found) == 2 * len(entering)
    for name, value in entering.items():
        near(found[f"{name}.running_mean"][0], value.mean((0, 2, 3)))
        near(found[f"{name}.running_var"][0], value.var((0, 2, 3), unbiased=False))


@pytest.mark.parametrize("alone", [False, True])
def test_a_layer_without_running_statistics_goes_by_the_batch_in_any_mode(alone: bool) -> None:
    """And has the second derivatives of PyTorch's layer outside of vmap."""
    images, labels = private()
    model = network().eval()
    assert all(layer.running_mean is None for layer in batch_norms(model).values())
    target, image = one_hot(labels[1], 10, torch.float64), images[1].clone().requires_grad_()
    want = plain_gradients(model, weights_of(model), image, target, create_graph=True)
    (second,) = torch.autograd.grad(sum(value.square().sum() for value in want.values()), image)
    client = gradient_map(model, weights_of(model), per_victim_weights=False, alone=alone)
    leaf = images[1:2].clone().requires_grad_()
    found = client(leaf, target[None])
    (got,) = torch.autograd.grad(sum(value.square().sum() for value in found.values()), leaf)
    for name, value in want.items():
        near(found[name][0], value)
    near(got[0], second, rtol=1e-5, atol=1e-7)


def test_a_loss_of_its_own_tells_no_statistics() -> None:
    images, labels = private()
    model = network()
    client = gradient_map(
        model,
        weights_of(model),
        per_victim_weights=False,
        batch_loss=lambda weights, still, images, targets: images.sum(),
    )
    with pytest.raises(ValueError, match="statistics"):
        client.with_statistics(images, one_hot(labels, 10, torch.float64))


def test_known_statistics_follow_their_victims() -> None:
    _, labels = private()
    observation = seen(BatchNorm.KNOWN)
    objective = Objective(observation, Pixels.of(observation, labels), Euclidean(), statistics=1.0)
    point = torch.rand(VICTIMS, BATCH * 1024, generator=torch.Generator().manual_seed(0)).double()
    whole, _ = objective(point)
    rows = torch.tensor([2, 0])
    some, _ = objective.select(rows)(point[rows])
    near(some, whole[rows])


def test_statistics_that_are_not_known_cannot_be_matched() -> None:
    images, labels = private()
    observation = replace(seen(BatchNorm.TRAIN), statistics=None)
    objective = Objective(observation, Pixels.of(observation, labels), Euclidean(), statistics=1.0)
    with pytest.raises(ValueError, match="no BatchNorm statistics"):
        objective(images.flatten(1))


def test_the_network_of_own_statistics_shares_its_weights_and_leaves_the_other_as_it_was() -> None:
    model = network(running=True)
    changed = own_statistics(model)
    assert {k: v.data_ptr() for k, v in changed.named_parameters()} == {
        k: v.data_ptr() for k, v in model.named_parameters()
    }
    assert batch_norms(model) and not batch_norms(changed)
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    assert own_statistics(plain) is plain


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("mode", list(BatchNorm)[1:])
def test_the_objective_gradient_is_the_true_one(mode: BatchNorm, alone: bool) -> None:
    """Second derivatives through BatchNorm and its statistics, against finite differences of the cost."""
    _, labels = private()
    observation = seen(mode)
    weight = 0.0 if mode is BatchNorm.TRAIN else 0.1
    objective = Objective(
        observation, Pixels.of(observation, labels), Euclidean(), statistics=weight, alone=alone
    )
    if alone:
        objective = objective.select(torch.tensor([1]))
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(len(objective.ids), BATCH * 1024, generator=generator).double()
    along = torch.randn(point.shape, generator=generator).double()
    along /= along.norm(dim=1, keepdim=True)
    _, objective_gradient = objective(point)
    ahead, behind = (objective(point + side * 1e-6 * along)[0] for side in (1, -1))
    torch.testing.assert_close(
        (objective_gradient * along).sum(1), (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-9
    )
