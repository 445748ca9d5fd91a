from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from bench.api.errors import UsageError
from bench.matrix import Cell, Filters, Matrix, expand, load_matrix
from tests.api.plugin_folders import BLOCK, STEPS, Folders

BLURS = [{"name": "blur", "scale": [0.1, 0.2]}]


def cells_of(folders: Folders, *blocks: Mapping[str, object], **filters: object) -> list[Cell]:
    """The cells of a matrix whose blocks differ from the standard one in the fields given."""
    path = folders.matrix({"block": [{**BLOCK, **block} for block in blocks or ({},)]})
    return expand(load_matrix(str(path)), Filters(**filters))  # type: ignore[arg-type]


def test_one_entry_each_is_one_cell_a_seed(folders: Folders) -> None:
    first, second = cells_of(folders)
    assert (first.seed, second.seed) == (0, 1)
    assert first.attack.arguments() == {"steps": 10}
    assert (first.releases, first.budget, first.epochs, first.incompatible) == (4, 100, None, "")
    assert first.strength == 0.5
    facts = {"guess/naive", "blur=0.5", "dots", "lenet@initial", "gradients", "B=1", "budget=100", "seed=0"}
    assert facts <= set(first.title.split())


def test_the_seed_is_the_outermost_loop_and_blocks_come_next(folders: Folders) -> None:
    cells = cells_of(folders, {"defenses": BLURS}, {"models": ["convnet"], "batch_sizes": [1, 2]})
    assert [(c.seed, c.model, c.batch_size, c.strength) for c in cells] == [
        (seed, *rest)
        for seed in (0, 1)
        for rest in [("lenet", 1, 0.1), ("lenet", 1, 0.2), ("convnet", 1, 0.5), ("convnet", 2, 0.5)]
    ]


def test_after_the_first_seed_every_attack_has_met_every_defense(folders: Folders) -> None:
    folders.add("attack", "other")
    cells = cells_of(
        folders, {"attacks": ["guess", "other"], "defenses": BLURS, "models": ["lenet", "convnet"]}
    )
    half = len(cells) // 2
    assert {(c.attack.name, c.strength, c.model) for c in cells[:half]} == {
        (attack, strength, model)
        for attack in ("guess", "other")
        for strength in (0.1, 0.2)
        for model in ("lenet", "convnet")
    }


def test_lists_are_swept_as_a_cross_product(folders: Folders) -> None:
    sweep = {"name": "blur", "scale": [0.1, 1], "shape": ["flat", "peaked"]}
    cells = cells_of(folders, {"defenses": [sweep]}, seeds=(0,))
    assert [(c.defense.label, c.strength) for c in cells] == [
        ("blur", 0.1),
        ("blur[shape=peaked]", 0.1),
        ("blur", 1.0),
        ("blur[shape=peaked]", 1.0),
    ]


@pytest.fixture
def with_preset(folders: Folders) -> Folders:
    """``guess`` with two parameters, for both of which its paper has another value."""
    rate = {"default": 0.1, "published": 1, "description": "Step size."}
    folders.add("attack", "guess", {"parameters": {"steps": {**STEPS, "published": 30}, "rate": rate}})
    return folders


def test_a_preset_is_the_attack_with_its_papers_parameters(with_preset: Folders) -> None:
    attacks = ["guess", "guess@published", {"name": "guess@published", "steps": 20}]
    cells = cells_of(with_preset, {"attacks": attacks}, seeds=(0,))
    assert [(c.attack.label, c.attack.name, c.attack.arguments()) for c in cells] == [
        ("guess", "guess", {"steps": 10, "rate": 0.1}),
        ("guess@published", "guess", {"steps": 30, "rate": 1.0}),
        ("guess[rate=1,steps=20]", "guess", {"steps": 20, "rate": 1.0}),
    ]


