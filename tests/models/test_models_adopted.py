"""Networks as users bring them: what the engine makes of each, and in which words it refuses one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api.errors import NetworkError
from bench.api.threat import BatchNorm
from bench.cells.transfer import from_bytes, to_bytes
from bench.engine.normalisation import threat_of
from bench.models.base import trainable
from bench.models.compare import compare
from bench.models.users.adopted import adopt

SHAPE, CLASSES = (1, 16, 16), 5


class Net(nn.Module):
    """A convolution, something in the middle, and a classifier."""

    def __init__(self, *middle: nn.Module, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.middle = nn.Sequential(*middle)
        self.fc = nn.Linear(4 * 8 * 8, classes)

    def forward(self, images: Tensor) -> Any:
        return self.fc(torch.tanh(self.middle(self.conv(images))).flatten(1))


class Tokens(nn.Module):
    """Patches as a row of tokens, a layer on them, and a classifier of their mean."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.patch, self.layer, self.fc = nn.Conv2d(1, 8, 4, stride=4), layer, nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        if isinstance(self.layer, nn.MultiheadAttention):
            found = self.layer(tokens, tokens, tokens)[0]
        else:
            found = self.layer(tokens)
        found = found[0] if isinstance(found, tuple) else found
        scores: Tensor = self.fc((tokens + found).mean(1))
        return scores


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*self.qkv(tokens).chunk(3, -1))


class Tied(Net):
    """One linear layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(CLASSES, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.second.weight, self.second.bias = self.first.weight, self.first.bias

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.second(torch.tanh(self.first(super().forward(images))))
        return scores


class Shared(Net):
    """One module under two names, with BatchNorm."""

    def __init__(self) -> None:
        norm = nn.BatchNorm2d(4)
        super().__init__(norm, nn.Tanh(), norm)


class Centring(Net):
    def forward(self, images: Tensor) -> Any:
        images -= 0.5
        return super().forward(F.relu(images, inplace=True))


class Filling(Net):
    """Writes into a tensor that it has made, which vmap cannot batch."""

    def forward(self, images: Tensor) -> Any:
        padded = torch.zeros(len(images), 1, 16, 16)
        padded[:, :, 1:, 1:] = images[:, :, 1:, 1:]
        return super().forward(padded)


class Remembering(Net):
    """Keeps what it has computed, as code for saliency maps does."""

    def forward(self, images: Tensor) -> Any:
        self.features = self.conv(images)
        return self.fc(torch.tanh(self.features).flatten(1))


class Positions(Net):
    """Computes a constant when it is first used."""

    grid: Tensor | None = None

    def forward(self, images: Tensor) -> Any:
        if self.grid is None:
            self.grid = self.conv.weight.new_ones(1, 1, 16, 16).cumsum(-1) / 16
        return super().forward(images + self.grid)


class Logarithms(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).log_softmax(1)


class Unused(Net):
    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(3, 2)


class Derived(nn.BatchNorm2d):
    """A layer that does more than its parent."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).sigmoid()


class Scaled(Net):
    """A scalar weight, as of a learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Any:
        return self.scale * super().forward(images)


class Fourier(Net):
    """A buffer that is drawn at random."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mixing", torch.randn(16, 16) / 4)

    def forward(self, images: Tensor) -> Any:
        return super().forward(images @ self.get_buffer("mixing"))


def measured(network: nn.Module) -> nn.Module:
    network(torch.rand(8, *SHAPE))
    return network.eval()


def frozen() -> nn.Module:
    network = Net()
    network.conv.requires_grad_(False)
    return network


def halves() -> nn.Module:
    """A trained and frozen half in evaluation mode, and a head that clients train."""
    network = measured(Net(nn.BatchNorm2d(4), nn.Tanh(), nn.BatchNorm2d(4)))
    network.get_submodule("middle.2").train()
    network.get_submodule("middle.0").requires_grad_(False)
    return network


def weight_norm(apply: Callable[[nn.Module], nn.Module]) -> nn.Module:
    network = Net()
    network.fc = apply(network.fc)
    return network.eval()


def pruned(layer: nn.Module) -> nn.Module:
    from torch.nn.utils import prune

    return prune.random_unstructured(layer, "weight", 0.5)  # type: ignore[no-any-return]


