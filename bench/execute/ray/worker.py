"""What runs on the nodes of a Ray cluster: workers, and the mailbox through which they speak meanwhile."""

from __future__ import annotations

from typing import Any

import torch

from bench.cache.keys import Identity
from bench.cells.attack_process import AttackProcess
from bench.cells.memory import limit_memory
from bench.execute import worker
from bench.execute.devices import device_class
from bench.execute.schedule import Task


class OtherCode(Exception):
    """This node would compute something else than what was asked for."""


class Mailbox:
    """Keeps what workers say until the executor asks for it."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, worker.Note | worker.Waiting]] = []

    def put(self, number: int, report: worker.Note | worker.Waiting) -> None:
        """A worker says something."""
        self._reports.append((number, report))

    def take(self) -> list[tuple[int, worker.Note | worker.Waiting]]:
        """All that was said since the last time."""
        reports, self._reports = self._reports, []
        return reports


class RayWorker:
    """One process on some node.

    Args:
        settings: as for a local worker.
        number: how the executor calls this one.
        mailbox: handle of the executor's mailbox.
    """

    def __init__(self, settings: worker.Settings, number: int, mailbox: Any) -> None:
        def say(report: worker.Note | worker.Waiting) -> None:
            mailbox.put.remote(number, report)

        attacks = AttackProcess.served(torch.device(settings.device), memory=settings.memory)
        self._context = worker.open_context(settings, say, attacks)
        limit_memory(self._context.device)
        self._identity = Identity(device_class([settings.device]))

    def node(self) -> str:
        """The id of the node that this worker lives on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def attempt(self, task: Task) -> worker.Ended | worker.DiskFull:
        """Does a task.

        Raises:
            OtherCode: the code, the plug-ins or the libraries of this node are not those of the executor.
        """
        if self._identity.keys(task.cell) != task.keys:
            import ray

            raise OtherCode(ray.util.get_node_ip_address())
        return worker.attempt(task, self._context)


def gpu_memory_mb() -> int:
    """Memory of the GPU that this process may use, in MiB."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory // 2**20)
