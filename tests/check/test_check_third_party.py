"""A small package of somebody else, really built and installed, brings plug-ins by its entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "third_party"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel of the package is installed, beside what the tests have anyway."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=PACKAGE)
    (wheel,) = wheels.iterdir()
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def run(*arguments: str, cwd: Path = ROOT, site: Path | None = None, status: int = 0, **more: str) -> str:
    path = os.pathsep.join(str(part) for part in (site, ROOT) if part)
    environment = {**os.environ, "PYTHONPATH": path, **more}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_discovery_finds_installed_plugins_and_runs_none_of_their_code(site: Path) -> None:
    code = (
        "import sys; from bench.plugins import discover as d;"
        "print(sorted(set(d('attack').plugins) & {'stranger_grey', 'dlg'}), 'stranger' in sys.modules)"
    )
    assert run("-c", code, site=site) == "['dlg', 'stranger_grey'] False\n"


def test_an_entry_point_that_leads_nowhere_is_listed_as_broken(site: Path) -> None:
    out = run("-m", "bench.cli.main", "list", "datasets", site=site, status=1)
    assert "mnist5k" in out
    told = out.partition("broken: ")[2]
    assert all(fact in told for fact in ("lost", "stranger 1.2", "bench.datasets", "'stranger.nowhere'"))


def test_an_installed_plugin_is_one_class_under_one_name_in_every_process(site: Path) -> None:
    code = (
        "import pickle; from bench.plugins import build_attack as b; a = b('stranger_grey', {});"
        "print(type(a).__module__, type(pickle.loads(pickle.dumps(a))) is type(a))"
    )
    assert run("-c", code, site=site) == "bench.attacks.stranger_grey.attack True\n"


@pytest.mark.slow
def test_the_contract_runs_over_installed_plugins_and_those_on_the_search_path(
    site: Path, tmp_path: Path
) -> None:
    made = run("-m", "bench.cli.main", "new", "defense", "visitor", "--path", str(tmp_path), cwd=tmp_path)
    assert "wrote" in made
    out = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", "slow or not slow"),
        *("tests/test_contract.py", "-k", "test_a_plugin_keeps_its_promise and (stranger or visitor)", "-rA"),
        site=site,
        BENCH_PLUGIN_PATH=str(tmp_path),
    )
    passed = [line for line in out.splitlines() if line.startswith("PASSED")]
    for kind, name in (("attack", "stranger_grey"), ("defense", "stranger_scale"), ("defense", "visitor")):
        assert any(f"[{kind}-{name}-shapes]" in line for line in passed)
    assert any("[attack-stranger_grey-floor]" in line for line in passed)
    assert "failed" not in out.splitlines()[-1]
