"""Weights from a file: which names of it are which names of a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.errors import UsageError

_DEPTH = 3
"""Of mappings inside each other, as training frameworks write them."""
_COUNTER = "num_batches_tracked"
"""Of BatchNorm layers: it decides nothing where the momentum is a number, and old files lack it."""
_SHOWN = 5

State = Mapping[str, Tensor]


def load_weights(network: nn.Module, path: Path, *, where: str) -> None:
    """Loads a state dict from safetensors, or from a file of ``torch.save`` without running its code.

    A prefix that all names share, as ``module.`` or ``_orig_mod.``, is left out where the rest fits, and so
    is one that all names of the network share; of a checkpoint the one mapping is used that fits.

    Args:
        network: every name and shape of the file must fit it; a weight that it has under two names may be in
            the file once.
        path: the file.
        where: what the user wrote, for the message.

    Raises:
        UsageError: the file is none of these, or nothing in it fits.
    """
    content = _read(path, where)
    fitting = [(at, state) for at, part in _states(content) if (state := _fitted(part, network)) is not None]
    if len(fitting) > 1:
        places = ", ".join(at or "the file itself" for at, _ in fitting)
        raise UsageError(f"{where}: {path}: several mappings in it fit: {places}; save the one that is meant")
    if not fitting:
        raise UsageError(f"{where}: {path} {_misfit(content, network)}")
    network.load_state_dict(fitting[0][1], strict=False)


def same_names(given: Iterable[str], wanted: Iterable[str]) -> dict[str, str] | None:
    """Which of the given names is which of the wanted, but for a prefix that all of either share.

    Returns:
        The wanted name of each given one; None if the names differ otherwise.
    """
    for names in _pairings(list(given), list(wanted)):
        if len(set(names.values())) == len(names) and set(names.values()) == set(wanted):
            return names
    return None


def _pairings(given: list[str], wanted: list[str]) -> Iterator[dict[str, str]]:
    """Given names as those that they would be without a prefix, or with one that all wanted ones share."""
    yield from _shortened(given)
    for names in _shortened(wanted):
        full = {short: name for name, short in names.items()}
        yield {name: full.get(name, name) for name in given}


def _read(path: Path, where: str) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{where}: {path} is no state dict ({first}); write one with "
            "torch.save(network.state_dict(), path) or safetensors.torch.save_file"
        ) from None


def _states(content: Any, at: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, State]]:
    """The mappings of names to tensors in a file, the outermost first, and their places."""
    if not isinstance(content, Mapping):
        return
    if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield at, content
        return
    for key, value in content.items():
        if depth and isinstance(value, Mapping):
            yield from _states(value, f"{at}.{key}" if at else str(key), depth - 1)


def _shortened(names: list[str]) -> Iterator[dict[str, str]]:
    """Names as they are, and without each prefix of whole words that all of them share."""
    cut = 0
    while True:
        yield {name: name[cut:] for name in names}
        dots = {name.find(".", cut) for name in names}
        if not names or -1 in dots or len({name[: name.find(".", cut)] for name in names}) > 1:
            return
        cut = next(iter(dots)) + 1


def _fitted(state: State, network: nn.Module) -> State | None:
    """The state under the network's own names; None if it does not fit."""
    own = _own(network)
    counted = [name for name in state if not name.endswith(_COUNTER)]
    for names in _pairings(counted, list(own)):
        given = _with_tied({name: state[short] for short, name in names.items()}, own)
        if not _problems(given, own):
            return given
    return None


def _own(network: nn.Module) -> State:
    state = network.state_dict(keep_vars=True)
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) and not name.endswith(_COUNTER)
    }


def _with_tied(given: State, wanted: State) -> State:
    """With the weights that the file has once and the network under several names."""
    first = {id(wanted[name]): value for name, value in given.items() if name in wanted}
    missing = {name: value for name, value in wanted.items() if name not in given}
    return {**given, **{name: first[id(value)] for name, value in missing.items() if id(value) in first}}


def _problems(given: State, wanted: State) -> list[str]:
    wrong = [f"{name} is missing" for name in wanted.keys() - given.keys()]
    wrong += [f"{name} does not belong there" for name in given.keys() - wanted.keys()]
    wrong += [
        f"{name} has shape {tuple(given[name].shape)}, the network's is {tuple(wanted[name].shape)}"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    return sorted(wrong)


def _misfit(content: Any, network: nn.Module) -> str:
    """Why nothing in a file fits, by what comes nearest."""
    states = list(_states(content))
    if not states:
        return "is no state dict: it must map names to tensors, or hold one mapping that does"
    own = _own(network)

    def wrong(state: State) -> list[str]:
        counted = [name for name in state if not name.endswith(_COUNTER)]
        each = [
            _problems({short: state[name] for name, short in names.items()}, own)
            for names in _shortened(counted)
        ]
        return min(each, key=len)

    at, problems = min(((at, wrong(state)) for at, state in states), key=lambda pair: len(pair[1]))
    more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    place = f" ({at} in it)" if at else ""
    return f"does not fit{place}, with or without a common prefix: {', '.join(problems[:_SHOWN])}{more}"
