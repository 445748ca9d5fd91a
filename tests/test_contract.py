"""ONE contract over every plug-in that discovery finds: the project's, the path's, installed packages'.

It is the contract that ``bench check`` tries, promise by promise, and that every attack and every defense
keep with each other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import Adversary, BaseAttack, Defense, DefenseView, GradientObservation, Reconstruction
from bench.api.cards import AttackCard, DefenseCard, Kind
from bench.api.errors import IncompatibleError
from bench.cells.reconstructions import check_reconstruction
from bench.check.findings import Verdict
from bench.check.materials import material
from bench.check.materials.released_material import RELEASED
from bench.check.materials.trial import GRADIENTS, Seen, Trial
from bench.check.place import Subject
from bench.check.run import promises, try_promise
from bench.engine.gradient_search import in_double
from bench.plugins import FOLDERS, Plugin, build_attack, build_defense, discover
from tests.victims.test_victims_folder import photographs

PLUGINS: list[Plugin] = [plugin for kind in FOLDERS for plugin in discover(kind).plugins.values()]
TRIALS: dict[str, Trial] = {"gradients": GRADIENTS, "model": RELEASED}
"""Where attacks and defenses meet here: what meets in split learning is tried by the promise ``shapes``."""
ATTACKS: dict[str, dict[str, AttackCard]] = {name: {} for name in TRIALS}
DEFENSES: dict[str, dict[str, DefenseCard]] = {name: {} for name in TRIALS}
"""Those of each channel, by name."""
for _item in PLUGINS:
    for _channel in set(TRIALS) & set(getattr(_item.card, "channels", ())):
        if isinstance(_item.card, AttackCard):
            ATTACKS[_channel][_item.name] = _item.card
        if isinstance(_item.card, DefenseCard) and not _item.card.needs_split:
            DEFENSES[_channel][_item.name] = _item.card
EVERY_ATTACK = [(channel, name) for channel in TRIALS for name in ATTACKS[channel]]
SLOW = ("imports", "floor", "decoys")
"""A fresh process, and hundreds of evaluations."""


def promise(plugin: Plugin, name: str) -> Any:
    marks = [pytest.mark.slow] if name.rpartition(".")[2] in SLOW else []
    return pytest.param(plugin, name, id=f"{plugin.kind}-{plugin.name}-{name}", marks=marks)


@pytest.mark.parametrize("kind", FOLDERS)
def test_no_plugin_is_broken(kind: Kind) -> None:
    assert discover(kind).broken == {}
    assert discover(kind).plugins


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for those plug-ins that are made of the user's files: pictures, and arrays in one file."""
    folder = photographs(tmp_path_factory.mktemp("user") / "photos", 330)
    pixels = np.random.default_rng(0).integers(0, 256, (330, 28, 28), dtype=np.uint8)
    np.savez(folder / "arrays.npz", images=pixels, labels=np.arange(330) % 3)
    return str(folder)


@pytest.mark.parametrize(
    ("plugin", "name"),
    [promise(plugin, name) for plugin in PLUGINS for name in promises(plugin.kind, plugin.card)],
)
def test_a_plugin_keeps_its_promise(plugin: Plugin, name: str, request: pytest.FixtureRequest) -> None:
    pinned = bool(getattr(plugin.card, "sha256", ""))  # of files that no photographs can stand for
    paths = [key for key, item in plugin.card.parameters.items() if item.path and not pinned]
    parameters = {key: request.getfixturevalue("photos") for key in paths}
    item = try_promise(name, Subject(plugin.kind, plugin.name, plugin.folder, parameters))
    if item.verdict is Verdict.SKIPPED:
        pytest.skip(item.message)
    assert item.verdict is not Verdict.BROKEN, f"{item.message}\nfix: {item.fix}"


# --------------------------------------------------------------------------- every attack meets every defense


