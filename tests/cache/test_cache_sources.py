"""Which files a result depends on: no more and no less than it uses."""

from __future__ import annotations

from pathlib import Path

from bench.cache import sources
from bench.cache.sources import PACKAGE


def _closure(*roots: Path) -> set[str]:
    return {path.name for path in sources._closure(roots)}


def test_a_re_exported_name_leads_to_its_module_alone(tmp_path: Path) -> None:
    attack = tmp_path / "attack.py"
    attack.write_text("from bench.engine import CGLS\n")
    assert _closure(attack) == {"attack.py", "cgls.py", "contract.py"}


def test_what_that_module_imports_counts_too(tmp_path: Path) -> None:
    attack = tmp_path / "attack.py"
    attack.write_text("from bench.engine import SignedAdam\n")
    found = _closure(attack)
    assert {"attack.py", "adam.py", "contract.py"} <= found
    assert "generative.py" not in found


def test_a_name_of_unknown_home_takes_the_whole_package(tmp_path: Path) -> None:
    attack = tmp_path / "attack.py"
    attack.write_text("from bench.engine import nobody_exports_this\n")
    everything = {path.name for path in (PACKAGE / "engine").rglob("*.py")}
    assert everything <= _closure(attack)


def test_lazy_names_of_the_contracts_are_followed_too(tmp_path: Path) -> None:
    attack = tmp_path / "attack.py"
    attack.write_text("from bench.api import ImageGenerator\n")
    assert _closure(attack) == {"attack.py", "generator.py"}
