"""ONE contract over every plug-in that discovery finds: the project's, the path's, installed packages'.

It is the contract that ``bench check`` tries, promise by promise, and that every attack and every defense
keep with each other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.api import Adversary, Attack, Channel, GradientObservation, Reconstruction
from bench.api.cards import AttackCard, DefenseCard, Kind
from bench.check import material
from bench.check.findings import Verdict
from bench.check.place import Subject
from bench.check.run import promises, try_promise
from bench.engine.precision import in_double
from bench.plugins import FOLDERS, Plugin, build_attack, build_defense, discover
from bench.runs.reconstructions import check_reconstruction
from tests.victims.test_victims_folder import photographs

PLUGINS: list[Plugin] = [plugin for kind in FOLDERS for plugin in discover(kind).plugins.values()]
ATTACKS: dict[str, AttackCard] = {}
DEFENSES: dict[str, DefenseCard] = {}
"""Those of the channel gradients: what meets in split learning is tried by the promise ``shapes``."""
for _item in PLUGINS:
    if isinstance(_item.card, AttackCard) and Channel.GRADIENTS in _item.card.channels:
        ATTACKS[_item.name] = _item.card
    _federal = Channel.GRADIENTS in getattr(_item.card, "channels", ())
    if isinstance(_item.card, DefenseCard) and _federal and not _item.card.needs_split:
        DEFENSES[_item.name] = _item.card
SLOW = ("imports", "floor")
"""A fresh process, and a thousand evaluations."""


def promise(plugin: Plugin, name: str) -> Any:
    marks = [pytest.mark.slow] if name in SLOW else []
    return pytest.param(plugin, name, id=f"{plugin.kind}-{plugin.name}-{name}", marks=marks)


@pytest.mark.parametrize("kind", FOLDERS)
def test_no_plugin_is_broken(kind: Kind) -> None:
    assert discover(kind).broken == {}
    assert discover(kind).plugins


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for those plug-ins that are made of the user's files."""
    return str(photographs(tmp_path_factory.mktemp("user") / "photos", 330))


@pytest.mark.parametrize(
    ("plugin", "name"),
    [promise(plugin, name) for plugin in PLUGINS for name in promises(plugin.kind, plugin.card)],
)
def test_a_plugin_keeps_its_promise(plugin: Plugin, name: str, request: pytest.FixtureRequest) -> None:
    paths = [key for key, item in plugin.card.parameters.items() if item.path]
    parameters = {key: request.getfixturevalue("photos") for key in paths}
    item = try_promise(name, Subject(plugin.kind, plugin.name, plugin.folder, parameters))
    if item.verdict is Verdict.SKIPPED:
        pytest.skip(item.message)
    assert item.verdict is not Verdict.BROKEN, f"{item.message}\nfix: {item.fix}"


# --------------------------------------------------------------------------- every attack meets every defense

CASES = [
    pytest.param(attack, adversary, defense, size, id=f"{attack}-{adversary}-{defense}-B{size}")
    for attack, card in ATTACKS.items()
    for adversary in card.adversaries
    for defense, defense_card in DEFENSES.items()
    if adversary is Adversary.NAIVE or defense_card.adaptive_view
    for size in (1, 4)
    if card.max_batch_size is None or size <= card.max_batch_size
]


@cache
def seen(attack: str, adversary: Adversary, defense: str, size: int) -> GradientObservation:
    """Three releases of an untrained network under a defense, as this attack may see them."""
    hooks = build_defense(defense, {})
    released = material.release(hooks, batch_size=size)
    return material.observation(ATTACKS[attack], released, adversary=adversary, defense=hooks)


def run(attack: str, observation: GradientObservation, *, seed: int = 0) -> Reconstruction:
    plugin: Attack = build_attack(attack, {})
    return plugin.reconstruct(observation, budget=material.BUDGET, seed=seed)


@pytest.mark.parametrize(("attack", "adversary", "defense", "size"), CASES)
def test_every_attack_stands_every_defense(
    attack: str, adversary: Adversary, defense: str, size: int
) -> None:
    observation = seen(attack, adversary, defense, size)
    found = run(attack, observation)
    shape = (material.VICTIMS, size, *observation.image_shape)
    check_reconstruction(found, torch.empty(shape), attack)
    assert found.images.isfinite().all() and found.cost.isfinite().all()
    assert (found.evaluations <= material.BUDGET).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_seed_gives_another_reconstruction(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the attack is deterministic by nature: it then makes no generator."""
    made: list[torch.Generator] = []

    class Recorded(torch.Generator):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            made.append(self)

    observation = seen(attack, ATTACKS[attack].adversaries[0], next(iter(DEFENSES)), 1)
    monkeypatch.setattr(torch, "Generator", Recorded)
    first, other = run(attack, observation), run(attack, observation, seed=1)
    same_images = torch.equal(first.images, other.images)
    if not made:
        assert same_images
    elif same_images:
        assert first.labels is not None and other.labels is not None
        assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_order_of_the_victims_does_not_matter(attack: str) -> None:
    observation = in_double(seen(attack, ATTACKS[attack].adversaries[0], next(iter(DEFENSES)), 1))
    order = torch.tensor([2, 0, 1])
    plain, turned = run(attack, observation), run(attack, observation.select(order))
    if ATTACKS[attack].observes_release:
        torch.testing.assert_close(turned.images, plain.images[order], rtol=0, atol=1e-6)


def test_photographs_are_enough_for_the_promises(photos: str) -> None:
    assert len(list(Path(photos).rglob("*.png"))) == 330


def test_replacing_the_model_leaves_the_cached_observation_alone() -> None:
    """``in_double`` must not turn the shared network into double precision."""
    attack = next(iter(ATTACKS))
    observation = seen(attack, ATTACKS[attack].adversaries[0], next(iter(DEFENSES)), 1)
    in_double(replace(observation))
    assert all(value.dtype == torch.float32 for value in observation.model.parameters())
