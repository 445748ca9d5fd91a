"""The process in which attacks run: it holds what an attack may observe, and nothing else.

It is never forked from a process that has loaded private images. What an observation cannot hold, such as the
clients of an active attacker, stays in the worker and is called through the pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext, ForkContext, ForkServerContext
from typing import TYPE_CHECKING, Any, NoReturn

from bench.api.errors import BenchError
from bench.cells.failures import AttackFailed, explain
from bench.cells.memory import limit_memory, peak_mb, reset_peak
from bench.cells.process_state import left_by, live_and_die_with_the_parent
from bench.cells.remote import Interrupted, Lost, Message, Peer
from bench.records.outcome import Failure
from bench.records.record import Status

if TYPE_CHECKING:
    import torch

PRELOAD = [
    *("torch", "torchvision", "lpips", "safetensors.torch", "scipy.optimize", "PIL.Image", "pydantic"),
    *("bench.engine", "bench.models", "bench.metrics", "bench.metrics.perceptual", "bench.victims.evaluator"),
    *("bench.victims.releases", "bench.victims.training"),
]
"""What the server has imported from which workers and processes of attacks are forked: what all of them need,
and no plug-in. A Python process has one such server."""
_GRACE = 2.0


class AttackDied(BenchError):
    """An attack has ended its process.

    Attributes:
        code: the exit code; negative for a signal, None if it lived but could not be heard.
    """

    def __init__(self, code: int | None) -> None:
        how = "closed its channel" if code is None else f"died with exit code {code}"
        super().__init__(f"the process of the attack {how}")
        self.code = code

    def repeat(self) -> NoReturn:
        """Ends this process in the same way: whoever started it knows what to do about that."""
        if self.code is not None and self.code < 0:
            os.kill(os.getpid(), -self.code)
        os._exit(1 if self.code is None else self.code % 256)


@dataclass(frozen=True)
class Measured:
    """What a function returned in the process of attacks, and the peak of that process' memory in MiB."""

    value: Any
    peak_memory_mb: float


class AttackProcess:
    """Runs one attack after the other, until one of them has changed it.

    Attributes:
        spoiled: it is no longer what it was: no other attack may run in it.
    """

    def __init__(
        self, context: BaseContext, device: torch.device, *, memory: int | None = None,
        closes: Sequence[Connection] = (),
    ) -> None:  # fmt: skip
        """Starts it.

        Args:
            context: how: by a fork, where this process has loaded no data yet, else by a server.
            device: what its attacks compute on.
            memory: bytes that an attack may take; None: what its device sets.
            closes: connections of this process that a fork must not inherit.
        """
        assert isinstance(context, ForkContext | ForkServerContext)
        ours, theirs = context.Pipe()
        forked = isinstance(context, ForkContext)
        others = (*closes, ours) if forked else ()
        arguments = (theirs, others, dict(os.environ), str(device), memory)
        self._process = context.Process(target=_main, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._peer = Peer(ours, trusting=False)
        self._device = device
        self.spoiled = False

    @classmethod
    def served(cls, device: torch.device, *, memory: int | None = None) -> AttackProcess:
        """Starts it by a server that never holds data, from any process."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        return cls(context, device, memory=memory)

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        stays: Sequence[object] = (),
        last: bool = False,
    ) -> Measured:
        """Calls a function there.

        Args:
            function: of a module; it returns tensors and plain values.
            arguments: travel there, but for what ``stays``.
            stays: objects that do not travel: there, something stands for them that calls them here.
            last: no other attack may run there afterwards, as what travels must be seen by none.

        Raises:
            AttackFailed: it raised.
            AttackDied: its process is gone.
        """
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()  # what the training has left is the attack's
        self.spoiled = True  # until it is heard that it is idle again
        self._peer.offer(*stays)
        try:
            self._peer.send("run", (function, arguments))
            kind, content = self._peer.wait()
        except Interrupted as other:
            kind, content = other.message
        except Lost:
            raise AttackDied(self._exit_code()) from None
        finally:
            self._peer.withdraw()
        value, changed = content
        self.spoiled = changed or last
        if kind == "failed":
            status, reason, traceback = value
            raise AttackFailed(Failure(status=Status(status), reason=reason, traceback=traceback))
        return Measured(*value)

    def _exit_code(self) -> int | None:
        self._process.join(_GRACE)
        if self._process.is_alive():
            self._process.kill()
            return None
        return self._process.exitcode


def _main(
    theirs: Connection, others: Sequence[Connection], environment: dict[str, str], name: str,
    memory: int | None,
) -> None:  # fmt: skip
    """Runs attacks until the worker closes the pipe, or is gone."""
    for connection in others:
        connection.close()
    if not others:  # a fork stays in the group of its worker, which ends as a whole
        os.setsid()
    live_and_die_with_the_parent()
    os.dup2(2, 1)  # stdout belongs to the display
    os.environ.clear()
    os.environ.update(environment)
    sys.path.append(os.getcwd())  # where networks of the user may lie
    import torch

    from bench.engine.memory import set_limit

    device = torch.device(name)
    set_limit(memory)
    limit_memory(device)
    peer = Peer(theirs, trusting=True)
    while True:
        try:
            _, (function, arguments) = peer.wait()
            peer.send(*_answer(function, arguments, device))
        except Lost:
            return
        peer.withdraw()


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], device: torch.device) -> Message:
    """What the worker is told of a call."""

    def measured() -> tuple[str, Any]:
        reset_peak(device)
        try:
            return "done", (function(*arguments), peak_mb(device))
        except Lost:
            raise
        except BaseException as error:  # a plug-in may even call sys.exit
            found = explain(error)
            return "failed", (found.status.value, found.reason, found.traceback)

    (kind, content), spoiled = left_by(measured)
    return kind, (content, spoiled)
