"""What a federation has written down: weights before and after, gradients, private images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError
from bench.models.users.states import same_names

Arrays = dict[str, Tensor] | list[Tensor]
"""By name, or in the order of a network's tensors."""


def read_arrays(path: Path) -> Arrays:
    """The tensors of a file: safetensors, ``.npz``, or what ``torch.save`` wrote of a mapping or a list.

    A ``.npz`` with the names ``arr_0``, ``arr_1``, ..., of ``numpy.savez(path, *arrays)``, is a list.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        found = _read(path)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{path}: cannot be read ({first}); give safetensors, .npz or a file of torch.save"
        ) from None
    values = list(found.values()) if isinstance(found, Mapping) else list(found)
    if not values or not all(isinstance(value, Tensor) for value in values):
        raise UsageError(f"{path}: holds other things than tensors: save a mapping of names, or a list")
    return dict(found) if isinstance(found, Mapping) else values


def _read(path: Path) -> Mapping[str, Tensor] | Sequence[Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.array(file[name])) for name in file.files}
        numbered = [f"arr_{number}" for number in range(len(arrays))]
        return [arrays[name] for name in numbered] if set(numbered) == set(arrays) else arrays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping | list | tuple):
        raise TypeError(f"it holds {type(found).__name__}")
    return found


def of_weights(arrays: Arrays, state: Mapping[str, Tensor], trained: Sequence[str], where: str) -> Arrays:
    """The tensors of an update that belong to the weights that are trained.

    Buffers of BatchNorm, which clients send along, and weights that are frozen, which do not change, are left
    out; a prefix that all names share is no difference.

    Args:
        arrays: of a file.
        state: names and shapes of all of the network's tensors of floating point, in its order.
        trained: names of the weights that are trained, in their order.
        where: of the file, for the message.

    Raises:
        UsageError: it is the update of another network.
    """
    if isinstance(arrays, list):
        if len(arrays) == len(trained):
            return arrays
        if len(arrays) == len(state):
            return {name: value for name, value in zip(state, arrays, strict=True) if name in set(trained)}
        raise UsageError(
            f"{where}: {len(arrays)} tensors; the network trains {len(trained)} and has {len(state)} in its "
            "state dict: save either, in their order"
        )
    for wanted in (trained, list(state)):
        if (names := same_names(arrays, wanted)) is not None:
            return {names[name]: value for name, value in arrays.items() if names[name] in set(trained)}
    missing = [name for name in trained if name not in arrays]
    raise UsageError(
        f"{where}: {missing[0]} is missing, and {len(missing) - 1} more; "
        f"the file has {', '.join(list(arrays)[:5])}"
    )


def read_originals(path: Path) -> tuple[Tensor, Tensor]:
    """Private images ``[M, C, H, W]`` in [0, 1] and labels ``[M]`` from a ``.npz`` with these two names.

    Raises:
        UsageError: it holds something else.
    """
    found = read_arrays(path)
    if not isinstance(found, dict) or not {"images", "labels"} <= found.keys():
        raise UsageError(f"{path}: give numpy.savez(path, images=..., labels=...)")
    return found["images"], found["labels"]


def load_listed(network: nn.Module, arrays: Arrays, where: str) -> None:
    """Loads weights that were saved as a list in the order of the state dict, or by name.

    Raises:
        UsageError: they are another network's.
    """
    own = network.state_dict()
    if isinstance(arrays, list) and len(arrays) != len(own):
        raise UsageError(f"{where}: {len(arrays)} tensors, and the state dict has {len(own)}")
    named = arrays if isinstance(arrays, dict) else dict(zip(own, arrays, strict=True))
    names = same_names(named, own)
    if names is None:
        raise UsageError(f"{where}: the names are not the network's: {', '.join(list(named)[:5])}")
    loaded = {names[name]: value for name, value in named.items()}
    wrong = [name for name, value in loaded.items() if own[name].shape != value.shape]
    if wrong:
        raise UsageError(
            f"{where}: {wrong[0]} has another shape than in the network, and {len(wrong) - 1} more"
        )
    network.load_state_dict(loaded)
