"""ONE contract over every plug-in that discovery finds, the project's and others' on the search path."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from bench.api import (
    Adversary,
    BenchError,
    Checkpoint,
    GradientObservation,
    Gradients,
    HookContext,
    ImageSet,
    IncompatibleError,
    Reconstruction,
    Splits,
)
from bench.api.cards import AttackCard, DatasetCard, DefenseCard, Kind
from bench.metrics import psnr
from bench.models.names import MODELS
from bench.models.victims import build_model
from bench.plugins import build_attack, build_dataset, build_defense, discover
from bench.victims.releases import release_gradients
from bench.victims.training import stream, train_victim
from tests.engine.observations import DIGITS, batches, digits, observation

CPU = torch.device("cpu")
VICTIMS = 3
BUDGET = 12
BUILD: dict[Kind, Callable[..., object]] = {
    "attack": build_attack,
    "defense": build_defense,
    "dataset": build_dataset,
}
ATTACKS = {name: cast("AttackCard", p.card) for name, p in discover("attack").plugins.items()}
DEFENSES = {name: cast("DefenseCard", p.card) for name, p in discover("defense").plugins.items()}
DATASETS = {
    name: cast("DatasetCard", p.card)
    for name, p in discover("dataset").plugins.items()
    if not any(parameter.path for parameter in p.card.parameters.values())  # made of the user's files
}


@pytest.mark.parametrize("kind", ["attack", "defense", "dataset"])
def test_no_plugin_is_broken(kind: Kind) -> None:
    assert discover(kind).broken == {}
    assert discover(kind).plugins


@pytest.mark.parametrize(
    ("kind", "name"),
    [("attack", n) for n in ATTACKS]
    + [("defense", n) for n in DEFENSES]
    + [("dataset", n) for n in DATASETS],
)
def test_the_card_declares_the_constructors_arguments_and_defaults(kind: Kind, name: str) -> None:
    built = BUILD[kind](name, {})
    arguments = inspect.signature(type(built)).parameters
    assert all(a.kind is inspect.Parameter.KEYWORD_ONLY for a in arguments.values())
    declared = {key: p.default for key, p in discover(kind).plugins[name].card.parameters.items()}
    assert {key: a.default for key, a in arguments.items()} == declared
    assert {key: type(a.default) for key, a in arguments.items()} == {k: type(v) for k, v in declared.items()}


# ---------------------------------------------------------------------------------------------- attacks


def sizes(card: AttackCard) -> list[int]:
    return [size for size in (1, 4) if card.max_batch_size is None or size <= card.max_batch_size]


CASES = [
    pytest.param(attack, adversary, defense, size, id=f"{attack}-{adversary}-{defense}-B{size}")
    for attack, card in ATTACKS.items()
    for adversary in card.adversaries
    for defense, defense_card in DEFENSES.items()
    if adversary is Adversary.NAIVE or defense_card.adaptive_view
    for size in sizes(card)
]
every_case = pytest.mark.parametrize(("attack", "adversary", "defense", "size"), CASES)
PLAIN = [
    pytest.param(attack, size, id=f"{attack}-B{size}")
    for attack, card in ATTACKS.items()
    for size in sizes(card)
]
every_attack = pytest.mark.parametrize(("attack", "size"), PLAIN)


@cache
def _seen(
    attack: str, adversary: Adversary, defense: str, size: int, dtype: torch.dtype
) -> GradientObservation:
    card, hooks = ATTACKS[attack], build_defense(defense, {})
    images, labels = batches(VICTIMS, size)
    seen = observation(
        "lenet",
        images,
        labels,
        adversary=adversary,
        defense=hooks.view() if adversary is Adversary.ADAPTIVE else None,
        auxiliary=few(digits().auxiliary) if card.needs_auxiliary else None,
        dtype=dtype,
    )
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=size)
    seen = replace(seen, gradients=hooks.gradients(seen.gradients, context))
    if card.needs_labels:
        seen = replace(seen, labels=labels, threat=replace(seen.threat, labels_known=True))
    return seen


def tiny(
    attack: str,
    size: int,
    *,
    adversary: Adversary = Adversary.NAIVE,
    defense: str = "none",
    dtype: torch.dtype = torch.float32,
) -> GradientObservation:
    """Three releases of an untrained lenet under a defense, as this attack may see them."""
    return _seen(attack, adversary, defense, size, dtype)


def few(part: ImageSet) -> ImageSet:
    return ImageSet(part.images[:50], part.labels[:50])


def run(attack: str, seen: GradientObservation, *, budget: int = BUDGET, seed: int = 0) -> Reconstruction:
    return build_attack(attack, {}).reconstruct(seen, budget=budget, seed=seed)


def tensors(seen: GradientObservation) -> list[Tensor]:
    found = [*seen.gradients.values(), *seen.parameters.values(), *seen.model.state_dict().values(), seen.ids]
    found += [seen.labels] if seen.labels is not None else []
    found += [seen.auxiliary.images, seen.auxiliary.labels] if seen.auxiliary is not None else []
    return found


def assert_valid(found: Reconstruction, attack: str, size: int, budget: int) -> None:
    assert found.images.shape == (VICTIMS, size, *DIGITS) and found.images.dtype == torch.float32
    assert found.cost.shape == (VICTIMS,) and found.cost.is_floating_point()
    assert found.evaluations.shape == (VICTIMS,) and found.evaluations.dtype == torch.int64
    assert (found.evaluations <= budget).all()
    assert (found.evaluations >= (1 if ATTACKS[attack].observes_release else 0)).all()
    assert not found.images.requires_grad and not found.cost.requires_grad
    if found.labels is not None:
        assert found.labels.shape == (VICTIMS, size) and found.labels.dtype == torch.int64
        assert ((found.labels >= 0) & (found.labels < 10)).all()


def assert_equal(left: Reconstruction, right: Reconstruction) -> None:
    for name in ("images", "cost", "evaluations", "labels"):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b), name


@every_case
def test_an_attack_keeps_its_contract(attack: str, adversary: Adversary, defense: str, size: int) -> None:
    seen = tiny(attack, size, adversary=adversary, defense=defense)
    before, state = [t.clone() for t in tensors(seen)], torch.random.get_rng_state()
    found = run(attack, seen)
    assert torch.equal(torch.random.get_rng_state(), state), "drew from the global random state"
    changed = [not torch.equal(a, b) for a, b in zip(before, tensors(seen), strict=True)]
    assert not any(changed), "changed the observation"
    assert_valid(found, attack, size, BUDGET)
    assert found.cost.isfinite().all() and found.images.isfinite().all()
    torch.manual_seed(12345)
    assert_equal(found, run(attack, seen))


@every_attack
@pytest.mark.parametrize("budget", [1, 2])
def test_an_attack_respects_the_smallest_budgets(attack: str, size: int, budget: int) -> None:
    assert_valid(run(attack, tiny(attack, size), budget=budget), attack, size, budget)


@every_attack
def test_another_seed_gives_another_reconstruction(
    attack: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the attack is deterministic by nature: it then makes no generator."""
    made: list[torch.Generator] = []

    class Recorded(torch.Generator):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            made.append(self)

    seen = tiny(attack, size)
    monkeypatch.setattr(torch, "Generator", Recorded)
    first, other = run(attack, seen, seed=0), run(attack, seen, seed=1)
    if not made:
        assert_equal(first, other)
        return
    guesses = (
        first.labels is not None and other.labels is not None and not torch.equal(first.labels, other.labels)
    )
    assert guesses or not torch.equal(first.images, other.images)