def test_a_preset_is_no_part_of_an_identity(with_preset: Folders) -> None:
    named, written = (
        cells_of(with_preset, {"attacks": [attack]}, seeds=(0,))
        for attack in ("guess@published", {"name": "guess", "steps": 30, "rate": 1.0})
    )
    assert named == written and named[0].id == written[0].id


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        ("guess@published", ["guess@published"]),
        ("guess", ["guess", "guess@published"]),
        ("guess[steps=10]", ["guess"]),
        ("guess@published[rate=0.5]", ["guess[rate=0.5,steps=30]"]),
    ],
)
def test_the_command_line_takes_presets(with_preset: Folders, wanted: str, labels: list[str]) -> None:
    cells = cells_of(with_preset, {"attacks": ["guess", "guess@published"]}, seeds=(0,), attacks=(wanted,))
    assert [cell.attack.label for cell in cells] == labels


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"attacks": ["guess@paper"]}, "unknown preset of attack guess 'paper'; known: published"),
        ({"attacks": ["gues@published"]}, "unknown attack 'gues'; did you mean 'guess'?"),
        ({"defenses": ["blur@published"]}, "unknown preset of defense blur 'published'; known: none"),
    ],
)
def test_an_unknown_preset_is_refused(
    with_preset: Folders, block: Mapping[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        cells_of(with_preset, block)


def test_labels_of_different_values_are_different(folders: Folders) -> None:
    parameters = {"steps": STEPS, "rate": {"default": 0.1, "description": "Step size."}}
    folders.add("attack", "guess", {"parameters": parameters})
    attack = {"name": "guess", "rate": [0.1234567, 0.1234568, 0.1, 1e-9], "steps": 20}
    labels = [cell.attack.label for cell in cells_of(folders, {"attacks": [attack]}, seeds=(0,))]
    assert labels == [
        "guess[rate=0.1234567,steps=20]",
        "guess[rate=0.1234568,steps=20]",
        "guess[steps=20]",
        "guess[rate=1e-09,steps=20]",
    ]


def test_the_same_cell_in_two_blocks_is_run_once(folders: Folders) -> None:
    assert len(cells_of(folders, {}, {"defenses": ["blur", {"name": "blur", "scale": 0.5}]})) == 2


def test_a_defense_without_strength_has_none(folders: Folders) -> None:
    folders.add("defense", "blur", {"strength": "", "parameters": {}})
    cell = cells_of(folders)[0]
    assert cell.strength is None and "blur" in cell.title.split()


def test_declared_limits_are_cells_with_a_reason(folders: Folders) -> None:
    folders.add("attack", "single", {"max_batch_size": 1, "max_batch_reason": "one label"})
    folders.add("attack", "nosy", {"needs_labels": True})
    folders.add("defense", "open", {"adaptive_view": False})
    block = {
        "attacks": ["guess", "single", "nosy"],
        "defenses": ["blur", "open"],
        "adversaries": ["naive", "adaptive"],
        "batch_sizes": [1, 2],
    }
    reasons = {
        (c.attack.name, c.defense.name, c.adversary.value, c.batch_size): c.incompatible
        for c in cells_of(folders, block, seeds=(0,))
    }
    assert len(reasons) == 24
    for (attack, defense, adversary, batch), reason in reasons.items():
        if attack == "single" and batch == 2:
            assert reason == "one label"
        elif defense == "open" and adversary == "adaptive":
            assert reason and reason != "one label"
        else:
            assert (reason != "") == (attack == "nosy")


@pytest.mark.parametrize(("channel", "given"), [("smashed", True), ("client_gradients", False)])
def test_labels_are_the_servers_in_split_learning_and_nobody_elses(
    folders: Folders, channel: str, given: bool
) -> None:
    split = {"channels": [channel], "access": "weights"}
    folders.add("attack", "server", {**split, "needs_labels": True})
    folders.add("defense", "blur", {"channels": [channel]})
    block = {"channel": channel, "models": ["splitnet"], "attacks": ["server"]}
    cells = cells_of(folders, block, seeds=(0,))
    assert [not cell.incompatible for cell in cells] == [given]


def test_an_attack_only_plays_the_adversaries_that_it_declares(folders: Folders) -> None:
    folders.add("attack", "simple", {"adversaries": ["naive"]})
    block = {"attacks": ["guess", "simple"], "adversaries": ["naive", "adaptive"]}
    cells = cells_of(folders, block, seeds=(0,))
    assert [(c.attack.name, c.adversary.value) for c in cells] == [
        ("guess", "naive"),
        ("guess", "adaptive"),
        ("simple", "naive"),
    ]
    with pytest.raises(UsageError, match="mine"):
        cells_of(folders, {"attacks": ["simple"], "adversaries": ["adaptive"]})


def test_a_block_may_have_several_budgets() -> None:
    block = {
        "datasets": ["mnist5k"],
        "models": ["lenet"],
        "checkpoints": ["initial"],
        "batch_sizes": [1],
        "releases": 2,
        "budget": [10, 100],
        "attacks": ["prior", "dlg"],
        "adversaries": ["naive"],
        "defenses": ["none"],
    }
    parts = {"name": "budgets", "version": 1, "description": "x", "seeds": [0]}
    matrix = Matrix.model_validate({**parts, "block": [block]})
    cells = expand(matrix)
    assert [(cell.attack.name, cell.budget) for cell in cells] == [
        ("prior", 10), ("prior", 100), ("dlg", 10), ("dlg", 100),
    ]  # fmt: skip
    assert len({cell.id for cell in cells}) == 4
    with pytest.raises(ValueError, match="budget"):
        Matrix.model_validate({**parts, "block": [{**block, "budget": []}]})


@pytest.mark.parametrize(("side", "measured"), [(10, False), (11, True)])
def test_images_below_the_window_of_ssim_are_never_measured(
    folders: Folders, side: int, measured: bool
) -> None:
    folders.add("dataset", "dots", {"image_shape": [1, 40, side]})
    (reason,) = {cell.incompatible for cell in cells_of(folders)}
    assert reason == "" if measured else "SSIM" in reason and "40x10" in reason
