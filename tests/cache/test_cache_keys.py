"""What decides a number changes the key of its stage, and what decides none changes no key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.outcome import Keys

ROOT = Path(__file__).resolve().parents[2]
WHERE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from bench.cache.keys import Identity, forget_digests
from bench.matrix import Filters, expand, load_matrix
from bench.plugins import discover

ASKED = (("gradients", "lenet", "dlg"), ("smashed", "splitnet_deep", "rmle"), ("model", "convnet", "ppa"))
CELLS = {
    channel: expand(
        load_matrix("smoke"), Filters(channels=(channel,), models=(model,), attacks=(attack,), limit=1)
    )[0]
    for channel, model, attack in ASKED
}


def keys():
    forget_digests()
    discover.cache_clear()
    return {channel: asdict(Identity("cpu").keys(cell)) for channel, cell in CELLS.items()}


before, found = keys(), []
for name, old, new in json.loads(sys.argv[1]):
    path = Path(name)
    text = path.read_text()
    assert old in text, (name, old)
    path.write_text(text.replace(old, new, 1))
    now = keys()
    changed = {channel: [s for s in now[channel] if now[channel][s] != before[channel][s]] for channel in now}
    found.append(changed)
    path.write_text(text)
print(json.dumps(found))
"""
Stages = dict[str, set[str]]
"""Stages of cells, by channel."""
ALL = {"victim", "release", "reconstruction", "scores"}
EVERYWHERE = {"gradients": ALL, "smashed": ALL, "model": ALL}
EDITS: dict[str, tuple[str, str, str, Stages, Stages]] = {
    "identification pool": (
        "bench/metrics/pool.py", "POOL = 2500", "POOL = 2000",
        {"gradients": {"scores"}, "smashed": {"scores"}}, {"gradients": {"victim", "release"}},
    ),
    "clamping": (
        "bench/cells/reconstructions.py", ".clamp(0, 1)", ".clamp(0, 2)",
        {"gradients": {"reconstruction", "scores"}}, {"gradients": {"victim", "release"}},
    ),
    "training batch": (
        "bench/victims/split.py", "batch, device = schedule", "batch, device = 2 * schedule",
        {"smashed": ALL}, {"model": ALL},
    ),
    "determinism": (
        "bench/cells/determinism.py", "set_num_threads(1)", "set_num_threads(2)", EVERYWHERE, {},
    ),
    "weights that a package ships": (
        "bench/models/weights.py", 'sha256="0c3b', 'sha256="0c3c',
        {"model": {"generator", "reconstruction"}}, {"model": {"victim", "release"}},
    ),
    "collapse guard": (
        "bench/cells/generators.py", "LEAST_DIVERSITY = 0.4", "LEAST_DIVERSITY = 0.3",
        {"model": {"generator", "reconstruction"}}, {"model": {"victim", "release"}, "gradients": ALL},
    ),
    "channel": (
        "bench/channels/smashed.py", "release_activations(source)", "release_activations(source, 1)",
        {"smashed": {"release", "reconstruction"}}, {"smashed": {"victim"}, "gradients": ALL, "model": ALL},
    ),
    "attack": (
        "attacks/dlg/attack.py", "progress=1e-2", "progress=2e-2",
        {"gradients": {"reconstruction"}}, {"gradients": {"victim", "release"}, "smashed": ALL},
    ),
    "what a card asks for": (
        "attacks/rmle/card.toml", 'kind = "attack"', 'kind = "attack"\nneeds_auxiliary = true',
        {"smashed": {"reconstruction"}}, {"smashed": {"victim", "release"}},
    ),
    "a word in a docstring": (
        "bench/metrics/pool.py", '"""Which private', '"""Which, private', {}, EVERYWHERE,
    ),
    "a comment": ("bench/engine/minimisers/lbfgs.py", "# Every", "# Really every", {}, EVERYWHERE),
    "the title of a card": ("attacks/dlg/card.toml", 'title = "', 'title = "The ', {}, EVERYWHERE),
    "the words of a table": (
        "bench/report/analysis/verdict.py", "HIDES = 0.1", "HIDES = 0.2", {}, EVERYWHERE,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stages]:
    """The stages whose keys each edit changes, in a copy of the project."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("bench", "attacks", "defenses", "datasets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    edits = json.dumps([edit[:3] for edit in EDITS.values()])
    done = subprocess.run(
        [sys.executable, "-c", WHERE, edits],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        name: {channel: {*stages} for channel, stages in item.items()}
        for name, item in zip(EDITS, found, strict=True)
    }


@pytest.mark.parametrize("edit", EDITS)
def test_a_key_changes_with_what_decides_the_number_and_with_nothing_else(
    edit: str, changed: dict[str, Stages]
) -> None:
    *_, must, must_not = EDITS[edit]
    for channel, stages in must.items():
        assert stages <= changed[edit][channel]
    for channel, stages in must_not.items():
        assert not stages & changed[edit][channel]


def test_a_library_that_decodes_images_is_in_the_keys_of_its_data_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.cache import keys
    from bench.matrix import Filters, expand, load_matrix
    from bench.plugins import dataset_card, discover

    cards = {name: dataset_card(name) for name in discover("dataset").plugins}
    assert {"pillow"} == {library for card in cards.values() for library in card.libraries}
    assert all(keys.package_version(library) for card in cards.values() for library in card.libraries)
    smoke = load_matrix("smoke")
    cells = {name: expand(smoke, Filters(datasets=(name,)))[0] for name in ("bccd", "faces", "mnist5k")}

    def found() -> dict[str, Keys]:
        identity = keys.Identity("cpu")
        return {name: identity.keys(cell) for name, cell in cells.items()}

    before, version = found(), keys.package_version
    monkeypatch.setattr(keys, "package_version", lambda name: "0" if name == "pillow" else version(name))
    after = found()
    assert after["mnist5k"] == before["mnist5k"]
    for name in ("bccd", "faces"):
        assert after[name].victim != before[name].victim
        assert after[name].evaluator != before[name].evaluator


def test_links_to_images_are_followed(tmp_path: Path) -> None:
    from bench.cache.sources import content_digest, forget_sources

    (tmp_path / "elsewhere").mkdir()
    image = tmp_path / "elsewhere" / "one.png"
    image.write_bytes(b"one")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    before = content_digest(folder)
    image.write_bytes(b"two")
    forget_sources()
    assert content_digest(folder) != before


def test_a_second_evaluator_is_in_the_keys_of_scores_of_people(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.cache import keys
    from bench.matrix import Filters, expand, load_matrix

    smoke = load_matrix("smoke")
    cells = {
        (data, name): expand(smoke, Filters(datasets=(data,), channels=(name,)))[0]
        for data in ("faces", "mnist5k")
        for name in ("model", "gradients")
    }

    def found(missing: str) -> dict[tuple[str, str], Keys]:
        monkeypatch.setattr(keys, "embedder_missing", lambda name: missing)
        identity = keys.Identity("cpu")
        return {name: identity.keys(cell) for name, cell in cells.items()}

    without, having = found("not here"), found("")
    for name in cells:
        assert (without[name].scores != having[name].scores) is (name == ("faces", "model"))
        assert without[name].reconstruction == having[name].reconstruction