LINEAR = ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
ACCEPTED: dict[str, tuple[Callable[[], nn.Module], BatchNorm]] = {
    "plain": (Net, BatchNorm.NONE),
    "frozen": (frozen, BatchNorm.NONE),
    "tied": (Tied, BatchNorm.NONE),
    "group norm": (lambda: Net(nn.GroupNorm(2, 4)), BatchNorm.NONE),
    "instance norm": (lambda: Net(nn.InstanceNorm2d(4, affine=True)), BatchNorm.NONE),
    "layer norm": (lambda: Net(nn.LayerNorm([4, 8, 8])), BatchNorm.NONE),
    "its own batch": (lambda: Net(nn.BatchNorm2d(4)), BatchNorm.TRAIN),
    "no statistics": (lambda: Net(nn.BatchNorm2d(4, track_running_stats=False)).eval(), BatchNorm.TRAIN),
    "statistics": (lambda: measured(Net(nn.BatchNorm2d(4))), BatchNorm.EVAL),
    "synchronised": (lambda: measured(Net(nn.SyncBatchNorm(4))), BatchNorm.EVAL),
    "both": (halves, BatchNorm.TRAIN),
    "derived": (lambda: Net(Derived(4)), BatchNorm.TRAIN),
    "shared": (Shared, BatchNorm.TRAIN),
    "dropout off": (lambda: Net(nn.Dropout(0.5)).eval(), BatchNorm.NONE),
    "in parallel": (lambda: nn.DataParallel(Net()), BatchNorm.NONE),
    "compiled": (lambda: torch.compile(Net()), BatchNorm.NONE),
    "channels last": (lambda: Net().to(memory_format=torch.channels_last), BatchNorm.NONE),
    "attention": (lambda: Tokens(Attention()), BatchNorm.NONE),
    "heads": (lambda: Tokens(nn.MultiheadAttention(8, 2, batch_first=True)), BatchNorm.NONE),
    "transformer": (
        lambda: Tokens(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval(),
        BatchNorm.NONE,
    ),
    "lstm": (lambda: Tokens(nn.LSTM(8, 8, batch_first=True)), BatchNorm.NONE),
    "gru": (lambda: Tokens(nn.GRU(8, 8, batch_first=True)), BatchNorm.NONE),
    "in place": (Centring, BatchNorm.NONE),
    "filling": (Filling, BatchNorm.NONE),
    "remembering": (Remembering, BatchNorm.NONE),
    "positions": (Positions, BatchNorm.NONE),
    "logarithms": (Logarithms, BatchNorm.NONE),
    "unused": (Unused, BatchNorm.NONE),
    "scaled": (Scaled, BatchNorm.NONE),
    "fourier": (Fourier, BatchNorm.NONE),
    "weight norm": (
        lambda: weight_norm(nn.utils.parametrizations.weight_norm), BatchNorm.NONE,
    ),
    "spectral norm": (
        lambda: weight_norm(nn.utils.parametrizations.spectral_norm), BatchNorm.NONE,
    ),
    "hooked spectral norm": (lambda: weight_norm(nn.utils.spectral_norm), BatchNorm.NONE),
    "pruned": (lambda: weight_norm(pruned), BatchNorm.NONE),
}  # fmt: skip


@pytest.mark.parametrize("kind", ACCEPTED)
def test_the_engine_sees_what_the_author_has(kind: str) -> None:
    torch.manual_seed(0)
    build, mode = ACCEPTED[kind]
    module = build()
    modes = [layer.training for layer in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    model = adopt(module, image_shape=SHAPE, num_classes=CLASSES)
    inner = getattr(module, "module", getattr(module, "_orig_mod", module))
    wanted = [name for name, value in inner.named_parameters() if value.requires_grad]
    assert [model.own_names[name] for name in trainable(model)] == wanted
    assert threat_of(model, shared=False) is mode
    assert compare(model, inner, num_classes=CLASSES, image_shape=SHAPE)
    assert modes == [layer.training for layer in module.modules()], "the module stays in its mode"
    now = module.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items() if "num_batches" not in name)


def test_what_vmap_cannot_batch_is_computed_victim_by_victim() -> None:
    torch.manual_seed(0)
    slow = {
        kind
        for kind, (build, _) in ACCEPTED.items()
        if adopt(build(), image_shape=SHAPE, num_classes=CLASSES).one_by_one
    }
    assert slow == {"gru", "filling"}


def test_a_tied_weight_has_the_gradient_of_both_its_uses() -> None:
    network = Tied()
    model = adopt(network, image_shape=SHAPE, num_classes=CLASSES)
    assert [name for name in trainable(model) if "second" in name] == []
    spoiled = Tied()
    spoiled.load_state_dict(network.state_dict())
    spoiled.second = nn.Linear(CLASSES, CLASSES)
    spoiled.second.load_state_dict(network.second.state_dict())
    with pytest.raises(NetworkError, match=r"second\.weight"):
        compare(model, spoiled, num_classes=CLASSES, image_shape=SHAPE)


def test_a_difference_is_named_with_its_size() -> None:
    network = Net(nn.BatchNorm2d(4))
    model = adopt(network, image_shape=SHAPE, num_classes=CLASSES)
    with pytest.raises(NetworkError, match=r"the scores: off by \d.*mode"):
        compare(model, network.eval(), num_classes=CLASSES, image_shape=SHAPE)


@pytest.mark.parametrize(("mode", "threat"), [("train", BatchNorm.TRAIN), ("eval", BatchNorm.EVAL)])
def test_the_mode_of_batch_norm_may_be_chosen(mode: str, threat: BatchNorm) -> None:
    for network in (measured(Net(nn.BatchNorm2d(4))), Net(nn.BatchNorm2d(4))):
        model = adopt(network, image_shape=SHAPE, num_classes=CLASSES, batch_norm=mode)
        assert threat_of(model, shared=False) is threat


def test_later_changes_of_the_module_do_not_reach_the_engine() -> None:
    network, images = Net(), torch.rand(2, *SHAPE)
    model = adopt(network, image_shape=SHAPE, num_classes=CLASSES)
    before = model(images)
    with torch.no_grad():
        network.fc.bias.add_(1)
    assert torch.equal(model(images), before)


def test_what_layers_write_on_themselves_does_not_stay() -> None:
    for kind in ("remembering", "positions", "hooked spectral norm"):
        model = adopt(ACCEPTED[kind][0](), image_shape=SHAPE, num_classes=CLASSES)
        model(torch.rand(2, *SHAPE))
        again = from_bytes(bytes(to_bytes(model, ())), lambda number: None, trusting=True)
        assert torch.equal(again(torch.ones(2, *SHAPE)), model(torch.ones(2, *SHAPE)))


class Answer(Net):
    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Any:
        return self.answer(super().forward(images))


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))


