"""Writes down what the clients of a Flower federation send, for ``bench leak``.

Works with strategies of ``flwr.serverapp`` (Flower 1.21 or newer, the extra ``flower``); nothing of Flower is
imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors.torch import save

from bench.records.files import write_atomic


class _Strategy(Protocol):
    """What is used of a strategy."""

    configure_train: Any
    aggregate_train: Any


StrategyT = TypeVar("StrategyT", bound=_Strategy)


def recorded(strategy: StrategyT, folder: str | Path) -> StrategyT:
    """The strategy itself, which from now on writes the weights of every round.

    Args:
        strategy: of the server.
        folder: gets ``round-1/before.safetensors``, what the server sent, and one
            ``round-1/client-<node>.safetensors`` for each client, what it returned.
    """
    place = Path(folder)
    configure, aggregate = strategy.configure_train, strategy.aggregate_train

    def configure_train(server_round: int, arrays: Any, *others: Any, **named: Any) -> Any:
        _write(place / f"round-{server_round}" / "before.safetensors", arrays)
        return configure(server_round, arrays, *others, **named)

    def aggregate_train(server_round: int, replies: Iterable[Any]) -> Any:
        received = list(replies)
        for reply in received:
            if not reply.has_error():
                for arrays in reply.content.array_records.values():
                    name = f"client-{reply.metadata.src_node_id}.safetensors"
                    _write(place / f"round-{server_round}" / name, arrays)
        return aggregate(server_round, received)

    strategy.configure_train, strategy.aggregate_train = configure_train, aggregate_train
    return strategy


def _write(path: Path, arrays: Any) -> None:
    state = {name: value.contiguous() for name, value in arrays.to_torch_state_dict().items()}
    write_atomic(path, save(state))
