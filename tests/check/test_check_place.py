"""From a name or a path to a plug-in, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.api import UsageError
from bench.check.place import at, subjects
from bench.plugins import build_attack, discover
from bench.search_path import ENVIRONMENT_VARIABLE

from .faults import broken


def test_a_folder_anywhere_is_seen_as_long_as_it_is_looked_at(tmp_path: Path) -> None:
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    with at(broken(tmp_path, "attacks/wrong_unit")) as subject:
        assert (subject.kind, subject.name) == ("attack", "wrong_unit")
        assert "wrong_unit" in discover("attack").plugins
        assert "dlg" in discover("attack").plugins, "the others are still there"
        assert type(build_attack("wrong_unit", {})).__module__ == "bench.attacks.wrong_unit.attack"
    assert os.environ.get(ENVIRONMENT_VARIABLE) == before
    assert "wrong_unit" not in discover("attack").plugins


def test_a_name_brings_its_parameters() -> None:
    (subject,) = subjects("noise[sigma=0.5]")
    assert (subject.kind, subject.name, subject.parameters) == ("defense", "noise", {"sigma": 0.5})


def test_what_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'noise'"):
        subjects("noisy")
    odd = tmp_path / "my-attack"
    odd.mkdir()
    (odd / "attack.py").touch()
    both = tmp_path / "both"
    both.mkdir()
    for name in ("attack.py", "defense.py"):
        (both / name).touch()
    for folder, facts in (
        (tmp_path / "gone", "gone"),
        (tmp_path, "card.toml.*none"),
        (both, r"attack\.py and defense\.py"),
        (odd, "my-attack.*my_attack"),
    ):
        with pytest.raises(UsageError, match=facts), at(folder):
            pass