class Detached(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images.detach())


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "dropout": (lambda: Net(nn.Dropout(0.5)), r"middle\.0 \(Dropout\).*\.eval\(\)"),
    "dropout of attention": (
        lambda: Tokens(nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)), "layer.*mask"),
    "a function that drops": (lambda: Answer(lambda scores: F.dropout(scores, 0.5)), "call to call"),
    "a dictionary": (lambda: Answer(lambda scores: {"logits": scores, "loss": 0}), "dict with logits, loss"),
    "a tuple": (lambda: Answer(lambda scores: (scores, scores)), "tuple of 2"),
    "too many classes": (lambda: Net(classes=7), r"\(2, 7\).*\(2, 5\)"),
    "maps": (lambda: nn.Conv2d(1, CLASSES, 1), r"\(2, 5, 16, 16\)"),
    "frozen": (lambda: Net().requires_grad_(False), "all weights are frozen"),
    "nothing to train": (nn.Flatten, "no parameters"),
    "double": (lambda: Net().double(), r"conv.weight is torch.float64.*\.float\(\)"),
    "lazy": (lazy, "call it once"),
    "a function": (lambda: lambda images: images, "function.*Module"),
    "other images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, CLASSES)), r"\(2, 1, 16, 16\)"),
    "detached": (Detached, "no_grad or detach"),
    "no evaluation": (
        lambda: Net(nn.InstanceNorm2d(4, track_running_stats=True)), r"buffer middle\.0.*\.eval"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_attacked_is_refused_in_words(kind: str) -> None:
    build, words = REFUSED[kind]
    with pytest.raises(NetworkError, match=words):
        adopt(build(), image_shape=SHAPE, num_classes=CLASSES)


def test_no_evaluation_mode_without_statistics() -> None:
    network = Net(nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(NetworkError, match=r"middle\.0 keeps no statistics"):
        adopt(network, image_shape=SHAPE, num_classes=CLASSES, batch_norm="eval")
    with pytest.raises(NetworkError, match="auto, eval, train"):
        adopt(network, image_shape=SHAPE, num_classes=CLASSES, batch_norm="known")
