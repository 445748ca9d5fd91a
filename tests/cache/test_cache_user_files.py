"""Results on the user's own network and images: the bytes of the files decide, not their place."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.api import UsageError
from bench.cache.keys import Identity, forget_digests
from bench.cache.sources import content_digest, forget_sources
from bench.execute.options import RunOptions
from bench.execute.run import run_matrix
from bench.matrix import Cell, Filters, expand, load_matrix
from bench.models.build import build_model
from bench.records.outcome import Keys
from bench.records.record import Status
from tests.victims.test_victims_folder import photographs

NET = """
from torch import nn

def net(*, num_classes, image_shape):
    channels, height, width = image_shape
    return nn.Sequential(nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.Sigmoid(), nn.Flatten(),
                         nn.Linear(3 * height * width, num_classes))
"""
CHOICE = Filters(
    attacks=("idlg",), defenses=("none",), datasets=("folder[path=photos]",), models=("my_net:net",)
)


def keys(cell: Cell) -> Keys:
    forget_digests()
    return Identity("cpu").keys(cell)


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A cell on three classes of images and a network that lie in the working folder."""
    monkeypatch.chdir(tmp_path)
    photographs(Path("photos"))
    Path("my_net.py").write_text(NET)
    return expand(load_matrix("smoke"), CHOICE)[0]


def test_keys_hold_the_bytes_of_the_users_files_and_not_their_place(cell: Cell, tmp_path: Path) -> None:
    before = keys(cell)
    shutil.copytree("photos", "moved")
    parameters = tuple((k, "moved" if k == "path" else v) for k, v in cell.dataset.parameters)
    moved = replace(cell, dataset=replace(cell.dataset, parameters=parameters))
    assert keys(moved) == before and moved.id != cell.id
    next(Path("moved").rglob("*.png")).unlink()
    assert keys(moved).victim != before.victim and keys(moved).evaluator != before.evaluator
    Path("my_net.py").write_text(NET.replace("Sigmoid", "ReLU"))
    assert keys(cell).victim != before.victim and keys(cell).evaluator == before.evaluator


def test_a_weights_file_is_known_by_its_bytes(cell: Cell) -> None:
    for seed in range(2):
        network = build_model("lenet", num_classes=3, image_shape=(3, 32, 32))
        network.initialise(torch.Generator().manual_seed(seed))
        torch.save(network.state_dict(), f"{seed}.pt")
    first = replace(cell, model="lenet[weights=0.pt]")
    before = keys(first)
    assert before.victim != keys(replace(cell, model="lenet")).victim
    assert keys(replace(cell, model="lenet[weights=0.pt,epochs=1]")).victim != before.victim
    shutil.copy("1.pt", "0.pt")
    assert keys(first).victim != before.victim


@pytest.mark.parametrize("head", ["convnet", "my_net:net"])
def test_another_federation_trains_another_victim(cell: Cell, head: str) -> None:
    options = ("local_epochs=5", "local_epochs=5,local_rate=0.1", "clients=2")
    victims = {keys(replace(cell, model=f"{head}[{option}]")).victim for option in options}
    assert len(victims | {keys(replace(cell, model=head)).victim}) == 4


def test_a_matrix_runs_on_the_users_network_and_images(cell: Cell, tmp_path: Path) -> None:
    summary = run_matrix(
        "smoke",
        out=tmp_path / "out",
        filters=replace(CHOICE, limit=1),
        options=RunOptions(device="cpu", workers=1, display="plain"),
    )
    assert summary.exit_code == 0
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "out" / "records").glob("*.json"))
    assert record["status"] == Status.DONE
    assert record["cell"]["model"] == "my_net:net"
    assert record["means"]["psnr"] > 20


def test_what_does_not_exist_is_refused_before_the_run(cell: Cell) -> None:
    for filters, facts in (
        (Filters(models=("my_net:", "lenet")), "module:function"),
        (Filters(models=("his_net:net",)), "module his_net"),
        (Filters(datasets=("folder[path=gone]",)), "folder: path: .*gone"),
        (Filters(datasets=("folder",)), r"folder: path: .*folder\[path=...\]"),
    ):
        with pytest.raises(UsageError, match=facts):
            expand(load_matrix("smoke"), filters)


def test_images_behind_links_and_odd_names_are_part_of_the_digest(tmp_path: Path) -> None:
    real, linked = tmp_path / "real", tmp_path / "linked"
    for name in ("c0", "c1"):
        (real / name).mkdir(parents=True)
        (real / name / os.fsdecode(b"caf\xe9.png")).write_bytes(name.encode())
    linked.mkdir()
    (linked / "c0").symlink_to(real / "c0")
    (linked / "c1").mkdir()
    (linked / "c1" / "again").symlink_to(real / "c0")
    (linked / "c1" / "around").symlink_to(linked)
    (linked / "c1" / "single.png").symlink_to(real / "c1" / os.fsdecode(b"caf\xe9.png"))

    def digest() -> str:
        forget_sources()
        return content_digest(linked)

    seen = [digest()]
    for place in real.glob("*/*.png"):
        place.write_bytes(b"inverted")
        seen.append(digest())
    (linked / "c1" / "again").unlink()
    seen.append(digest())
    (linked / "c1" / "around").unlink()
    assert len(set(seen)) == 4 and digest() == seen[-1]


def test_hidden_files_are_no_part_of_the_digest(tmp_path: Path) -> None:
    def digest() -> str:
        forget_sources()
        return content_digest(tmp_path)

    (tmp_path / "c0").mkdir()
    (tmp_path / "c0" / "a.png").write_bytes(b"an image")
    plain = digest()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "c0" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "c0" / ".ipynb_checkpoints" / "a.png").touch()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.png").touch()
    assert digest() == plain
    (tmp_path / "c0" / "b.png").touch()
    assert digest() != plain


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    forget_sources()
    with pytest.raises(UsageError, match=r"a\.png cannot be read: Permission denied"):
        content_digest(tmp_path)
