"""``bench check MODEL``: one checklist of a network, on digits or on the images named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.check.findings import Verdict
from bench.check.model import check_model

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, channels):
        super().__init__()
        conv = nn.Conv2d(channels, 2, 8, stride=8)
        self.body = nn.Sequential(conv, nn.Dropout(0.5), nn.ReLU(), nn.Flatten())
        self.body[0].requires_grad_(False)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, images):
        return self.fc(self.body(images))

def head(*, num_classes, image_shape):
    return Net(num_classes, 3)

def probabilities(*, num_classes, image_shape):
    return nn.Sequential(Net(num_classes, image_shape[0]), nn.Softmax(1))


def local(*, num_classes, image_shape):
    class Inner(Net):
        pass
    return Inner(num_classes, image_shape[0])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's module, which no other test sees."""
    (tmp_path / "checked_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "checked_nets", raising=False)
    monkeypatch.setattr("bench.models.users.custom._examined", {})
    return tmp_path


def test_a_network_that_wants_colour_is_shown_digits_in_colour() -> None:
    found = check_model("checked_nets:head")
    assert found.sound and all(item.verdict is Verdict.OK for item in found.items)
    said = {item.promise: item.message for item in found.items}
    assert "3x32x32" in said["builds"]
    for fact in ("330 weights in 2 tensors", "2 tensors are frozen", "Dropout is off", "body.1"):
        assert fact in said["autograd"]


def test_images_may_be_named() -> None:
    assert check_model("checked_nets:probabilities", "mnist5k").sound
    notes = [item for item in check_model("checked_nets:probabilities", "mnist5k").items if item.fix]
    assert [item.promise for item in notes] == ["scores"]
    broken = check_model("checked_nets:head", "mnist5k").broken
    assert [item.promise for item in broken] == ["builds"], "three channels, and digits have one"


def test_a_class_inside_a_function_is_built_again_in_the_process_of_attacks() -> None:
    assert check_model("checked_nets:local").sound
