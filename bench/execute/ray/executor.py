"""The Ray executor: workers on the nodes of a cluster, fed one task at a time.

The nodes may share the cache over a file system; where they do not, each trains the victims that it needs.
Results travel through Ray to the parent, which alone writes records. A worker that dies, or whose node does,
costs its task a second try elsewhere; only a task that loses two workers on living nodes is a failure.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.api.errors import BenchError
from bench.execute import worker
from bench.execute.executor import Sink, finish, timeout_failure
from bench.execute.ray.cluster import gpu_share, resources
from bench.execute.schedule import Kind, Schedule, Task
from bench.records.files import DiskFullError
from bench.records.outcome import Failure
from bench.records.record import Status

_TICK = 0.5
_PATIENCE = 120.0
"""Seconds without any worker after which a cluster counts as unable to run one."""
_TRIES = 2
_STILLBORN = 3


@dataclass(eq=False)
class _Slot:
    """One worker of the cluster, or one that Ray is about to start."""

    number: int
    actor: Any
    starting: Any
    node: str = ""
    task: Task | None = None
    answer: Any = None
    started: float = 0.0
    deadline: float | None = None


class RayExecutor:
    """Runs a schedule on a cluster that :func:`bench.execute.ray.cluster.connect` has joined.

    Args:
        devices: one name; every worker has its own GPU or share of one.
        workers: how many at most.
        timeout: seconds that one task may take; None sets no limit.
        cache: folder of the store, on every node.
        memory: bytes that an attack in one worker may take; None: what its device sets.
    """

    def __init__(
        self,
        *,
        devices: list[str],
        workers: int,
        timeout: float | None,
        cache: Path,
        memory: int | None = None,
    ) -> None:
        self._settings = worker.Settings(device=devices[0], cache=cache, environment={}, memory=memory)
        self._workers = workers
        self._timeout = timeout
        self._slots: list[_Slot] = []
        self._numbers = count()
        self._lost: Counter[Task] = Counter()
        self._mailbox: Any = None
        self._share = 0.0
        self._stillborn = 0

    def __enter__(self) -> RayExecutor:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from bench.execute.ray.worker import Mailbox

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
        return self

    def __exit__(self, *exception: object) -> None:
        import ray

        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        ray.shutdown()

    def run(self, schedule: Schedule, sink: Sink, *, deadline: float | None = None) -> None:
        """See :meth:`bench.execute.executor.Executor.run`."""
        self._share = self._gpu_share(schedule)
        idle_since = time.monotonic()
        while deadline is None or time.monotonic() < deadline:
            self._hand_out(schedule, sink)
            busy = any(slot.task for slot in self._slots)
            ready = any(slot.node for slot in self._slots)
            if not busy and not schedule.waits and (ready or not schedule.remaining()):
                return
            if ready:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _PATIENCE:
                raise BenchError(f"no worker started within {_PATIENCE:g} s; the cluster has {resources()}")
            self._listen(schedule, sink)
            self._read_mail(sink)
            self._enforce_limits(schedule, sink)
            sink.tick(schedule.remaining())

    def _gpu_share(self, schedule: Schedule) -> float:
        if self._settings.device == "cpu":
            return 0.0
        import ray

        from bench.execute.ray.worker import gpu_memory_mb

        attacks = {task.cell.attack.name for task in schedule.remaining() if task.kind is Kind.CELL}
        if gpu_share(attacks, math.inf) == 1.0:
            return 1.0
        probe = ray.remote(num_cpus=0, num_gpus=0.01, scheduling_strategy="SPREAD")(gpu_memory_mb)
        probes = [probe.remote() for _ in range(int(resources().get("GPU", 1)))]
        return gpu_share(attacks, min(ray.get(probes)))

    def _hand_out(self, schedule: Schedule, sink: Sink) -> None:
        """Gives tasks to idle workers, and asks for workers while there is more to do than they can."""
        for slot in self._slots:
            if slot.node and slot.task is None:
                task = schedule.next()
                if task is None:
                    return
                self._send(slot, task)
                sink.begun(task)
        waiting = len(schedule.remaining())
        while len(self._slots) < self._workers and waiting > sum(not slot.node for slot in self._slots):
            self._start_worker()

    def _start_worker(self) -> None:
        import ray

        from bench.execute.ray.worker import RayWorker

        number = next(self._numbers)
        options = {"num_cpus": 1, "num_gpus": self._share, "max_restarts": 0, "max_task_retries": 0}
        actor = ray.remote(**options)(RayWorker).remote(self._settings, number, self._mailbox)
        self._slots.append(_Slot(number, actor, actor.node.remote()))

    def _send(self, slot: _Slot, task: Task) -> None:
        slot.task, slot.started = task, time.monotonic()
        slot.deadline = None if self._timeout is None else slot.started + self._timeout
        slot.answer = slot.actor.attempt.remote(task)

    def _listen(self, schedule: Schedule, sink: Sink) -> None:
        """Waits for answers, not longer than a tick."""
        import ray

        waiting = {slot.answer if slot.node else slot.starting: slot for slot in self._slots}
        limits = [slot.deadline - time.monotonic() for slot in self._slots if slot.deadline is not None]
        pause = max(0.0, min([_TICK, *limits]))
        known = [answer for answer in waiting if answer is not None]
        if not known:
            time.sleep(pause)
            return
        done, _ = ray.wait(known, num_returns=1, timeout=pause)
        more, _ = ray.wait(known, num_returns=len(known), timeout=0)
        for answer in dict.fromkeys([*done, *more]):
            self._understand(waiting[answer], answer, schedule, sink)

    def _understand(self, slot: _Slot, answer: Any, schedule: Schedule, sink: Sink) -> None:
        import ray

        from bench.execute.ray.worker import OtherCode

        try:
            report = ray.get(answer)
        except ray.exceptions.RayActorError as error:
            self._worker_is_gone(slot, str(error), schedule, sink)
            return
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OtherCode):
                raise BenchError(
                    f"node {error.cause}: its code, plug-ins or libraries are not those of this machine; "
                    "install the same everywhere"
                ) from None
            raise BenchError(f"a worker of the cluster does not work: {error.cause}") from error
        if isinstance(report, str):
            slot.node = report
        elif isinstance(report, worker.DiskFull):
            raise DiskFullError(report.text)
        else:
            exhausted = report.spoiled or (
                isinstance(report.result, Failure) and report.result.status is Status.OOM
            )
            if exhausted:  # a fresh process gets its memory back from the system, this one may not
                self._discard(slot)
            self._end(slot, report.result, schedule, sink)

    def _end(self, slot: _Slot, result: Any, schedule: Schedule, sink: Sink) -> None:
        task, slot.task, slot.answer, slot.deadline = slot.task, None, None, None
        if task is not None:
            finish(task, result, time.monotonic() - slot.started, schedule=schedule, sink=sink)

    def _discard(self, slot: _Slot) -> None:
        import ray

        ray.kill(slot.actor)
        self._slots.remove(slot)

    def _worker_is_gone(self, slot: _Slot, cause: str, schedule: Schedule, sink: Sink) -> None:
        """A worker is gone: its task gets another one, unless it seems to be what kills them."""
        import ray

        self._slots.remove(slot)
        task = slot.task
        if task is None:
            self._stillborn += not slot.node
            if self._stillborn > _STILLBORN:
                raise BenchError(f"workers do not start on the cluster: {' '.join(cause.split())}")
            return
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        self._lost[task] += slot.node in alive
        if self._lost[task] < _TRIES:
            where = "its node is gone" if slot.node not in alive else "its worker is gone"
            sink.note(f"{task.title}: {where}, tried again elsewhere")
            schedule.back(task)
            return
        self._end(slot, _cause_of_death(cause), schedule, sink)

    def _read_mail(self, sink: Sink) -> None:
        import ray

        slots = {slot.number: slot for slot in self._slots}
        for number, report in ray.get(self._mailbox.take.remote()):
            if isinstance(report, worker.Note):
                sink.note(report.text)
            elif (slot := slots.get(number)) is not None and slot.task is not None:
                limit = None if report.begun or self._timeout is None else time.monotonic() + self._timeout
                slot.deadline = limit

    def _enforce_limits(self, schedule: Schedule, sink: Sink) -> None:
        now = time.monotonic()
        for slot in [one for one in self._slots if one.deadline is not None and one.deadline <= now]:
            self._discard(slot)
            self._end(slot, timeout_failure(self._timeout), schedule, sink)


def _cause_of_death(text: str) -> Failure:
    """What Ray knows of a worker's end, without what it only suspects and without addresses."""
    memory = "low on memory" in text or "OutOfMemory" in text
    detail = " ".join(text.split()).partition("Worker exit detail: ")[2].partition(" Some common causes")[0]
    reason = f"its worker died {_TRIES} times: {detail or 'Ray does not say why'}"
    return Failure(status=Status.OOM if memory else Status.FAILED, reason=reason)
