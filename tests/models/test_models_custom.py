"""Victims of the user: a function, an exported network, a state dict; and what each mistake says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import UsageError
from bench.cells.transfer import from_bytes, to_bytes
from bench.engine.gradients import gradient_map, one_hot
from bench.engine.normalisation import threat_of
from bench.models.build import build_model, schedule_of
from bench.models.compare import compare_named
from bench.models.names import MODELS
from bench.models.spec import parse_model

GREY = (1, 16, 16)
NETS = """
import torch
from torch import nn
from helper_of_nets import WIDTH

class Net(nn.Module):
    def __init__(self, num_classes, image_shape, norm=None):
        super().__init__()
        conv = nn.Conv2d(image_shape[0], WIDTH, 3, stride=2, padding=1)
        self.body = nn.Sequential(conv, norm or nn.Identity(), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
        self.fc = nn.Linear(WIDTH * image_shape[1] * image_shape[2] // 4, num_classes)

    def forward(self, images):
        return self.fc(self.body(images))

def small(*, num_classes, image_shape):
    return Net(num_classes, image_shape)

def normed(*, num_classes, image_shape):
    return Net(num_classes, image_shape, nn.BatchNorm2d(WIDTH))

def number(*, num_classes, image_shape):
    return 7

def raises(*, num_classes, image_shape):
    return 1 / 0

def positional(classes):
    return nn.Flatten()

def empty(*, num_classes, image_shape):
    return nn.Flatten()

def double(*, num_classes, image_shape):
    return Net(num_classes, image_shape).double()

def wide(*, num_classes, image_shape):
    return Net(num_classes + 1, image_shape)

def colour(*, num_classes, image_shape):
    return Net(num_classes, (3, *image_shape[1:]))

def infinite(*, num_classes, image_shape):
    net = Net(num_classes, image_shape)
    torch.nn.init.constant_(net.fc.bias, float("inf"))
    return net

class Item(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images) * images.sum().item()

def stateful(*, num_classes, image_shape):
    return Item(Net(num_classes, image_shape))

def lazy(*, num_classes, image_shape):
    return nn.Sequential(nn.Conv2d(image_shape[0], 4, 3, stride=4), nn.Flatten(), nn.LazyLinear(num_classes))

def parametrized(*, num_classes, image_shape):
    net = Net(num_classes, image_shape)
    nn.utils.parametrizations.weight_norm(net.fc)
    return net

class Counting(Net):
    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images):
        self.seen += 1
        return super().forward(images)

class CutOff(Net):
    def forward(self, images):
        with torch.no_grad():
            images = self.body(images)
        return self.fc(images)

def counting(*, num_classes, image_shape):
    return Counting(num_classes, image_shape)

def cut_off(*, num_classes, image_shape):
    return CutOff(num_classes, image_shape)

not_callable = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's modules, which no other test sees."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "helper_of_nets.py").write_text("WIDTH = 4\n")
    (tmp_path / "broken_nets.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    for name in ("nets", "helper_of_nets", "broken_nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("bench.models.users.custom._examined", {})
    return tmp_path


def build(name: str) -> nn.Module:
    return build_model(name, num_classes=10, image_shape=GREY)


def gradients(model: nn.Module, weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """Released gradients of two victims, and the gradient of their energy in the images."""
    shown = images.clone().requires_grad_()
    labels = one_hot(torch.tensor([[1], [2]]), 10)
    released = gradient_map(model, weights, per_victim_weights=False)(shown, labels)
    energy = torch.stack([value.square().sum() for value in released.values()]).sum()
    return [*released.values(), *torch.autograd.grad(energy, shown)]


def test_a_function_builds_a_victim_that_draws_its_weights_from_the_seed(folder: Path) -> None:
    state = torch.random.get_rng_state()

    def drawn(seed: int) -> Tensor:
        model = build_model("nets:small", num_classes=10, image_shape=GREY)
        model.initialise(torch.Generator().manual_seed(seed))
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert str(folder) not in sys.path
    assert not build("nets:small").training, "dropout and BatchNorm must stand still"


def test_a_state_dict_is_the_weights_of_round_0(folder: Path) -> None:
    known = build_model("convnet", num_classes=10, image_shape=GREY)
    known.initialise(torch.Generator().manual_seed(3))
    torch.save(known.state_dict(), "start.pt")
    model = build_model("convnet[weights=start.pt]", num_classes=10, image_shape=GREY)
    model.initialise(torch.Generator().manual_seed(0))
    images = torch.rand(2, *GREY)
    assert torch.equal(model(images), known(images))
    torch.save({"state_dict": known.state_dict()}, "nested.pt")
    assert torch.equal(build("convnet[weights=nested.pt]")(images), known(images))


@pytest.mark.parametrize("function", ["small", "normed"])
def test_an_exported_network_has_the_gradients_of_its_source(folder: Path, function: str) -> None:
    sys.path.insert(0, str(folder))
    try:
        import nets
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    source = getattr(nets, function)(num_classes=10, image_shape=GREY)
    source(torch.rand(8, *GREY))  # measures the statistics of BatchNorm
    source.eval()
    free = ({0: torch.export.Dim("B")},)
    torch.export.save(torch.export.export(source, (torch.rand(2, *GREY),), dynamic_shapes=free), "net.pt2")
    model = build("net.pt2")
    images = torch.rand(2, 1, *GREY)
    torch.testing.assert_close(model(images[:, 0]), source(images[:, 0]))
    ours = {name: value.detach() for name, value in model.named_parameters()}
    own = {name: value.detach() for name, value in source.named_parameters()}
    assert [name.removeprefix("network.graph.") for name in ours] == [*own]
    mine, theirs = gradients(model, ours, images), gradients(source, own, images)
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left, right)
    with pytest.raises(UsageError, match=r"\(2, 3, 16, 16\)"):
        build_model("net.pt2", num_classes=10, image_shape=(3, 16, 16))
    zero = {name: torch.zeros_like(value) for name, value in ours.items()}
    assert functional_call(model, zero, (images[:, 0],)).abs().max() == 0, "its weights can be replaced"
    assert functional_call(model, ours, (images[:, 0],)).abs().max() > 0
    again = travelled(model.requires_grad_(False))
    assert all(map(torch.equal, gradients(again, ours, images), mine))
    assert not any(value.requires_grad for value in again.parameters())


def travelled(model: nn.Module) -> nn.Module:
    """A network as the process of attacks has it."""
    found: nn.Module = from_bytes(bytes(to_bytes(model, ())), lambda number: None, trusting=True)
    return found


def test_a_network_of_the_user_travels_with_its_weights(folder: Path) -> None:
    model = build_model("nets:small", num_classes=10, image_shape=GREY)
    model.initialise(torch.Generator().manual_seed(0))
    again = travelled(model)
    assert not again.training
    assert all(map(torch.equal, again.parameters(), model.parameters()))


def test_a_trained_batchnorm_is_frozen_at_its_statistics(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    try:
        import nets
    finally:
        sys.path.remove(str(folder))
    source = nets.normed(num_classes=10, image_shape=GREY)
    source(torch.rand(8, *GREY))
    torch.save(source.state_dict(), "normed.pth")
    model, images = build("nets:normed[weights=normed.pth]"), torch.rand(2, *GREY)
    assert torch.equal(model(images), source.eval()(images))


@pytest.mark.parametrize(("option", "mode"), [("", "train"), ("[batch_norm=eval]", "eval")])
def test_batchnorm_without_statistics_goes_by_the_clients_own_batch(
    folder: Path, option: str, mode: str
) -> None:
    assert threat_of(build(f"nets:normed{option}"), shared=False) == mode
    assert parse_model(f"nets:normed{option}").name == f"nets:normed{option}"
    assert compare_named(f"nets:normed{option}", num_classes=10, image_shape=GREY)


def test_old_statistics_without_their_counter_count(folder: Path) -> None:
    state = build("nets:normed[batch_norm=eval]").state_dict()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    old["network.body.1.running_mean"] += 0.5
    torch.save(old, "old.pt")
    assert threat_of(build("nets:normed[weights=old.pt]"), shared=False) == "eval"


@pytest.mark.parametrize("function", ["lazy", "parametrized", "normed", "stateful"])
def test_networks_of_all_kinds_are_as_their_authors_have_them(folder: Path, function: str) -> None:
    assert compare_named(f"nets:{function}", num_classes=10, image_shape=GREY)
    model = build(f"nets:{function}")
    model.initialise(torch.Generator().manual_seed(0))
    assert travelled(model)(torch.ones(2, *GREY)).equal(model(torch.ones(2, *GREY)))


def test_a_home_directory_is_written_with_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    torch.save(build("nets:small").network.state_dict(), "w.pt")
    assert parse_model("nets:small[weights=~/w.pt]").files() == [folder / "w.pt"]
    assert build("nets:small[weights=~/w.pt]")
    with pytest.raises(UsageError, match=r"no file .*gone\.pt"):
        parse_model("nets:small[weights=~/gone.pt]")


def test_a_package_needs_no_init(folder: Path) -> None:
    (folder / "research").mkdir()
    (folder / "research" / "vision.py").write_text(NETS)
    assert parse_model("research.vision:small").sources() == [folder / "research" / "vision.py"]
    assert compare_named("research.vision:small", num_classes=10, image_shape=GREY)


def test_the_schedule_is_ours_with_the_users_changes(folder: Path) -> None:
    torch.save(build("lenet").state_dict(), "w.pt")
    assert schedule_of("lenet[weights=w.pt]") == schedule_of("lenet")
    changed = schedule_of("nets:small[learning_rate=0.25, epochs=3]")
    assert (changed.learning_rate, changed.epochs) == (0.25, 3)
    assert changed.momentum == schedule_of("nets:small").momentum


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("convnet[local_epochs=2,epochs=4]", "convnet[epochs=4,local_epochs=2]"),
        ("convnet[ epochs=4.0, local_epochs = 2]", "convnet[epochs=4,local_epochs=2]"),
        ("nets:small[momentum=0.5,epochs=1.25]", "nets:small[epochs=1.25,momentum=0.5]"),
        ("cnn[weights=w.0,cut=2]", "cnn[cut=2,weights=w.0]"),
        ("lenet[learning_rate=0.00001]", "lenet[learning_rate=1e-05]"),
        ("resnet8[width=16,epochs=2]", "resnet8[epochs=2]"),
    ],
)
def test_a_victim_of_the_user_has_one_name(folder: Path, written: str, name: str) -> None:
    Path("w.0").touch()
    assert parse_model(written).name == name == parse_model(name).name
    assert schedule_of(written) == schedule_of(name)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("lenett", "'lenet'"),
        ("transformer", f"{', '.join(sorted(MODELS))}.*module:function"),
        ("nets:", "module:function"),
        ("nowhere:net", "module nowhere"),
        ("gone.pt2", "gone.pt2"),
        ("lenet[weights=gone.pt]", "gone.pt"),
        ("lenet[weigths=x.pt]", "'weights'"),
        ("nets:small[learning_rate=fast]", "learning_rate.*'fast'"),
        ("nets:small[learning_rate=0]", "learning_rate"),
        ("nets:small[epochs]", "'epochs'"),
        ("lenet]x[", r"lenet\]x\["),
    ],
)
def test_a_wrong_name_is_refused_before_anything_runs(folder: Path, name: str, facts: str) -> None:
    with pytest.raises(UsageError, match=facts):
        parse_model(name)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("nets:nothing", r"nets\.py.*nothing"),
        ("nets:not_callable", "function not_callable"),
        ("broken_nets:net", "broken_nets.*ModuleNotFoundError"),
        ("nets:number", "int.*Module"),
        ("nets:raises", "ZeroDivisionError"),
        ("nets:positional", r"num_classes=10, image_shape=\(1, 16, 16\).*TypeError"),
        ("nets:empty", "empty.*parameters"),
        ("nets:double", "torch.float32"),
        ("nets:wide", r"\(2, 11\).*\(2, 10\)"),
        ("nets:colour", r"\(2, 1, 16, 16\).*RuntimeError"),
        ("nets:infinite", "finite"),
        ("nets:counting", r"buffer seen.*\.eval\(\)"),
        ("nets:cut_off", r"no_grad"),
        ("junk.pt2", "junk.pt2.*exported"),
        ("lenet[weights=junk.pt]", "junk.pt.*state dict"),
        ("nets:small[weights=lenet.pt]", "lenet.pt.*body.0.weight"),
        ("lenet.pt2", r"lenet\[weights=FILE\]"),
    ],
)
def test_a_network_that_cannot_be_a_victim_says_why(folder: Path, name: str, facts: str) -> None:
    for junk in ("junk.pt", "junk.pt2"):
        Path(junk).write_bytes(b"not a file of torch")
    for file in ("lenet.pt", "lenet.pt2"):
        torch.save(build_model("lenet", num_classes=10, image_shape=GREY).state_dict(), file)
    with pytest.raises(UsageError, match=facts):
        build(name)


def test_the_sources_of_a_model_are_found_without_torch_and_without_running_them(folder: Path) -> None:
    (folder / "package").mkdir()
    for name in ("__init__.py", "inner.py"):
        (folder / "package" / name).write_text("raise SystemExit(1)")
    code = (
        "import sys; from bench.models.spec import parse_model as p;"
        "print(*([f.name for f in p(name).sources()] for name in ('nets:small', 'package.inner:net')),"
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['helper_of_nets.py', 'nets.py'] ['__init__.py', 'inner.py'] False\n"
