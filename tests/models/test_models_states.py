"""Weights from files as frameworks write them: what fits is used, and what does not is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from bench.api.errors import UsageError
from bench.models.users.states import load_weights, same_names


class Net(nn.Module):
    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        if tied:
            self.second.weight = self.first.weight


def drawn() -> dict[str, Tensor]:
    torch.manual_seed(1)
    network = Net()
    network.norm.running_mean.fill_(0.5)
    return network.state_dict()


def renamed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if "num_batches" not in name}


FITTING: dict[str, Any] = {
    "plain": drawn,
    "parallel": lambda: renamed(drawn(), "module."),
    "compiled": lambda: renamed(drawn(), "_orig_mod."),
    "both": lambda: renamed(drawn(), "module._orig_mod.model."),
    "old": lambda: without_counters(drawn()),
    "checkpoint": lambda: {"epoch": 3, "model_state_dict": drawn(), "optimizer": {"state": {0: {}}}},
    "lightning": lambda: {"state_dict": renamed(drawn(), "net."), "hyper_parameters": {"width": 4}},
    "deep": lambda: {"checkpoint": {"model": renamed(drawn(), "module.")}, "ema": {"decay": 0.9}},
}


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_what_fits_is_loaded(tmp_path: Path, kind: str, suffix: str) -> None:
    path, content, network = tmp_path / f"w.{suffix}", FITTING[kind](), Net()
    if suffix == "pt":
        torch.save(content, path)
    elif all(isinstance(value, Tensor) for value in content.values()):
        save_file(content, path)
    else:
        pytest.skip("safetensors hold no mappings of mappings")
    load_weights(network, path, where="model 'x'")
    for name, value in without_counters(drawn()).items():
        assert torch.equal(network.state_dict()[name], value)


def test_a_network_may_have_the_prefix(tmp_path: Path) -> None:
    torch.save(drawn(), tmp_path / "w.pt")
    network = nn.ModuleDict({"body": Net()})
    load_weights(network, tmp_path / "w.pt", where="model 'x'")
    assert torch.equal(network.state_dict()["body.conv.weight"], drawn()["conv.weight"])


def test_a_tied_weight_may_be_in_the_file_once(tmp_path: Path) -> None:
    source, network = Net(tied=True), Net(tied=True)
    save_model(source, str(tmp_path / "w.safetensors"))
    load_weights(network, tmp_path / "w.safetensors", where="model 'x'")
    assert torch.equal(network.second.weight, source.first.weight)
    with pytest.raises(UsageError, match=r"(first|second)\.weight is missing"):
        load_weights(Net(), tmp_path / "w.safetensors", where="model 'x'")


REFUSED: dict[str, tuple[Any, str]] = {
    "extra": (lambda: {**drawn(), "head.weight": torch.ones(2)}, r"head\.weight does not belong there"),
    "missing": (lambda: {k: v for k, v in drawn().items() if k != "conv.bias"}, r"conv\.bias is missing"),
    "shape": (
        lambda: {**renamed(drawn(), "module."), "module.conv.bias": torch.ones(7)},
        r"conv\.bias has shape \(7,\), the network's is \(4,\)"),
    "two prefixes": (
        lambda: {("a." if "conv" in k else "b.") + k: v for k, v in drawn().items()}, r"a\.conv\.bias"),
    "two states": (lambda: {"model": drawn(), "ema": drawn()}, r"several .* fit: model, ema"),
    "numbers": (lambda: {"epoch": 3}, "no state dict"),
    "a tensor": (lambda: torch.ones(3), "no state dict"),
    "a network": (Net, r"no state dict.*torch\.save\(network\.state_dict\(\), path\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    build, words = REFUSED[kind]
    torch.save(build(), tmp_path / "w.pt")
    network = Net()
    before = network.conv.weight.clone()
    with pytest.raises(UsageError, match=rf"model 'x': .*w\.pt.*{words}") as caught:
        load_weights(network, tmp_path / "w.pt", where="model 'x'")
    assert "\n" not in str(caught.value)
    assert torch.equal(network.conv.weight, before)


def test_names_match_but_for_a_prefix_of_either() -> None:
    assert same_names(["m.a.w", "m.a.b"], ["a.w", "a.b"]) == {"m.a.w": "a.w", "m.a.b": "a.b"}
    assert same_names(["a.w", "a.b"], ["n.a.w", "n.a.b"]) == {"a.w": "n.a.w", "a.b": "n.a.b"}
    assert same_names(["a.w", "a.b"], ["c.w", "c.b"]) is None
    assert same_names(["a.w"], ["a.w", "a.b"]) is None
