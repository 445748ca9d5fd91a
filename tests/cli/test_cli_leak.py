"""One update of a federation, from files or from a data set, and the page that says what it gives away."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.world import bench

NETS = """
from torch import nn

def normed(*, num_classes, image_shape):
    before = nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*before, nn.Linear(144, num_classes))

def small(*, num_classes, image_shape):
    channels, height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
"""
SIDE, CLASSES = 12, 3


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The network of ``leak_nets:small``, with weights in ``w.pt``, beside the user."""
    (tmp_path / "leak_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    torch.save(network.state_dict(), "w.pt")
    return network


def client(network: nn.Module, *, steps: int, rate: float) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A client of federated averaging after its steps, and its one image."""
    image, label = torch.rand(1, 1, SIDE, SIDE), torch.tensor([2])
    trained = copy.deepcopy(network)
    for _ in range(steps):
        loss = cross_entropy(trained(image), label)
        step = torch.autograd.grad(loss, list(trained.parameters()))
        with torch.no_grad():
            for value, change in zip(trained.parameters(), step, strict=True):
                value -= rate * change
    return trained, image, label


SHAPED = ["--shape", f"1x{SIDE}x{SIDE}", "--classes"]
RECORDED = ["leak", "-m", "leak_nets:small", "--shape", f"1x{SIDE}x{SIDE}", "--classes", str(CLASSES)]


def test_a_recorded_gradient_gives_the_image(nets: nn.Module) -> None:
    image, label = torch.rand(1, 1, SIDE, SIDE), torch.tensor([0])
    gradients = torch.autograd.grad(cross_entropy(nets(image), label), list(nets.parameters()))
    torch.save(dict(zip(dict(nets.named_parameters()), gradients, strict=True)), "g.pt")
    np.savez("o.npz", images=image.numpy(), labels=label.numpy())
    given = ["--weights", "w.pt", "--update", "g.pt", "--originals", "o.npz", "-a", "analytic"]
    result = bench(*RECORDED, *given, "-o", "page.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("analytic comes to 80.0 dB")
    assert "<html" in Path("page.html").read_text()


@pytest.mark.parametrize("listed", [True, False])
def test_the_weights_before_and_after_a_round_give_the_image(nets: nn.Module, listed: bool) -> None:
    trained, image, label = client(nets, steps=1, rate=0.1)
    for name, network in (("before.npz", nets), ("after.npz", trained)):
        state = {key: value.numpy() for key, value in network.state_dict().items()}
        np.savez(name, *state.values()) if listed else np.savez(name, **state)
    np.savez("o.npz", images=image.numpy(), labels=label.numpy())
    files = ["--weights", "before.npz", "--after", "after.npz", "--originals", "o.npz"]
    result = bench(*RECORDED, *files, "--learning-rate", "0.1", "-a", "analytic")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("analytic comes to ")
    assert float(result.stdout.split()[3]) > 40


@pytest.mark.parametrize("form", ["npz", "listed.npz", "pt", "checkpoint.pt"])
def test_a_round_of_a_network_with_batch_norm_is_read_in_the_mode_of_a_training_client(
    nets: nn.Module, form: str
) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES)
    )
    network(torch.rand(16, 1, SIDE, SIDE))  # it has measured statistics, which a training client ignores
    images, labels = torch.rand(2, 1, SIDE, SIDE), torch.tensor([0, 2])
    trained = copy.deepcopy(network)
    step = torch.autograd.grad(cross_entropy(trained(images), labels), list(trained.parameters()))
    with torch.no_grad():
        for value, change in zip(trained.parameters(), step, strict=True):
            value -= 0.1 * change
    for name, state in (("before", network.state_dict()), ("after", trained.state_dict())):
        arrays = {key: value.numpy() for key, value in state.items()}
        if form == "npz":
            np.savez(f"{name}.{form}", **arrays)
        elif form == "listed.npz":
            np.savez(f"{name}.{form}", *arrays.values())
        else:
            torch.save(state if form == "pt" else {"epoch": 1, "state_dict": state}, f"{name}.{form}")
    np.savez("o.npz", images=images.numpy(), labels=labels.numpy())
    asked = ["leak", "-m", "leak_nets:normed", "--shape", f"1x{SIDE}x{SIDE}", "--classes", str(CLASSES)]
    asked += ["--weights", f"before.{form}", "--after", f"after.{form}", "--learning-rate", "0.1", "-B", "2"]
    result = bench(*asked, "--originals", "o.npz", "-a", "inverting_gradients", "--budget", "5")
    assert result.exit_code == 0, result.output
    page = Path("leak.html").read_text()
    assert "<dt>BatchNorm</dt><dd>train</dd>" in page
    frozen = bench(*asked, "--batch-norm", "eval", "-a", "inverting_gradients", "--budget", "5")
    assert frozen.exit_code == 0 and "<dd>eval</dd>" in Path("leak.html").read_text()


def test_images_of_a_data_set_are_attacked_among_the_others(nets: nn.Module) -> None:
    result = bench("leak", "-m", "leak_nets:small", "-D", "mnist5k", "--images", "3", "-a", "analytic")
    assert result.exit_code == 0, result.output
    assert "3 of 3" in result.stdout
    assert "mnist5k" in result.stderr and "[1/1] analytic" in result.stderr
    page = Path("leak.html").read_text()
    assert "2500 images in the list" in page and "data:image/png" in page


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], ["-D DATASET"]),
        (["--shape", "1x12", "--classes", "3", "--update", "w.pt"], ["1x64x64"]),
        (["--shape", "1x12x12", "--classes", "3"], ["--update"]),
        (["-D", "mnist5k", "--classes", "3"], ["--classes"]),
        (["-D", "mnist5k", "--update", "w.pt", "--after", "w.pt"], ["one of the two"]),
        (["-D", "mnist5k", "--after", "w.pt"], ["--weights"]),
        (["-D", "mnist5k", "--after", "w.pt", "--weights", "w.pt"], ["--learning-rate"]),
        (["-D", "mnist5k", "--originals", "w.pt"], ["--originals"]),
        (["--shape", "1x12x12", "--classes", "3", "--update", "w.pt", "--learn"], ["--learn"]),
        (["-D", "mnist5k", "--images", "100000"], ["100000"]),
        (["-D", "nowhere"], ["nowhere"]),
        ([*SHAPED, "3", "--update", "w.pt", "--weights", "w.pt"], ["weights themselves"]),
        (["--shape", "1x12x12", "--classes", "4", "--update", "w.pt"], ["1.weight"]),
        (["--shape", "1x12x12", "--classes", "3", "--update", "w.pt", "--weights", "x.py"], ["x.py"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(nets: nn.Module, given: list[str], named: list[str]) -> None:
    result = bench("leak", "-m", "leak_nets:small", *given)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and all(part in errors[0] for part in named), result.stderr
    assert not Path("leak.html").exists()
