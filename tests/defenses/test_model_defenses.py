"""The defenses of a released classifier minimise what their papers say, and release what they trained."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bench.api import Defense, HookContext, ImageSet, IncompatibleError, Splits
from bench.api.cards import DefenseCard
from bench.defenses.bido.defense import BiDO
from bench.defenses.bido.dependence import dependence, gaussian, same_class, whitened
from bench.defenses.mid.bottleneck import Bottleneck, divergence
from bench.defenses.mid.defense import MID
from bench.defenses.neg_label_smoothing.defense import NegativeLabelSmoothing
from bench.models.build import build_model
from bench.plugins import build_defense, defense_card
from bench.victims.owner import released_network, train_owner
from bench.victims.releases import Release, Source
from bench.victims.training import Victim

NAMES = ("mid", "bido", "neg_label_smoothing")
MODELS = ("convnet", "lenet", "resnet18")
SHAPE, CLASSES = (1, 16, 16), 3
CPU = torch.device("cpu")


def context(seed: int = 0, progress: float = 1.0) -> HookContext:
    chance = torch.Generator().manual_seed(seed)
    return HookContext(generator=chance, batch_size=8, progress=progress)


def data(count: int, seed: int) -> ImageSet:
    """Bright stripes on noise: where they are is the class."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = 0.5 * torch.rand(count, *SHAPE, generator=chance)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 5 * label : 5 * label + 5] += 0.5
    return ImageSet(images, labels)


def defended(defense: Defense, model: str, seed: int = 0) -> nn.Module:
    """The network as its owner has it before the first step."""
    plain = build_model(model, num_classes=CLASSES, image_shape=SHAPE)
    plain.initialise(torch.Generator().manual_seed(seed))
    network = defense.model(plain)
    defense.prepare(network, data(8, 0), context(seed, 0.0))
    return network.train()


def trained(defense: Defense, model: str = "convnet", seed: int = 0, epochs: float = 12) -> Victim:
    train, test = data(96, 1), data(48, 2)
    splits = Splits(private_train=train, private_test=test, auxiliary=test)
    return train_owner(
        model=model, splits=splits, num_classes=CLASSES, image_shape=SHAPE, defense=defense, epochs=epochs,
        seed=seed, device=CPU,
    )  # fmt: skip


def released(defense: Defense, victim: Victim, model: str = "convnet") -> nn.Module:
    """What anybody loads: by the harness's own way."""
    test = data(48, 2)
    source = Source(
        model=model, num_classes=CLASSES, image_shape=SHAPE, private=test, parameters=victim.trained,
        defense=defense, batch_size=1, releases=1, seed=0, device=CPU,
    )  # fmt: skip
    sent = {name: value[None] for name, value in victim.trained.items()}
    return released_network(
        source, Release(images=test.images, labels=test.labels, indices=torch.arange(1), sent=sent)
    )


# --------------------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("name", NAMES)
def test_three_strengths_are_compared(name: str) -> None:
    card: DefenseCard = defense_card(name)
    sweep = card.parameters[card.strength].sweep
    assert len(sweep) == 3 and all(float(one) < float(two) for one, two in pairwise(sweep))
    assert build_defense(name, {}).view() is None and not card.adaptive_view


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_along_finite_gradients_of_all_weights_lowers_the_loss(name: str, model: str) -> None:
    defense, batch = build_defense(name, {}), data(8, 3)
    network = defended(defense, model)

    def loss() -> Tensor:
        return defense.objective(network, batch.images, batch.labels, context())

    before = loss()
    before.backward()
    gradients = {key: value.grad for key, value in network.named_parameters()}
    missing = [
        key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()
    ]
    assert not missing
    energy = sum(float(gradient.square().sum()) for gradient in gradients.values() if gradient is not None)
    with torch.no_grad():
        for value in network.parameters():
            assert value.grad is not None
            value.sub_(1e-3 * min(1.0, float(before.detach().abs()) / energy) * value.grad)
    assert loss().item() < before.item()


