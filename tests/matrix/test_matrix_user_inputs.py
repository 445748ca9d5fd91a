"""Networks and images of the user are tried before a run queues anything."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from bench.api import Channel, UsageError
from bench.matrix import Cell, Filters, expand, load_matrix
from bench.matrix.user_inputs import build_user_inputs, within_data
from tests.victims.test_victims_folder import photographs
from tests.world import bench

NETS = """
from torch import nn

def ok(*, num_classes, image_shape):
    channels, height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))

def seven(*, num_classes, image_shape):
    return ok(num_classes=7, image_shape=image_shape)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a module of networks in it."""
    monkeypatch.chdir(tmp_path)
    Path("brought_nets.py").write_text(NETS)
    return tmp_path


def chosen(*models: str, **more: tuple[str, ...]) -> tuple[list[Cell], Filters]:
    filters = Filters(models=models, **more)  # type: ignore[arg-type]
    return expand(load_matrix("smoke"), filters), filters


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("brought_nets:okk", r"brought_nets\.py.*okk"),
        ("brought_nets:seven", r"\(2, 7\).*\(2, 10\)"),
        ("lenet[weights=brought_nets.py]", r"brought_nets\.py"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_at_once(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_user_inputs(chosen(model)[0])


def test_a_sound_network_passes() -> None:
    build_user_inputs(chosen("brought_nets:ok", "lenet[learning_rate=0.5]")[0])


def test_nothing_is_written_when_a_run_is_refused(folder: Path) -> None:
    done = bench("run", "--matrix", "smoke", "-m", "brought_nets:okk", "--out", "out")
    assert done.exit_code == 2 and "okk" in done.stderr
    assert not list(folder.glob("out/records/*"))


def test_images_that_cannot_be_used_are_refused_at_once(folder: Path) -> None:
    photographs(folder / "few", 12)
    with pytest.raises(UsageError, match=r"\b12\b.*\b100\b"):
        within_data(*chosen(datasets=("folder[path=few]",)))
    photographs(folder / "few")
    (folder / "few" / "class0" / "torn.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"torn\.png"):
        within_data(*chosen(datasets=("folder[path=few]",)))


def test_absent_files_are_refused_where_the_user_names_the_data_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("bench.datasets.fashion_mnist.dataset")
    monkeypatch.setattr(module, "DEBIAN", folder)
    cells, filters = chosen(datasets=("fashion_mnist",))
    with pytest.raises(UsageError, match=str(folder)):
        within_data(cells, filters)
    within_data(cells, Filters())  # a matrix that has it anyway runs its other cells


@pytest.mark.parametrize("channel", [Channel.SMASHED, Channel.CLIENT_GRADIENTS])
def test_networks_of_the_user_are_not_cut_in_two(channel: Channel) -> None:
    cells, _ = chosen("brought_nets:ok")
    reasons = {cell.incompatible for cell in cells if cell.channel == channel}
    assert "" not in reasons and any("brought_nets:ok" in reason for reason in reasons)
    assert any(cell.incompatible == "" for cell in cells if cell.channel == Channel.GRADIENTS)