@every_case
def test_a_victims_result_is_that_of_its_lonely_run(
    attack: str, adversary: Adversary, defense: str, size: int
) -> None:
    """In float64, where the order of sums in batched kernels leaves no visible trace."""
    seen = tiny(attack, size, adversary=adversary, defense=defense, dtype=torch.float64)
    together = run(attack, seen)
    for victim in range(VICTIMS if ATTACKS[attack].observes_release else 0):
        alone = run(attack, seen.select(torch.tensor([victim])))
        torch.testing.assert_close(alone.images[0], together.images[victim], rtol=0, atol=1e-6)
        torch.testing.assert_close(alone.cost[0], together.cost[victim], rtol=1e-6, atol=1e-9)
        assert alone.evaluations[0] == together.evaluations[victim]
        if together.labels is not None and alone.labels is not None:
            assert torch.equal(alone.labels[0], together.labels[victim])


@every_attack
@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_release_without_information_harms_no_other(attack: str, size: int, value: float) -> None:
    """A client whose update is zero, or whose training diverged."""
    seen = tiny(attack, size)
    broken = {k: v.clone() for k, v in seen.gradients.items()}
    for tensor in broken.values():
        tensor[1] = value
    found = run(attack, replace(seen, gradients=broken))
    assert_valid(found, attack, size, BUDGET)
    sound = run(attack, seen)
    for victim in (0, 2):
        torch.testing.assert_close(found.images[victim], sound.images[victim], rtol=0, atol=1e-2)