@pytest.mark.parametrize("model", ["convnet", "lenet"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_released_is_what_was_trained(name: str, model: str) -> None:
    defense = build_defense(name, {})
    epochs = 2.0
    victim = trained(defense, model, epochs=epochs)
    network, test = released(build_defense(name, {}), victim, model), data(48, 2)
    assert not network.training
    scores = network(test.images)
    assert torch.equal(scores, network(test.images))
    assert (scores.argmax(1) == test.labels).float().mean().item() == pytest.approx(victim.accuracy)
    again = trained(build_defense(name, {}), model, epochs=epochs)
    assert all(torch.equal(victim.trained[key], again.trained[key]) for key in victim.trained)
    assert victim.details == again.details


@pytest.mark.parametrize("name", NAMES)
def test_training_learns(name: str) -> None:
    victim = trained(build_defense(name, {}))
    assert victim.curve[-1]["loss"] < 0.5 * victim.curve[0]["loss"]
    assert victim.accuracy > 0.9
    assert all(torch.tensor(value).isfinite() for value in victim.details.values())


@pytest.mark.parametrize("name", ["mid", "bido"])
def test_no_hooks_are_left_behind(name: str) -> None:
    defense, batch = build_defense(name, {}), data(8, 3)
    network = defended(defense, "convnet")
    defense.objective(network, batch.images, batch.labels, context())
    defense.details(network.eval(), batch, context())
    with pytest.raises(RuntimeError):
        defense.objective(network, batch.images[:, :, :3, :3], batch.labels, context())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


class Unseen(nn.Module):
    """A user's network without any layer that a defense could take hold of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(SHAPE[1] * SHAPE[2], CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(images.flatten(1) @ self.weight)


class Spare(nn.Module):
    """A user's network with a linear and an activation layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(SHAPE[1] * SHAPE[2], CLASSES)
        self.spare = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.body(images.flatten(1))
        return scores


@pytest.mark.parametrize(("name", "says"), [("mid", "nn.Linear"), ("bido", "nn.ReLU")])
def test_a_network_without_the_layers_needed_is_refused(name: str, says: str) -> None:
    with pytest.raises(IncompatibleError, match=says):
        build_defense(name, {}).model(Unseen())


@pytest.mark.parametrize("name", ["mid", "bido"])
def test_a_layer_that_takes_no_part_is_refused(name: str) -> None:
    defense, batch = build_defense(name, {}), data(8, 3)
    with pytest.raises(IncompatibleError, match="no part"):
        defense.objective(defense.model(Spare()), batch.images, batch.labels, context())


# --------------------------------------------------------------------------- MID


def test_divergence_is_that_of_the_distributions() -> None:
    chance = torch.Generator().manual_seed(0)
    mean = torch.randn(5, 7, generator=chance, dtype=torch.float64)
    deviation = torch.rand(5, 7, generator=chance, dtype=torch.float64) + 0.01
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(
        divergence(mean, deviation), kl_divergence(Normal(mean, deviation), prior).sum(1)
    )


def test_the_objective_of_mid_is_the_bound_of_its_paper() -> None:
    """Composed from the network's parts, with torch's own reparametrised draw of the same noise."""
    defense, batch = MID(beta=0.07, size=9), data(8, 3)
    network = defended(defense, "convnet").double()
    images = batch.images.double()
    bottleneck = network.get_submodule("classifier")
    assert isinstance(bottleneck, Bottleneck)
    features = network.get_submodule("body")((images - 0.5) / 0.5)
    mean, deviation = bottleneck.code(features)
    noise = torch.randn(8, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    scores = bottleneck.classifier(mean + deviation * noise)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    nats = kl_divergence(Normal(mean, deviation), prior).sum(1).mean()
    likelihood = torch.log_softmax(scores, 1)[torch.arange(8), batch.labels].mean()
    want = -likelihood + 0.07 * nats
    found = defense.objective(network, images, batch.labels, context(4))
    torch.testing.assert_close(found, want)
    mine, theirs = (torch.autograd.grad(loss, list(network.parameters())) for loss in (found, want))
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left, right)


def test_noise_is_in_the_training_alone() -> None:
    defense, batch = MID(), data(8, 3)
    network = defended(defense, "convnet")
    one, two = (defense.objective(network, batch.images, batch.labels, context(seed)) for seed in (0, 1))
    assert one != two
    bottleneck = network.get_submodule("classifier")
    assert isinstance(bottleneck, Bottleneck)
    features = network.get_submodule("body")((batch.images - 0.5) / 0.5)
    mean = bottleneck.classifier(bottleneck.code(features)[0])
    for mode in (True, False):
        assert torch.equal(network.train(mode)(batch.images), mean)


def test_the_bottleneck_stands_where_the_last_linear_layer_was() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, CLASSES)))
    MID(size=5).model(network)
    inner = network[3]
    assert isinstance(inner, nn.Sequential) and isinstance(inner[0], Bottleneck)
    assert isinstance(network[1], nn.Linear)
    assert (inner[0].mean.in_features, inner[0].mean.out_features, inner[0].classifier.out_features) == (
        8,
        5,
        3,
    )


