"""Plug-ins are found, under one name, however the package was installed: checkout, editable, wheel, sdist."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import bench.search_path
from bench.search_path import search_path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("attacks", "defenses", "datasets")
SOME_PLUGINS = ("attacks.dlg.attack", "defenses.noise.defense", "datasets.mnist5k.dataset")

WHERE = """
import sys
from importlib.util import find_spec
for name in sys.argv[1:]:
    print(find_spec(name).origin)
"""

PICKLES_BY_NAME = """
import multiprocessing
from bench.attacks.outsider.attack import Outsider

def here(attack):
    return type(attack).__module__, attack.secret

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.apply(here, (Outsider(7),)))
"""


def python(*arguments: str | Path, path: Path | None = None, cwd: Path, **environment: str) -> str:
    """Run this interpreter as a user would elsewhere: only `path` and `environment` point to the project."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "BENCH_PLUGIN_PATH")}
    clean |= environment | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(wheel: Path, target: Path) -> Path:
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    python(*pip, "--target", target, wheel, cwd=wheel.parent)
    return target


def build(target: str, source: Path, out: Path) -> Path:
    python("-m", "hatchling", "build", "-t", target, "-d", out, cwd=source)
    (made,) = out.iterdir()
    return made


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def outsider(root: Path, secret: str = "self.secret = secret") -> Path:
    """A plug-in folder outside the project that holds one attack."""
    folder = root / "attacks" / "outsider"
    folder.mkdir(parents=True)
    code = f"class Outsider:\n    def __init__(self, secret):\n        {secret}\n"
    (folder / "attack.py").write_text(code, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed beside a stand-in for Hugging Face's `datasets`."""
    target = tmp_path_factory.mktemp("site")
    (target / "datasets").mkdir()
    (target / "datasets" / "__init__.py").write_text("hugging_face = True\n", encoding="utf-8")
    return install(wheel, target)


def test_no_top_level_folder_is_a_package() -> None:
    assert not [kind for kind in KINDS if (ROOT / kind / "__init__.py").exists()]


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs a git checkout")
def test_git_ignores_no_source() -> None:
    # A pattern like `runs/`, meant for the output folder, also hides bench/runs; `/runs/` does not.
    sources = [
        f"{folder}/{name}" for folder in ("bench", *KINDS, "tests") for name in files_below(ROOT / folder)
    ]
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    ignored = subprocess.run(command, cwd=ROOT, input="\n".join(sources), capture_output=True, text=True)
    assert ignored.stdout == ""


def test_the_wheel_holds_the_whole_package_and_all_plugins_below_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name for name in names if ".dist-info/" not in name}
    expected = {f"bench/{name}" for name in files_below(ROOT / "bench")}
    for kind in KINDS:
        expected |= {f"bench/{kind}/{name}" for name in files_below(ROOT / kind)}
        assert f"bench/{kind}/__init__.py" in shipped
    assert shipped == expected
    assert len(names) == len(set(names))
    assert {"bench/" + plugin.replace(".", "/") + ".py" for plugin in SOME_PLUGINS} <= shipped
    assert {"bench/py.typed", "bench/matrix/matrices/smoke@5.toml"} <= shipped


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert not {"results", "runs", ".venv", ".git"} & {path.name for path in source.iterdir()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py"} <= files_below(source)
    again = build("wheel", source, tmp_path / "dist")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_leaves_the_name_datasets_to_others(site: Path, tmp_path: Path) -> None:
    code = "import datasets, bench.datasets; print(datasets.hugging_face, bench.datasets.__path__)"
    found = python("-c", code, path=site, cwd=tmp_path)
    assert found == f"True {[str(site / 'bench' / 'datasets')]}\n"


def test_the_wheel_resolves_its_own_plugins(site: Path, tmp_path: Path) -> None:
    origins = python("-c", WHERE, *(f"bench.{p}" for p in SOME_PLUGINS), path=site, cwd=tmp_path)
    assert origins.split() == [str(site / "bench" / (p.replace(".", "/") + ".py")) for p in SOME_PLUGINS]


def test_the_checkout_resolves_to_its_top_level_folders(tmp_path: Path) -> None:
    origins = python("-c", WHERE, *(f"bench.{p}" for p in SOME_PLUGINS), path=ROOT, cwd=tmp_path)
    assert origins.split() == [str(ROOT / (p.replace(".", "/") + ".py")) for p in SOME_PLUGINS]


def test_an_editable_install_resolves_to_the_checkout(tmp_path: Path) -> None:
    code = "import hatchling.build, sys; hatchling.build.build_editable(sys.argv[1])"
    (tmp_path / "dist").mkdir()
    python("-c", code, tmp_path / "dist", cwd=ROOT)
    (wheel,) = (tmp_path / "dist").iterdir()
    site = install(wheel, tmp_path / "site")
    # The only site-packages of this interpreter (-S), so that no other install of the project is seen.
    code = f"import site; site.addsitedir({str(site)!r})" + WHERE
    origins = python("-S", "-c", code, *(f"bench.{p}" for p in SOME_PLUGINS), cwd=tmp_path)
    assert origins.split() == [str(ROOT / (p.replace(".", "/") + ".py")) for p in SOME_PLUGINS]


@pytest.mark.parametrize("installed", ["wheel", "checkout"])
def test_a_plugin_outside_wins_and_pickles_by_name(
    installed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue("site") if installed == "wheel" else ROOT
    plugins = outsider(tmp_path / "plugins")
    shutil.copytree(plugins / "attacks" / "outsider", plugins / "attacks" / "dlg")
    script = tmp_path / "script.py"
    script.write_text(PICKLES_BY_NAME, encoding="utf-8")
    environment = {"BENCH_PLUGIN_PATH": "plugins"}

    found = python(script, path=path, cwd=tmp_path, **environment)
    assert found == "bench.attacks.outsider.attack 7\n"
    found = python("-c", WHERE, "bench.attacks.dlg.attack", path=path, cwd=tmp_path, **environment)
    assert found == f"{plugins / 'attacks' / 'dlg' / 'attack.py'}\n"


def test_importing_bench_imports_no_library(site: Path, tmp_path: Path) -> None:
    code = "import sys, bench.attacks; print(bench.__version__, {'torch', 'numpy'} & {*sys.modules})"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert python("-c", code, path=site, cwd=tmp_path) == f"{version} set()\n"


def test_search_path_keeps_the_order_of_the_variable_and_drops_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a"):
        (tmp_path / name / "attacks").mkdir(parents=True)
    entries = [tmp_path / "b", tmp_path / "missing", tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("BENCH_PLUGIN_PATH", os.pathsep.join(["", *map(str, entries)]))
    folders = [tmp_path / "b", tmp_path / "a", ROOT, ROOT / "bench"]
    assert search_path("attacks") == [str(folder / "attacks") for folder in folders]


def test_search_path_takes_nothing_from_a_stranger_that_carries_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "stranger"\n', encoding="utf-8")
    monkeypatch.delenv("BENCH_PLUGIN_PATH", raising=False)
    monkeypatch.setattr(bench.search_path, "_PACKAGE", tmp_path / "bench")
    monkeypatch.chdir(tmp_path / "datasets")
    assert search_path("datasets") == [str(tmp_path / "bench" / "datasets")]


@pytest.fixture
def bare_project(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_setup_refuses_an_old_python_with_a_clear_message(bare_project: Path) -> None:
    old = bare_project / "old-python"
    pretend = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$2"\n', encoding="utf-8")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}"], cwd=bare_project, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "3.11" in done.stderr and "3.9" in done.stderr
    assert not (bare_project / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_setup_does_nothing_until_the_dependencies_change(bare_project: Path) -> None:
    stamp = bare_project / ".venv" / ".setup-done"
    stamp.parent.mkdir()
    stamp.touch()
    up_to_date = ["make", "-q", "setup"]
    assert subprocess.run(up_to_date, cwd=bare_project).returncode == 0
    os.utime(stamp, (0, 0))
    assert subprocess.run(up_to_date, cwd=bare_project).returncode == 1
