"""The one interface behind which the work is done, wherever that is.

An executor takes tasks from a schedule, has :func:`bench.execute.worker.attempt` (that is, ``run_cell``)
called for each in some worker process, and tells a sink what came of it. It stores nothing and commits
nothing: correctness lives in the store and in the results folder.
"""

from __future__ import annotations

import signal
from typing import Protocol, Self

from bench.execute.schedule import Schedule, Task
from bench.records.outcome import Failure, Outcome
from bench.records.record import Status

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
    # glibc gives blocks above 128 kB back to the system and asks for them again, page by page: with eleven
    # victims in one graph that is a quarter of the time of an evaluation.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
"""What a worker's process must have been started with."""
_OUT_OF_MEMORY = "two workers were killed (SIGKILL), most likely out of memory"


class Sink(Protocol):
    """Who is told what happens, in the parent's own thread."""

    def begun(self, task: Task) -> None:
        """A worker has taken a task."""

    def trained(self, task: Task, turn: int, rounds: int) -> None:
        """How far a training has come, which is a task or part of one."""

    def ended(self, task: Task, result: Outcome | Failure | None, seconds: float) -> None:
        """A task is over; ``result`` is None for a victim or an evaluator that is now in the store."""

    def lost(self, task: Task, failure: Failure) -> None:
        """A cell cannot run because what it needs has failed."""

    def note(self, text: str) -> None:
        """A worker has something to say."""

    def tick(self, remaining: list[Task]) -> None:
        """About twice a second, whatever happens."""


class Executor(Protocol):
    """Runs a schedule; as a context manager it leaves no process behind."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def run(self, schedule: Schedule, sink: Sink, *, deadline: float | None = None) -> None:
        """Works until nothing can run any more.

        Args:
            schedule: hands out the tasks.
            sink: is told what comes of them.
            deadline: on the clock of ``time.monotonic``; what runs then is given up, without a record.

        Raises:
            DiskFullError: a worker could not store its result.
            BenchError: workers do not start.
        """


def finish(
    task: Task, result: Outcome | Failure | None, seconds: float, *, schedule: Schedule, sink: Sink
) -> None:
    """Tells schedule and sink that a task is over, and the sink of the cells that are lost with it."""
    sink.ended(task, result, seconds)
    for cell, failure in schedule.ended(task, result if isinstance(result, Failure) else None):
        sink.lost(cell, failure)


def timeout_failure(timeout: float | None) -> Failure:
    """What becomes of a task that took too long."""
    return Failure(status=Status.TIMEOUT, reason=f"no result within {timeout:g} s")


def killed_from_outside(code: int | None) -> bool:
    """Whether a worker's end need not be the fault of its task.

    The server that starts the workers and reports how they end may be killed as well: then nobody knows how
    they have ended, and multiprocessing says 255.
    """
    return code in (-signal.SIGKILL, -signal.SIGTERM, 255)


def cause_of_death(code: int | None) -> Failure:
    """Why a task's last worker died: the kernel kills with SIGKILL who takes more memory than it has."""
    if code is None:
        return Failure(status=Status.FAILED, reason="the worker closed its channel")
    if code == -signal.SIGKILL:
        return Failure(status=Status.OOM, reason=_OUT_OF_MEMORY)
    return Failure(status=Status.FAILED, reason=f"worker died with exit code {code}")