def test_a_dearer_nat_lets_fewer_through() -> None:
    spent = [trained(MID(beta=beta)).details["divergence"] for beta in (1e-3, 1e-1)]
    assert spent[1] < 0.5 * spent[0]


# --------------------------------------------------------------------------- BiDO


def by_definition(left: Tensor, right: Tensor, linear: bool) -> float:
    """The normalised HSIC with loops and explicit inverses, as anybody would write it."""
    rows = len(left)

    def kernel(values: Tensor, one: int, two: int, linear: bool) -> float:
        if linear:
            return float(values[one] @ values[two])
        far = sum(float(a - b) ** 2 for a, b in zip(values[one], values[two], strict=True))
        bandwidth = 5 * values.shape[1] ** 0.5
        return float(torch.exp(torch.tensor(-far / (2 * bandwidth**2), dtype=torch.float64)))

    centre = torch.eye(rows, dtype=torch.float64) - 1 / rows
    parts = []
    for values, flat in ((left, False), (right, linear)):
        gram = torch.zeros(rows, rows, dtype=torch.float64)
        for one in range(rows):
            for two in range(rows):
                gram[one, two] = kernel(values, one, two, flat)
        gram = centre @ gram @ centre
        parts.append(gram @ torch.linalg.inv(gram + 1e-5 * rows * torch.eye(rows, dtype=torch.float64)))
    return float(torch.trace(parts[0] @ parts[1]))


def rows(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("count", "columns"), [(2, (3, 4)), (12, (5, 9))])
def test_dependence_is_that_of_its_definition(count: int, columns: tuple[int, int]) -> None:
    left = 3 * rows(count, columns[0], seed=0) + 50
    right = left[:, :1].sin() + 0.1 * rows(count, columns[1], seed=1)
    want = by_definition(left, right, linear=False)
    assert dependence(*map(whitened, map(gaussian, (left, right)))).item() == pytest.approx(want, rel=1e-8)
    single = dependence(whitened(gaussian(left.float())), whitened(gaussian(right.float())))
    assert single.item() == pytest.approx(want, rel=1e-2)


def test_dependence_on_labels_is_linear_in_one_hot() -> None:
    labels = torch.tensor([0, 2, 1, 1, 0, 2, 2, 1])
    left = rows(8, 4, seed=0)
    want = by_definition(left, nn.functional.one_hot(labels).double(), linear=True)
    found = dependence(whitened(gaussian(left)), whitened(same_class(labels, torch.float64)))
    assert found.item() == pytest.approx(want, rel=1e-8)


def test_dependence_knows_what_depends() -> None:
    left = rows(16, 3, seed=0)
    same, moved, apart, constant = (
        dependence(whitened(gaussian(left)), whitened(gaussian(other))).item()
        for other in (
            left,
            left.flip(1) + 7,
            left[torch.randperm(16, generator=context().generator)],
            0 * left,
        )
    )
    assert moved == pytest.approx(same) and 0 <= apart < 0.8 * same < 16 and constant == 0


def test_dependence_has_the_gradient_of_finite_differences() -> None:
    right = whitened(same_class(torch.tensor([0, 1, 0, 1, 1]), torch.float64))
    image = whitened(gaussian(rows(5, 4, seed=1)))

    def bilateral(values: Tensor) -> Tensor:
        layer = whitened(gaussian(values))
        difference: Tensor = dependence(image, layer) - 3 * dependence(layer, right)
        return difference

    assert torch.autograd.gradcheck(bilateral, rows(5, 3, seed=0).requires_grad_())


