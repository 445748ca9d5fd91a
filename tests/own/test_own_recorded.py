"""Files of a federation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.api.errors import UsageError
from bench.own.recorded import load_listed, of_weights, read_arrays, read_originals

from .nets import linear, normalised

NAMED = {"1.weight": torch.arange(6.0).view(2, 3), "1.bias": torch.ones(2)}


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    save_file(NAMED, tmp_path / "a.safetensors")
    torch.save(NAMED, tmp_path / "b.pt")
    torch.save(list(NAMED.values()), tmp_path / "c.pt")
    np.savez(tmp_path / "d.npz", **{name: value.numpy() for name, value in NAMED.items()})
    np.savez(tmp_path / "e.npz", *[value.numpy() for value in NAMED.values()])
    for name in ("a.safetensors", "b.pt", "d.npz"):
        found = read_arrays(tmp_path / name)
        assert isinstance(found, dict) and found.keys() == NAMED.keys()
        assert all(found[key].equal(value) for key, value in NAMED.items())
    for name in ("c.pt", "e.npz"):
        listed = read_arrays(tmp_path / name)
        assert isinstance(listed, list)
        assert all(a.equal(b) for a, b in zip(listed, NAMED.values(), strict=True))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello"])
@pytest.mark.parametrize("name", ["x.pt", "x.npz", "x.safetensors"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        read_arrays(tmp_path / name)


def test_other_things_than_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    torch.save(3, tmp_path / "y.pt")
    for name in ("x.pt", "y.pt"):
        with pytest.raises(UsageError, match=name):
            read_arrays(tmp_path / name)


def test_an_update_is_brought_to_the_names_of_what_is_trained() -> None:
    network = normalised()
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    trained = [name for name, _ in network.named_parameters()][2:]  # the first layer is frozen
    full = {f"module.{name}": value for name, value in state.items()}
    for given in (state, full, list(state.values()), [state[name] for name in trained]):
        found = of_weights(given, state, trained, "u.npz")
        values = found if isinstance(found, list) else [found[name] for name in trained]
        assert all(a is state[name] for a, name in zip(values, trained, strict=True))
    with pytest.raises(UsageError, match="5 tensors"):
        of_weights([torch.ones(1)] * 5, state, trained, "u.npz")
    with pytest.raises(UsageError, match=trained[0]):
        of_weights({"other": torch.ones(1)}, state, trained, "u.npz")


def test_listed_weights_are_loaded_in_the_order_of_the_state_dict() -> None:
    source, target = linear(), linear()
    with torch.no_grad():
        source[1].bias.fill_(7.0)
    load_listed(target, list(source.state_dict().values()), "w.npz")
    assert bool((target[1].bias == 7).all())
    for wrong in ([torch.ones(1)], {"other": torch.ones(1)}):
        with pytest.raises(UsageError, match=r"w\.npz"):
            load_listed(target, wrong, "w.npz")


def test_originals_have_two_names(tmp_path: Path) -> None:
    images: Tensor = torch.rand(2, 1, 12, 12)
    np.savez(tmp_path / "o.npz", images=images.numpy(), labels=np.array([0, 1]))
    found, labels = read_originals(tmp_path / "o.npz")
    assert found.equal(images) and labels.tolist() == [0, 1]
    np.savez(tmp_path / "p.npz", images.numpy())
    with pytest.raises(UsageError, match="labels"):
        read_originals(tmp_path / "p.npz")
