"""How a matrix is run: everything that changes no result."""

from __future__ import annotations

from dataclasses import dataclass

from bench.execute.shards import Shard


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a matrix is run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1``.
        engine: ``local``, or ``ray`` for a cluster.
        address: of the cluster; without one a cluster is started on this machine.
        workers: processes; one per core, or per GPU, unless given.
        timeout: seconds that one task may take.
        budget: seconds for the whole run, the most informative cells first; what is left is missing.
        memory: bytes that an attack in one worker may take; fewer victims are attacked at once.
        shard: only one part of the cells.
        retry_failed: run cells again that failed, timed out or ran out of memory.
        force: run all selected cells again, their victims included.
        display: ``auto``, ``rich``, ``plain`` or ``json``.
        dry_run: only say what would run.
    """

    device: str = "auto"
    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    timeout: float | None = None
    budget: float | None = None
    memory: int | None = None
    shard: Shard | None = None
    retry_failed: bool = False
    force: bool = False
    display: str = "auto"
    dry_run: bool = False

    @property
    def partial(self) -> bool:
        """Whether only a part of a matrix is run."""
        return self.shard is not None or self.budget is not None or self.dry_run
