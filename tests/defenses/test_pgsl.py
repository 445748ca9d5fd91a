"""PGSL does what its sections say: maps, blocks, recovery, fusion, and who learns from whom."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from bench.api import Defense, HookContext, ImageSet, IncompatibleError, Phase
from bench.defenses.pgsl import transform
from bench.defenses.pgsl.downsample import attacked_of, carrier_shape, map_of, pack, unmapped
from bench.defenses.pgsl.fusion import SHARES, Streams, decision
from bench.defenses.pgsl.maps import MapRule, chosen_labels, input_gradients
from bench.defenses.pgsl.network import PGSLNetwork
from bench.defenses.pgsl.recovery import Recovery
from bench.defenses.pgsl.surrogate import Surrogate
from bench.engine.gradients import gradient_map, one_hot
from bench.models.build import build_model
from bench.models.split import SplitModel
from bench.plugins import build_defense, defense_card

CLASSES, SHAPE = 10, (1, 16, 16)


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of which half the pixels are black, as in digits, and labels."""
    generator = draw(seed)
    images = (torch.rand(count, *SHAPE, generator=generator) * 2 - 1).clamp_min(0)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def plain(model: str = "splitnet") -> SplitModel:
    return cast("SplitModel", build_model(model, num_classes=CLASSES, image_shape=SHAPE))


def network(defense: Defense, model: str = "splitnet", seed: int = 0) -> PGSLNetwork:
    defended = defense.model(plain(model))
    assert isinstance(defended, PGSLNetwork)
    defended.initialise(draw(seed))
    return defended


def context(model: nn.Module, seed: int = 0, phase: Phase = Phase.TRAIN) -> HookContext:
    return HookContext(generator=draw(seed), batch_size=1, phase=phase, model=model)


def surrogate(seed: int = 0) -> Surrogate:
    with torch.random.fork_rng(devices=[]):
        made = Surrogate(CLASSES, SHAPE)
    made.initialise(draw(seed))
    return made


def rule(strength: float = 0.2, scaling: str = "sign", scores: str = "logits", sent: bool = True) -> MapRule:
    return MapRule(strength=strength, scaling=scaling, scores=scores, sent=sent)