@pytest.mark.parametrize("attack", [name for name, card in ATTACKS.items() if card.max_batch_size])
def test_an_attack_refuses_larger_batches_than_its_card_allows(attack: str) -> None:
    size = (ATTACKS[attack].max_batch_size or 0) + 1
    with pytest.raises(IncompatibleError):
        run(attack, tiny(attack, size))


@pytest.mark.parametrize("attack", [name for name, card in ATTACKS.items() if card.needs_auxiliary])
def test_an_attack_refuses_to_work_without_the_auxiliary_images_that_it_needs(attack: str) -> None:
    with pytest.raises(IncompatibleError):
        run(attack, replace(tiny(attack, 1), auxiliary=None))


@pytest.mark.slow
@pytest.mark.parametrize("attack", [name for name, card in ATTACKS.items() if card.floor])
def test_an_attack_reaches_the_floor_of_its_card(attack: str) -> None:
    card = ATTACKS[attack]
    assert card.floor is not None
    splits, none = digits(0), build_defense("none", {})
    where: dict[str, Any] = {
        "model": card.floor.model,
        "num_classes": 10,
        "image_shape": DIGITS,
        "defense": none,
    }
    if card.floor.checkpoint is Checkpoint.INITIAL:
        network = build_model(card.floor.model, num_classes=10, image_shape=DIGITS)
        network.initialise(stream(0, "weights", CPU))
        parameters = {k: v.detach() for k, v in network.named_parameters()}
    else:
        parameters = train_victim(
            splits=splits, batch_size=4, epochs=None, seed=0, device=CPU, **where
        ).trained
    release = release_gradients(
        parameters=parameters,
        private=splits.private_train,
        releases=16,
        batch_size=1,
        seed=0,
        device=CPU,
        **where,
    )
    seen = replace(
        tiny(attack, 1),
        model=build_model(card.floor.model, num_classes=10, image_shape=DIGITS),
        parameters=parameters,
        gradients=release.gradients,
        ids=torch.arange(16),
        labels=release.labels if card.needs_labels else None,
        auxiliary=splits.auxiliary if card.needs_auxiliary else None,
    )
    found = run(attack, seen, budget=1000)
    assert psnr(found.images.flatten(0, 1), release.images.flatten(0, 1)).mean() >= card.floor.psnr


# --------------------------------------------------------------------------------------------- defenses


def strengths(name: str) -> list[dict[str, Any]]:
    """The default, and the ends of the declared range of the swept parameter."""
    card = DEFENSES[name]
    if not card.strength:
        return [{}]
    swept = card.parameters[card.strength]
    ends = [end for end in (swept.minimum, swept.maximum) if end is not None]
    return [{}, *({card.strength: type(swept.default)(end)} for end in ends)]


every_defense = pytest.mark.parametrize(
    ("defense", "parameters"), [(name, parameters) for name in DEFENSES for parameters in strengths(name)]
)


def raw() -> dict[str, Tensor]:
    return {k: v.clone() for k, v in tiny(next(iter(ATTACKS)), 1).gradients.items()}


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1)


def alike(left: Gradients, right: Gradients) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@every_defense
def test_a_defense_keeps_its_contract(defense: str, parameters: dict[str, Any]) -> None:
    hooks = build_defense(defense, parameters)
    plain, state = raw(), torch.random.get_rng_state()
    sent = hooks.gradients(plain, context())
    assert list(sent) == list(plain)
    assert all(sent[k].shape == v.shape and sent[k].dtype == v.dtype for k, v in plain.items())
    assert alike(plain, raw()), "changed the gradients in place"
    assert alike(sent, build_defense(defense, parameters).gradients(plain, context())), "not deterministic"

    images, labels = batches(VICTIMS, 1)
    shown, named = hooks.inputs(images, labels, context())
    assert shown.shape == images.shape and shown.dtype == images.dtype
    assert named.shape[:2] == labels.shape
    assert torch.equal(images, batches(VICTIMS, 1)[0]), "changed the images in place"
    assert torch.equal(torch.random.get_rng_state(), state), "drew from the global random state"


