"""Calls through a pipe between two processes, of which each may hold what the other must not see."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from bench.api.errors import PluginError
from bench.cells.transfer import from_bytes, to_bytes

Message = tuple[str, Any]
"""What a message is, and its content."""


class Lost(Exception):
    """Nobody is at the other end any more."""


class Peer:
    """One end of the pipe: it calls what the other end has offered, and answers what that calls here.

    Args:
        connection: to the other end.
        trusting: see :func:`~bench.cells.transfer.from_bytes`.
    """

    def __init__(self, connection: Connection, *, trusting: bool) -> None:
        self._connection, self._trusting = connection, trusting
        self._offered: dict[int, Any] = {}

    def offer(self, *values: object) -> None:
        """Lets the other end call these objects and their public methods; they stay here."""
        self._offered |= {id(value): value for value in values if value is not None}

    def withdraw(self) -> None:
        """Offers nothing any more."""
        self._offered.clear()

    def send(self, kind: str, content: object) -> None:
        """Sends a message.

        Raises:
            Lost: the other end is gone.
        """
        data = to_bytes((kind, content), self._offered)
        try:
            self._connection.send_bytes(data)
        except OSError:
            raise Lost from None

    def wait(self) -> Message:
        """The next message that is no call; calls are answered meanwhile.

        Raises:
            Lost: the other end is gone.
        """
        while True:
            kind, content = self._receive()
            if kind != "call":
                return kind, content
            number, method, arguments, named = content
            self.send("result", self._method(number, method)(*arguments, **named))

    def call(self, number: int, method: str, /, *arguments: Any, **named: Any) -> Any:
        """What a method of an object returns that the other end has offered."""
        self.offer(*(one for one in (*arguments, *named.values()) if callable(one)))
        self.send("call", (number, method, arguments, named))
        kind, content = self.wait()
        if kind != "result":
            raise Interrupted(kind, content)
        return content

    def _receive(self) -> Message:
        try:
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise Lost from None
        message: Message = from_bytes(data, partial(Remote, self), trusting=self._trusting)
        return message

    def _method(self, number: int, method: str) -> Callable[..., Any]:
        if number not in self._offered or (method.startswith("_") and method != "__call__"):
            raise PluginError(f"an attack calls {method}, which nobody offers it")
        found: Callable[..., Any] = getattr(self._offered[number], method)
        return found


class Interrupted(Exception):
    """A call has no result: another message came.

    Attributes:
        message: it.
    """

    def __init__(self, *message: Any) -> None:
        super().__init__(message[0])
        self.message: Message = (message[0], message[1])


class Remote:
    """Stands for an object at the other end: it can be called, and so can its public methods."""

    def __init__(self, peer: Peer, number: int) -> None:
        self._peer, self._number = peer, number

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the object returns."""
        return self._peer.call(self._number, "__call__", *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._peer.call, self._number, name)