def _kind(name: str) -> tuple[bool, ...]:
    """What a defense changes, and what an adaptive attacker has of it: attacks meet one of each kind."""
    hooks = build_defense(name, {})
    changed = (
        getattr(type(hooks), hook) is getattr(Defense, hook) for hook in ("model", "inputs", "objective")
    )
    seen = hooks.view() or DefenseView()
    parts = ("negative_log_likelihood", "transmitted", "transmit", "transform")
    return (*changed, *(getattr(seen, part) is None for part in parts))


KINDS = {
    channel: {_kind(name): name for name in sorted(DEFENSES[channel], reverse=True)}.values()
    for channel in DEFENSES
}
CASES = [
    pytest.param(
        channel, attack, adversary, defense, size, id=f"{attack}-{adversary}-{channel}-{defense}-B{size}"
    )
    for channel, attack in EVERY_ATTACK
    for adversary in ATTACKS[channel][attack].adversaries
    for defense in KINDS[channel]
    if adversary is Adversary.NAIVE or DEFENSES[channel][defense].adaptive_view
    for size in TRIALS[channel].sizes(ATTACKS[channel][attack])
]


def subject(attack: str) -> Subject:
    return Subject("attack", attack, discover("attack").plugins[attack].folder)


@cache
def seen(channel: str, attack: str, adversary: Adversary, defense: str, size: int) -> Seen:
    """Three releases of a small victim under a defense, as this attack may see them."""
    return TRIALS[channel].seen(subject(attack), size, adversary, defense)


def first(channel: str, attack: str) -> Seen:
    """The observation of one attacker."""
    card = ATTACKS[channel][attack]
    return seen(channel, attack, card.adversaries[0], next(iter(DEFENSES[channel])), 1)


def run(attack: str, observation: Seen, *, seed: int = 0) -> Reconstruction:
    plugin: BaseAttack[Any] = build_attack(attack, {})
    return plugin.reconstruct(observation, budget=material.BUDGET, seed=seed)


@pytest.mark.parametrize(("channel", "attack", "adversary", "defense", "size"), CASES)
def test_every_attack_stands_every_defense(
    channel: str, attack: str, adversary: Adversary, defense: str, size: int
) -> None:
    observation = seen(channel, attack, adversary, defense, size)
    try:
        found = run(attack, observation)
    except IncompatibleError as error:  # of a network that the defense has changed; a table says n/a
        pytest.skip(str(error))
    shape = (material.VICTIMS, size, *observation.image_shape)
    check_reconstruction(found, shape, attack)
    assert found.images.isfinite().all() and found.cost.isfinite().all()
    bound = ATTACKS[channel][attack].receives_pool  # it goes through its list, whatever the budget
    assert bound or (found.evaluations <= material.BUDGET).all()


@pytest.mark.parametrize(("channel", "attack"), EVERY_ATTACK)
def test_another_seed_gives_another_reconstruction(
    channel: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the attack is deterministic by nature: it then makes no generator."""
    made: list[torch.Generator] = []

    class Recorded(torch.Generator):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            made.append(self)

    observation = first(channel, attack)
    monkeypatch.setattr(torch, "Generator", Recorded)
    found, other = run(attack, observation), run(attack, observation, seed=1)
    same_images = torch.equal(found.images, other.images)
    if not made:
        assert same_images
    elif same_images:
        assert found.labels is not None and other.labels is not None
        assert not torch.equal(found.labels, other.labels)


@pytest.mark.parametrize(("channel", "attack"), EVERY_ATTACK)
def test_the_order_of_the_victims_does_not_matter(channel: str, attack: str) -> None:
    observation = TRIALS[channel].exact(first(channel, attack))
    order = torch.tensor([2, 0, 1])
    plain, turned = run(attack, observation), run(attack, observation.select(order))
    if ATTACKS[channel][attack].observes_release:
        torch.testing.assert_close(turned.images, plain.images[order], rtol=0, atol=1e-6)


def test_replacing_the_model_leaves_the_cached_observation_alone() -> None:
    """``in_double`` must not turn the shared network into double precision."""
    observation = first("gradients", next(iter(ATTACKS["gradients"])))
    assert isinstance(observation, GradientObservation)
    in_double(replace(observation))
    assert all(value.dtype == torch.float32 for value in observation.model.parameters())