@every_defense
@pytest.mark.parametrize("changed", range(VICTIMS))
def test_a_defense_does_not_mix_clients(defense: str, parameters: dict[str, Any], changed: int) -> None:
    hooks = build_defense(defense, parameters)
    others = [client for client in range(VICTIMS) if client != changed]
    before, after = raw(), raw()
    for value in after.values():
        value[changed] = -3 * value[changed] + 1
    left, right = hooks.gradients(before, context()), hooks.gradients(after, context())
    assert all(torch.equal(left[k][others], right[k][others]) for k in left)

    images, labels = batches(VICTIMS, 1)
    other = images.clone()
    other[changed] = 1 - other[changed]
    (left_in, _), (right_in, _) = (
        hooks.inputs(images, labels, context()),
        hooks.inputs(other, labels, context()),
    )
    assert torch.equal(left_in[others], right_in[others])


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("model", MODELS)
def test_a_defended_model_still_scores_images(defense: str, model: str) -> None:
    network = build_defense(defense, {}).model(build_model(model, num_classes=10, image_shape=DIGITS))
    assert network(torch.rand(2, *DIGITS)).shape == (2, 10)


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_defense_has_a_view_if_and_only_if_its_card_says_so(defense: str) -> None:
    hooks, card = build_defense(defense, {}), DEFENSES[defense]
    view = hooks.view()
    assert (view is not None) == card.adaptive_view
    if view is None:
        return
    assert set(view.parameters) == set(card.parameters)
    plain = raw()
    sent = hooks.gradients(plain, context())
    if view.negative_log_likelihood is not None:
        leaf = {k: v.requires_grad_() for k, v in raw().items()}
        value = view.negative_log_likelihood(leaf, sent)
        assert value.shape == (VICTIMS,) and value.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), list(leaf.values())))
    if view.transmitted is not None:
        mask = view.transmitted(sent)
        assert {k: v.shape for k, v in mask.items()} == {k: v.shape for k, v in sent.items()}
        assert all(v.dtype == torch.bool for v in mask.values())


# ---------------------------------------------------------------------------------------------- datasets


@cache
def splits_of(name: str, seed: int) -> Splits:
    try:
        return build_dataset(name, {}).splits(seed=seed)
    except BenchError as error:
        pytest.skip(f"{name} is not on this machine: {error}")


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_what_its_card_says(name: str) -> None:
    dataset, card = build_dataset(name, {}), DATASETS[name]
    assert dataset.num_classes == card.num_classes
    assert tuple(dataset.image_shape) == tuple(card.image_shape)
    for part in vars(splits_of(name, 0)).values():
        assert part.images.shape == (len(part), *card.image_shape) and len(part) > 0
        assert part.images.dtype == torch.float32 and part.labels.dtype == torch.int64
        assert part.images.min() >= 0 and part.images.max() <= 1 and part.images.isfinite().all()
        assert part.labels.shape == (len(part),)
        assert part.labels.min() >= 0 and part.labels.max() < card.num_classes


@pytest.mark.parametrize("name", DATASETS)
def test_the_splits_of_a_dataset_share_no_image(name: str) -> None:
    parts = [
        {hashlib.sha256(image.numpy().tobytes()).digest() for image in part.images}
        for part in vars(splits_of(name, 0)).values()
    ]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_shuffled_by_its_seed_alone(name: str) -> None:
    first, state = splits_of(name, 0), torch.random.get_rng_state()
    again = build_dataset(name, {}).splits(seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    for part, same in zip(vars(first).values(), vars(again).values(), strict=True):
        assert torch.equal(part.images, same.images) and torch.equal(part.labels, same.labels)
    assert not torch.equal(splits_of(name, 1).private_train.images, first.private_train.images)
