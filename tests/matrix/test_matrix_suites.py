"""Suites are versioned, known, and judge each channel once."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bench.api.errors import UsageError
from bench.api.threat import Adversary, Channel
from bench.matrix import expand, load_matrix
from bench.matrix.suites import by_channel, load_suite, newest, suites
from bench.plugins import attack_card, defense_card


def test_every_suite_that_ships_is_read() -> None:
    for title in suites():
        suite = load_suite(title)
        assert suite.title == title and suite.attacks and suite.channels
        assert len(set(suite.attacks)) == len(suite.attacks)


def test_the_newest_suites_judge_every_channel_once() -> None:
    found = by_channel(newest())
    assert set(found) == {"gradients", "client_gradients", "malicious", "smashed", "model"}


def test_an_unknown_suite_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="gradients@1"):
        load_suite("gradient@1")


def matrix(directory: Path, lines: str) -> Path:
    path = directory / "own.toml"
    head = 'name = "own"\nversion = 1\ndescription = "d"\nseeds = [0]\n'
    block = (
        '[[block]]\ndatasets = ["mnist5k"]\nmodels = ["lenet"]\ncheckpoints = ["initial"]\n'
        'batch_sizes = [1]\nreleases = 1\nbudget = 1\nattacks = ["prior"]\nadversaries = ["naive"]\n'
        'defenses = ["none"]\n'
    )
    path.write_text(f"{head}{lines}\n{block}", encoding="utf-8")
    return path


def test_a_matrix_names_its_suites(tmp_path: Path) -> None:
    assert load_matrix(str(matrix(tmp_path, 'suites = ["gradients@1"]'))).suites == ["gradients@1"]
    with pytest.raises(UsageError, match="suites"):
        load_matrix(str(matrix(tmp_path, 'suites = ["gradients@99"]')))


@pytest.mark.parametrize("name", ["full", "paper", "generative", "faces", "mednist", "zoo_gradients"])
def test_published_matrices_can_be_judged(name: str) -> None:
    """Every defended row meets what its suite makes it owe, at a size that decides; so does the floor."""
    asked = load_matrix(name)
    judging = by_channel(asked.suites)
    rows: dict[Any, set[Any]] = defaultdict(set)
    settings: dict[Any, set[tuple[str, str]]] = defaultdict(set)
    for cell in expand(asked):
        setting = (cell.channel, cell.dataset, cell.model, cell.checkpoint, cell.batch_size)
        rows[setting, cell.defense].add((cell.attack.name, cell.adversary))
        settings[setting].add((cell.attack.name, cell.attack.label))
        least = 50 if cell.channel == Channel.MODEL else 72
        assert cell.releases * len(asked.seeds) >= least and len(asked.seeds) >= 5
    for (setting, defense), met in rows.items():
        suite = judging[str(setting[0])]
        for attack in suite.attacks:
            card = attack_card(attack)
            if setting[0] not in card.channels:
                continue
            if not card.observes_release:
                assert attack in {found for found, _ in settings[setting]}
                continue
            knows = defense_card(defense.name).adaptive_view and Adversary.ADAPTIVE in card.adversaries
            assert (attack, Adversary.ADAPTIVE if knows else Adversary.NAIVE) in met, (
                setting,
                defense,
                attack,
            )
        seen = {found for found, _ in met if attack_card(found).observes_release}
        blind = {label for found, label in settings[setting] if not attack_card(found).observes_release}
        assert len(blind) >= min(len(seen), len(suite.attacks)), "as many blind guesses as attacks"
