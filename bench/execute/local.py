"""The local executor: worker processes on this machine, fed one task at a time.

Workers are forked from a server process that has torch imported but has never computed anything, so that a
new one starts in milliseconds and the parent stays small. A task that takes too long is killed with its
worker; a worker that dies takes only its task with it, which gets a second try if it was killed from outside.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event, Thread

from bench.api.errors import BenchError
from bench.cells.attack_process import PRELOAD
from bench.execute import worker
from bench.execute.executor import (
    ENVIRONMENT,
    Sink,
    cause_of_death,
    finish,
    killed_from_outside,
    timeout_failure,
)
from bench.execute.schedule import Schedule, Task
from bench.records.files import DiskFullError
from bench.records.outcome import Failure, Outcome
from bench.records.record import Status

_PASSED_ON = ("BENCH_", "CUDA_")
_TICK = 0.5
_GRACE = 2.0
_TRIES = 2
_PAUSES = (0.05, 0.2, 1.0, 3.0)


@dataclass(eq=False)
class _Worker:
    process: ForkServerProcess
    channel: connection.Connection
    device: str
    ready: bool = False
    task: Task | None = None
    started: float = 0.0
    deadline: float | None = None
    silenced: bool = False
    exhausted: bool = False

    def kill(self) -> None:
        """Ends it at once, with all that it has started; native code may listen to nothing else."""
        self.end_group()
        self.process.kill()
        self.process.join()
        self.channel.close()

    def end_group(self) -> None:
        """Ends what a plug-in has started in it: a worker leads a process group of its own."""
        if self.process.pid is not None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)


class LocalExecutor:
    """Runs a schedule on worker processes; as a context manager it leaves none behind.

    Args:
        devices: names of the devices that the workers share.
        workers: how many.
        timeout: seconds that one task may take; None sets no limit.
        cache: folder of the store.
        pool: see :class:`~bench.cells.context.Context`.
        memory: bytes that an attack in one worker may take; None: what its device sets.
    """

    def __init__(
        self,
        *,
        devices: list[str],
        workers: int,
        timeout: float | None,
        cache: Path,
        pool: int | None = None,
        memory: int | None = None,
    ) -> None:
        self._places = [devices[number % len(devices)] for number in range(workers)]
        self._timeout = timeout
        self._cache = cache
        self._pool = pool
        self._memory = memory
        self._workers: list[_Worker] = []
        self._lost: Counter[Task] = Counter()
        self._ended = Event()

    def __enter__(self) -> LocalExecutor:
        Thread(target=_keep_server_running, args=(self._ended,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for one in self._workers:
            with suppress(OSError, ValueError):
                one.kill()
        self._workers.clear()
        self._ended.set()

    def run(self, schedule: Schedule, sink: Sink, *, deadline: float | None = None) -> None:
        """See :meth:`bench.execute.executor.Executor.run`."""
        while deadline is None or time.monotonic() < deadline:
            self._hand_out(schedule, sink)
            if not any(one.task for one in self._workers) and not schedule.waits:
                return
            self._listen(schedule, sink)
            self._enforce_limits(schedule, sink)
            sink.tick(schedule.remaining())

    def _hand_out(self, schedule: Schedule, sink: Sink) -> None:
        """Gives tasks to idle workers, and makes workers while there is more to do than they can."""
        while len(idle := [one for one in self._workers if one.task is None]) or len(self._workers) < len(
            self._places
        ):
            task = schedule.next()
            if task is None:
                return
            one = idle[0] if idle else self._start_worker()
            one.task, one.started = task, time.monotonic()
            one.deadline = None
            if one.ready:
                self._send(one)
            sink.begun(task)

    def _start_worker(self) -> _Worker:
        os.environ.update(ENVIRONMENT)  # before the server starts: OpenMP reads them once, at import
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        used = [one.device for one in self._workers]
        free = list(self._places)
        for device in used:
            free.remove(device)
        ours, theirs = context.Pipe()
        settings = worker.Settings(
            device=free[0],
            cache=self._cache,
            environment={k: v for k, v in os.environ.items() if k in ENVIRONMENT or k.startswith(_PASSED_ON)},
            pool=self._pool,
            memory=self._memory,
        )
        process = context.Process(target=worker.main, args=(theirs, settings), daemon=False)
        _start(process)
        theirs.close()
        self._workers.append(_Worker(process, ours, free[0]))
        return self._workers[-1]

    def _send(self, one: _Worker) -> None:
        one.started = time.monotonic()
        one.deadline = None if self._timeout is None else one.started + self._timeout
        with suppress(OSError):  # it has died: its sentinel says so
            one.channel.send(one.task)

    def _listen(self, schedule: Schedule, sink: Sink) -> None:
        """Waits for reports and deaths, not longer than a tick."""
        channels = {one.channel: one for one in self._workers}
        sentinels = {one.process.sentinel: one for one in self._workers}
        limits = [one.deadline - time.monotonic() for one in self._workers if one.deadline is not None]
        events = connection.wait([*channels, *sentinels], max(0.0, min([_TICK, *limits])))
        for event in events:
            if isinstance(event, connection.Connection) and event in channels:
                self._receive(channels[event], schedule, sink)
        for event in events:
            if isinstance(event, int) and (one := sentinels[event]) in self._workers:
                self._worker_is_gone(one, schedule, sink)
        for one in [one for one in self._workers if one.exhausted]:
            one.kill()  # a fresh process has its memory back from the system, and nothing of a plug-in in it
            self._workers.remove(one)

    def _receive(self, one: _Worker, schedule: Schedule, sink: Sink) -> None:
        """Takes all that a worker has said; what it said before it died counts."""
        try:
            while one.channel.poll():
                self._understand(one, one.channel.recv(), schedule, sink)
        except (EOFError, ConnectionError):
            one.process.join(_GRACE)
            if one.process.is_alive():  # it lives but cannot be heard, e.g. a plug-in closed all files
                one.process.kill()
                one.silenced = True

    def _understand(self, one: _Worker, report: worker.Report, schedule: Schedule, sink: Sink) -> None:
        match report:
            case worker.Ready():
                one.ready = True
                if one.task is not None:
                    self._send(one)
            case worker.Note(text):
                sink.note(text)
            case worker.Waiting(begun):
                limit = None if begun or self._timeout is None else time.monotonic() + self._timeout
                one.deadline = limit
            case worker.Training(turn, rounds):
                if one.task is not None:
                    sink.trained(one.task, turn, rounds)
            case worker.DiskFull(text):
                raise DiskFullError(text)
            case worker.Ended(result, spoiled):
                one.exhausted = spoiled or (isinstance(result, Failure) and result.status is Status.OOM)
                self._end(one, result, schedule, sink)

    def _end(self, one: _Worker, result: Outcome | Failure | None, schedule: Schedule, sink: Sink) -> None:
        task, one.task, one.deadline = one.task, None, None
        if task is None:
            return
        finish(task, result, time.monotonic() - one.started, schedule=schedule, sink=sink)

    def _worker_is_gone(self, one: _Worker, schedule: Schedule, sink: Sink) -> None:
        """A worker is gone: its task gets another one, unless it seems to be what ends them."""
        self._receive(one, schedule, sink)
        one.end_group()
        one.process.join()
        code = one.process.exitcode
        self._workers.remove(one)
        one.channel.close()
        if one.task is not None and killed_from_outside(code) and not one.silenced:
            self._lost[one.task] += 1
            if self._lost[one.task] < _TRIES:
                sink.note(f"{one.task.title}: its worker was killed, tried again")
                schedule.back(one.task)
                return
        if not one.ready:
            raise BenchError(f"workers do not start: the first one ended with exit code {code}; see above")
        if one.task is not None:
            self._end(one, cause_of_death(None if one.silenced else code), schedule, sink)

    def _enforce_limits(self, schedule: Schedule, sink: Sink) -> None:
        now = time.monotonic()
        for one in [one for one in self._workers if one.deadline is not None and one.deadline <= now]:
            one.kill()
            self._workers.remove(one)
            self._end(one, timeout_failure(self._timeout), schedule, sink)


def _keep_server_running(ended: Event) -> None:
    """Continues the server that forks workers and reports their ends, which a plug-in may have stopped."""
    while not ended.wait(_TICK):
        pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)  # the library tells nobody
        if pid is not None:
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)


def _start(process: ForkServerProcess) -> None:
    """Starts a worker although somebody may just have killed the server that forks it.

    A new server is made only when the old one has ended, and it closes its socket before that:
    for a moment every start is refused.
    """
    for pause in _PAUSES:
        try:
            process.start()
        except (OSError, EOFError):
            time.sleep(pause)
        else:
            return
    process.start()