def recovery(mode: str = "low_rank", **changes: object) -> Recovery:
    usual = Recovery(
        mode=mode,
        threshold=0.55,
        threshold_scale="relative",
        mu=0.55,
        iterations=200,
        differentiation="straight_through",
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_the_constructor_takes_what_the_card_declares_and_the_view_tells_all_of_it() -> None:
    card, defense = defense_card("pgsl"), build_defense("pgsl", {})
    defaults = {
        name: item.default for name, item in inspect.signature(type(defense).__init__).parameters.items()
    }
    del defaults["self"]
    assert defaults == {name: item.default for name, item in card.parameters.items()}
    view = defense.view()
    assert view is not None and view.parameters == defaults and view.transform is not None


def test_input_gradients_are_sums_over_the_jacobian() -> None:
    images, labels = digits(3)
    model = surrogate()
    alpha, beta = input_gradients(model, images, labels)
    for image, label, own, others in zip(images, labels, alpha, beta, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], image)
        torch.testing.assert_close(own, jacobian[label], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(others, jacobian.sum(0) - jacobian[label], atol=1e-6, rtol=1e-4)


def test_with_softmax_both_conditions_are_one() -> None:
    images, labels = digits(8)
    model = surrogate()
    alpha, beta = input_gradients(lambda x: model(x).softmax(1), images, labels)
    torch.testing.assert_close(beta, -alpha, atol=1e-6, rtol=1e-4)
    attacked = attacked_of(rule(1.0, "raw", "softmax").carriers(model, images, labels))
    assert (attacked - images).abs().max() < 0.1


@pytest.mark.parametrize("scores", ["logits", "softmax"])
@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_the_scale_of_a_map_is_its_strength(strength: float, scores: str) -> None:
    images, labels = digits(8)
    alpha, beta = input_gradients(surrogate(), images, labels)
    signs = rule(strength, "sign", scores).map(surrogate(), images, labels)
    assert sorted(signs.unique().tolist()) == pytest.approx([0, strength])
    largest = rule(strength, "max", scores).map(surrogate(), images, labels)
    assert largest.amin() >= 0
    torch.testing.assert_close(largest.amax((1, 2, 3)), torch.full((8,), strength))
    raw = rule(1.0, "raw").map(surrogate(), images, labels)
    torch.testing.assert_close(raw, torch.where((alpha < 0) & (beta > 0), -alpha * beta, 0.0))


def test_a_classifier_without_gradients_makes_no_map() -> None:
    images, labels = digits(2)
    for scaling in ("max", "sign", "raw"):
        made = rule(1.0, scaling).map(lambda x: 0 * x.flatten(1)[:, :CLASSES], images, labels)
        assert not made.any()


def test_a_map_lowers_the_score_of_its_label() -> None:
    images, labels = digits(16)
    model = surrogate()
    attacked = attacked_of(rule(0.02, "max").carriers(model, images, labels))
    before, after = (model(x).gather(1, labels[:, None]) for x in (images, attacked))
    assert (after < before).float().mean() > 0.9


def test_blocks_are_a_permutation_and_the_map_is_their_mean() -> None:
    generator = draw(0)
    images = torch.rand(2, 3, 3, 8, 6, generator=generator)
    change = torch.rand(2, 3, 3, 8, 6, generator=generator)
    carriers = pack(images, change)
    assert carriers.shape == (2, 3, *carrier_shape((3, 8, 6))) == (2, 3, 13, 4, 3)
    assert torch.equal(attacked_of(carriers), images)
    assert torch.equal(carriers[..., :-1, :, :].flatten(2).sort().values, images.flatten(2).sort().values)
    want = nn.functional.avg_pool2d(change.mean(2).flatten(0, 1), 2).view(2, 3, 1, 4, 3)
    torch.testing.assert_close(map_of(carriers), want)
    with pytest.raises(IncompatibleError, match="2x2"):
        carrier_shape((1, 7, 8))


def test_a_map_that_is_constant_in_each_block_can_be_taken_off() -> None:
    images = torch.rand(2, 3, 8, 8, generator=draw(0)) / 2
    blocks = torch.rand(2, 1, 4, 4, generator=draw(1)) / 2
    change = nn.functional.interpolate(blocks, scale_factor=2).expand(2, 3, 8, 8)
    torch.testing.assert_close(unmapped(pack(images + change, change)), images)


@pytest.mark.parametrize("scale", ["relative", "absolute"])
@pytest.mark.parametrize("mu", [0.1, 0.55, 1.0])
def test_the_step_cancels_at_convergence(mu: float, scale: str) -> None:
    activations = torch.randn(4, 6, 5, 3, generator=draw(0))
    found = recovery(mu=mu, threshold_scale=scale)(activations)
    for one, got in zip(activations.flatten(2), found.flatten(2), strict=True):
        left, singular, right = torch.linalg.svd(one, full_matrices=False)
        level = 0.55 * (singular[0] if scale == "relative" else 1)
        want = left @ torch.diag((singular - level).clamp_min(0)) @ right
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_the_iteration_is_the_one_on_matrices(count: int) -> None:
    z = torch.randn(5, 8, generator=draw(0))
    made = recovery(iterations=count, threshold_scale="absolute").low_rank(z[None])[0]
    iterate = torch.zeros_like(z)
    for _ in range(count):
        left, singular, right = torch.linalg.svd(iterate + 0.55 * (z - iterate), full_matrices=False)
        iterate = left @ torch.diag((singular - 0.55 * 0.55).clamp_min(0)) @ right
    torch.testing.assert_close(made, iterate, atol=1e-5, rtol=1e-4)


def test_modes_of_recovery_add_up_and_pass_gradients_as_declared() -> None:
    z = torch.randn(3, 4, 5, 5, generator=draw(0)).requires_grad_()
    low, rest, same = (recovery(mode)(z) for mode in ("low_rank", "residual", "identity"))
    torch.testing.assert_close(low + rest, z)
    assert torch.equal(same, z)
    still = z.detach()
    for mode in ("low_rank", "residual", "identity"):
        through, none = recovery(mode), recovery(mode, differentiation="none")
        (gradient,) = torch.autograd.grad(through.passed(z, through(still), still).sum(), z)
        assert torch.equal(gradient, torch.ones_like(z))
        assert not none.passed(z, none(still), still).requires_grad


@pytest.mark.parametrize("scale", ["relative", "absolute"])
@pytest.mark.parametrize("mode", ["low_rank", "residual"])
def test_an_attacker_has_the_true_derivative_of_the_recovery(mode: str, scale: str) -> None:
    z = torch.randn(2, 5, 3, 4, generator=draw(0), dtype=torch.float64)
    z[:, 1] = 0  # silent channels have equal singular values
    z[:, 3] = 0

    def of_others(others: Tensor) -> Tensor:
        full = z.clone()
        full[:, [0, 2, 4]] = others
        return recovery(mode, threshold_scale=scale, threshold=0.4)(full)

    assert torch.autograd.gradcheck(of_others, z[:, [0, 2, 4]].clone().requires_grad_())
    gradient = torch.autograd.grad(recovery(mode)(z.requires_grad_()).square().sum(), z)[0]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_sample_spoils_itself_only(bad: float) -> None:
    z = torch.randn(3, 4, 5, 5, generator=draw(0))
    spoiled = z.clone()
    spoiled[1, 0, 0, 0] = bad
    before, after = recovery()(z), recovery()(spoiled)
    assert not after[1].isfinite().all()
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert not recovery()(torch.zeros(1, 4, 5, 5)).any()


def test_the_decision_is_the_weighted_average_of_the_equations() -> None:
    streams = Streams(*torch.randn(3, 7, CLASSES, generator=draw(0)) * 5)
    parts = {name: scores.softmax(1) for name, scores in streams._asdict().items()}
    weights = {name: SHARES[name] * part.amax(1, keepdim=True) for name, part in parts.items()}
    total = torch.stack(list(weights.values())).sum(0)
    want = torch.stack([weights[name] / total * parts[name] for name in parts]).sum(0)
    got = decision(streams)
    torch.testing.assert_close(got.exp(), want)
    torch.testing.assert_close(got.exp().sum(1), torch.ones(7))
    assert decision(Streams(*(1e4 * s for s in streams))).isfinite().all()


@pytest.mark.parametrize("differentiation", ["straight_through", "none"])
def test_only_the_fused_streams_gradient_returns_to_the_client(differentiation: str) -> None:
    defended = network(build_defense("pgsl", {"differentiation": differentiation}))
    images, labels = digits(4)
    arrived = defended.client(defended.embed(images)).detach().requires_grad_()
    (returned,) = torch.autograd.grad(defended.training_loss(arrived, labels), arrived)
    fused = defended.server.streams(arrived).fused
    (want,) = torch.autograd.grad(nn.functional.cross_entropy(fused, labels), arrived)
    torch.testing.assert_close(returned, want)
    defended.training_loss(arrived, labels).backward()
    assert all(p.grad is not None and p.grad.any() for p in defended.server.parameters())
    assert all(p.grad is None for p in [*defended.client.parameters(), *defended.surrogate.parameters()])


def test_without_strength_it_is_split_learning_on_permuted_images() -> None:
    defense = build_defense("pgsl", {"strength": 0.0, "recovery": "identity"})
    defended = network(defense)
    images, labels = digits(4)
    carriers, kept = defense.inputs(images[:, None], labels[:, None], context(defended))
    blocks = nn.functional.pixel_unshuffle(images, 2)
    assert torch.equal(carriers[:, 0], torch.cat([blocks, torch.zeros(4, 1, 8, 8)], dim=1))
    assert torch.equal(defense.perturbed(carriers)[:, 0], images)
    assert torch.equal(kept[:, 0], labels)
    remade = plain().remade((5, 8, 8))
    remade.initialise(draw(0))
    assert torch.equal(defended.client(carriers[:, 0]), remade.client(carriers[:, 0]))
    streams = defended.server.streams(defended.client(carriers[:, 0]))
    assert torch.equal(streams.attacked, remade(carriers[:, 0]))
    assert torch.equal(defended(images), defended(carriers[:, 0]))


@pytest.mark.parametrize("model", ["splitnet", "splitnet_deep"])
@pytest.mark.parametrize("scaling", ["sign", "max", "raw"])
def test_neighbours_in_a_batch_change_nothing(scaling: str, model: str) -> None:
    defense = build_defense("pgsl", {"scaling": scaling})
    defended = network(defense, model)
    images, labels = digits(6)
    others, _ = digits(6, seed=1)
    others[2] = images[2]
    first, second = (
        defense.inputs(x[:, None], labels[:, None], context(defended))[0][:, 0] for x in (images, others)
    )
    torch.testing.assert_close(first[2], second[2], atol=1e-6, rtol=0)
    assert not torch.equal(first[1], second[1])
    torch.testing.assert_close(defended(first)[2], defended(second)[2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(defended(first)[2:3], defended(first[2:3]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["surrogate", "joint"])
def test_the_labels_of_maps_are_those_of_the_protocol(source: str) -> None:
    images, labels = digits(12)

    def carriers(phase: Phase, seed: int = 0, **parameters: str) -> Tensor:
        defense = build_defense("pgsl", {"source": source, **parameters})
        where = context(network(defense), seed, phase)
        with torch.no_grad():
            return defense.inputs(images[:, None], labels[:, None], where)[0][:, 0]

    defended = network(build_defense("pgsl", {}))
    classify = defended.map_source(source)

    def made(named: Tensor) -> Tensor:
        return rule().carriers(classify, images, named)

    guesses = classify(images).argmax(1)
    assert torch.equal(carriers(Phase.TRAIN), made(labels))
    assert torch.equal(carriers(Phase.TRAIN, training_label="predicted"), made(guesses))
    assert torch.equal(carriers(Phase.TEST), made(guesses))
    assert torch.equal(carriers(Phase.TEST, inference="true"), made(labels))
    assert torch.equal(carriers(Phase.TEST, inference="absent"), defended.embed(images))
    drawn = [carriers(Phase.TRAIN, seed, training_label="random") for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_wrong_labels_are_all_but_the_true_one_and_random_ones_are_all() -> None:
    labels = torch.arange(CLASSES).repeat(300)
    images = torch.zeros(len(labels), *SHAPE)
    model = surrogate()
    wrong, random = (chosen_labels(name, model, images, labels, draw(0)) for name in ("wrong", "random"))
    assert not (wrong == labels).any()
    for found, rate in ((wrong, 0.0), (random, 0.1)):
        assert (found == labels).float().mean() == pytest.approx(rate, abs=0.02)
        assert found.bincount(minlength=CLASSES).float().div(len(labels)).sub(0.1).abs().max() < 0.03


def test_a_map_that_is_not_sent_leaves_zeros() -> None:
    images, labels = digits(4)
    model = surrogate()
    shown, hidden = (rule(sent=sent).carriers(model, images, labels) for sent in (True, False))
    assert map_of(shown).any() and not map_of(hidden).any()
    assert torch.equal(attacked_of(shown), attacked_of(hidden))


def private(count: int = 96) -> ImageSet:
    """Images that a small network learns at once, wherever they are moved: the class is a bar's length."""
    labels = torch.arange(count) % CLASSES
    images = 0.1 * torch.rand(count, *SHAPE, generator=draw(7))
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4:12, 2 : 4 + label] = 0.9
    return ImageSet(images, labels)


def test_the_client_trains_its_surrogate_and_nothing_else() -> None:
    defense = build_defense("pgsl", {"surrogate_epochs": 40})
    states = []
    for _ in range(2):
        defended = network(defense)
        before = {name: value.clone() for name, value in defended.state_dict().items()}
        with torch.no_grad():
            defense.prepare(defended, private(), context(defended))
        after = defended.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {name for name in before if name.startswith("surrogate.")}
        assert not any(p.requires_grad for p in defended.surrogate.parameters())
        states.append(after)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    data = private()
    assert (defended.surrogate(data.images).argmax(1) == data.labels).float().mean() > 0.5
    assert not any(name.startswith("surrogate") for name in defended.server.state_dict())


def test_the_same_seed_draws_the_same_network_whatever_the_global_state() -> None:
    state = torch.random.get_rng_state()
    first = network(build_defense("pgsl", {})).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        second = network(build_defense("pgsl", {})).state_dict()
    other = network(build_defense("pgsl", {}), seed=1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


def test_details_are_shares_and_follow_the_map() -> None:
    defense = build_defense("pgsl", {})
    defended = network(defense)
    defense.prepare(defended, private(), context(defended))
    found = defense.details(defended, private(), context(defended, phase=Phase.TEST))
    assert len(found) <= 20
    assert all(0 <= value <= 1 for name, value in found.items() if name != "psnr")
    assert 5 < found["psnr"] < 40
    still = build_defense("pgsl", {"strength": 0.0})
    same = still.details(defended, private(), context(defended, phase=Phase.TEST))
    assert same["psnr"] == pytest.approx(100)
    assert same["absent"] == same["predicted"] == same["true_label"] == same["wrong_map"]
    assert same["surrogate"] == same["surrogate_attacked"]


def test_a_plain_network_is_measured_on_the_same_attacked_images_and_changes_nothing_else() -> None:
    defense = build_defense("pgsl", {"strength": 0.5})
    defended = network(defense)
    data = private()
    defense.prepare(defended, data, context(defended))
    other = plain()
    other.initialise(draw(7))
    alone = defense.details(defended, data, context(defended, phase=Phase.TEST))
    both = defense.details(defended, data, replace(context(defended, phase=Phase.TEST), plain=other))
    assert {name: both[name] for name in alone} == alone
    added = {name.removeprefix("plain_") for name in both if name not in alone}
    assert added == {"absent", "predicted", "true_label", "random_label", "wrong_map"} < set(alone)
    assert len(both) <= 20 and all(0 <= both[f"plain_{name}"] <= 1 for name in added)
    attacked = attacked_of(rule(0.5).carriers(defended.surrogate, data.images, data.labels))
    for shown, name in ((data.images, "plain_absent"), (attacked, "plain_true_label")):
        with torch.no_grad():
            right = (other(shown).argmax(1) == data.labels).double().mean().item()
        assert both[name] == pytest.approx(right, abs=1e-6)


def test_an_attacker_learns_a_transform_of_its_own() -> None:
    defense = build_defense("pgsl", {})
    view = defense.view()
    assert view is not None and view.transform is not None
    data = private()
    mine = view.transform.learn(data, num_classes=CLASSES, seed=3)
    kept = view.transform.learn(data, num_classes=CLASSES, seed=3)
    transform._learned.clear()
    again = view.transform.learn(data, num_classes=CLASSES, seed=3)
    assert not kept.surrogate.training and len(transform._learned) == 1
    other = view.transform.learn(data, num_classes=CLASSES, seed=4)
    for name, value in again.surrogate.state_dict().items():
        assert torch.equal(value, kept.surrogate.state_dict()[name])
        assert not value.any() or not torch.equal(value, other.surrogate.state_dict()[name])
    assert torch.equal(kept.generator.get_state(), again.generator.get_state())
    images = data.images[:8].clone().requires_grad_()
    carriers = mine.inputs(images, data.labels[:8])
    assert carriers.shape[1:] == view.transform.shape(SHAPE)
    assert torch.equal(carriers, again.inputs(images, data.labels[:8]))
    assert torch.autograd.grad(carriers.sum(), images)[0].any()
    torch.testing.assert_close(view.transform.project(carriers), carriers)
    attacked = mine.perturbed(carriers)
    assert (attacked - images).amax().item() == pytest.approx(0.2, abs=1e-6)
    closer = (mine.images(carriers) - images).square().mean() < (attacked - images).square().mean()
    assert closer
    assert mine.inputs(images).shape == carriers.shape


def test_projection_is_the_nearest_carrier_in_range() -> None:
    transform = build_defense("pgsl", {}).view().transform  # type: ignore[union-attr]
    assert transform is not None
    far = 4 * torch.rand(2, 3, 5, 8, 8, generator=draw(0)) - 2
    near = transform.project(far)
    assert attacked_of(near).amin() == 0 and attacked_of(near).amax() == 1
    assert map_of(near).amin() == 0 and map_of(near).amax() == pytest.approx(0.2)
    assert torch.equal(transform.project(near), near)


def test_gradients_of_the_whole_network_are_differentiable_in_the_carriers() -> None:
    defense = build_defense("pgsl", {})
    defended = network(defense)
    weights = dict(defended.named_parameters())
    images, labels = digits(4)
    carriers, _ = defense.inputs(images.view(2, 2, *SHAPE), labels.view(2, 2), context(defended))
    dummy = carriers.clone().requires_grad_()
    gradients = gradient_map(defended, weights, per_victim_weights=False)(
        dummy, one_hot(labels.view(2, 2), CLASSES)
    )
    assert all(value.isfinite().all() for value in gradients.values())
    total = torch.stack([value.square().sum() for value in gradients.values()]).sum()
    (objective_gradient,) = torch.autograd.grad(total, dummy)
    assert objective_gradient.isfinite().all() and objective_gradient.any()


def test_what_cannot_work_says_why() -> None:
    defense = build_defense("pgsl", {})
    images, labels = digits(1)
    with pytest.raises(IncompatibleError, match="cut"):
        defense.model(build_model("lenet", num_classes=CLASSES, image_shape=SHAPE))
    with pytest.raises(IncompatibleError, match="hand"):
        defense.inputs(images[None], labels[None], HookContext(generator=draw(0), batch_size=1))