def test_the_objective_of_bido_counts_every_hidden_layer() -> None:
    defense, batch = BiDO(input_weight=0.2, ratio=3.0), data(8, 3)
    network = defended(defense, "lenet").double()
    images, hidden = batch.images.double(), []
    value = images
    for layer in network.get_submodule("body").children():
        value = layer(value)
        if isinstance(layer, nn.Sigmoid):
            hidden.append(value.flatten(1).detach())
    assert len(hidden) == 3
    want = nn.functional.cross_entropy(network(images), batch.labels).item()
    one_hot = nn.functional.one_hot(batch.labels).double()
    for layer in hidden:
        want += 0.2 * by_definition(images.flatten(1), layer, linear=False)
        want -= 0.2 * 3 * by_definition(layer, one_hot, linear=True)
    found = defense.objective(network, images, batch.labels, context())
    assert found.item() == pytest.approx(want, rel=1e-6)


def test_bido_moves_the_dependences_as_it_is_told() -> None:
    free, less, both = (
        trained(BiDO(input_weight=weight, ratio=ratio), "lenet", epochs=20).details
        for weight, ratio in ((0.0, 0.0), (0.3, 0.0), (0.3, 10.0))
    )
    assert less["hsic_input"] < free["hsic_input"]
    assert both["hsic_label"] > less["hsic_label"]


# --------------------------------------------------------------------------- negative label smoothing


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 0.0), (0.5, 0.0), (0.6, 0.4), (0.625, 0.5), (0.75, 1.0), (1.0, 1.0)]
)
def test_the_ramp_begins_at_half_and_ends_at_three_quarters(progress: float, share: float) -> None:
    assert NegativeLabelSmoothing(smoothing=0.3).alpha(progress) == pytest.approx(-0.3 * share)


@pytest.mark.parametrize("progress", [0.0, 0.625, 1.0])
def test_the_objective_of_smoothing_is_that_of_its_paper(progress: float) -> None:
    """The paper's Eq. (2): ``(1 - alpha) * CE(y) + alpha / K * sum_k CE(k)``."""
    batch = data(8, 3)
    defense = NegativeLabelSmoothing(smoothing=0.3)
    network = defended(defense, "convnet")
    logarithms = torch.log_softmax(network(batch.images), 1)
    alpha = {0.0: 0.0, 0.625: -0.15, 1.0: -0.3}[progress]
    true = -logarithms[torch.arange(8), batch.labels].mean()
    want = (1 - alpha) * true - alpha / CLASSES * logarithms.sum(1).mean()
    found = defense.objective(network, batch.images, batch.labels, context(progress=progress))
    torch.testing.assert_close(found, want)
    if alpha == 0:
        torch.testing.assert_close(found, nn.functional.cross_entropy(network(batch.images), batch.labels))


Make = Callable[[], Defense]


@pytest.mark.parametrize(
    "weak",
    [lambda: NegativeLabelSmoothing(smoothing=0.0), lambda: BiDO(input_weight=0.0)],
    ids=["nls", "bido"],
)
def test_without_strength_the_victim_is_the_undefended_one(weak: Make) -> None:
    plain, none = trained(Defense(), epochs=2.0), trained(weak(), epochs=2.0)
    for key, value in plain.trained.items():
        torch.testing.assert_close(none.trained[key], value)


def test_negative_strengths_are_positive_smoothing_from_the_first_step_on() -> None:
    smooth, batch = NegativeLabelSmoothing(smoothing=-0.1), data(8, 3)
    network = defended(smooth, "convnet")
    for progress in (0.0, 0.6, 1.0):
        found = smooth.objective(network, batch.images, batch.labels, context(progress=progress))
        expected = nn.functional.cross_entropy(network(batch.images), batch.labels, label_smoothing=0.1)
        torch.testing.assert_close(found, expected)
    assert build_defense("neg_label_smoothing", {"smoothing": -0.1})
