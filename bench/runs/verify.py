"""Checking somebody's numbers: scoring stored reconstructions again, and running random cells again.

What was checked is written to ``verification.json``, from which the tables take their badges. An entry is
bound to the key of the record that was checked: a record that is measured again has to be checked again.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.api.errors import BenchError
from bench.matrix.cells import Cell
from bench.runs.agreement import Agreement, same_results, same_scores
from bench.runs.devices import default_workers, device_class, devices
from bench.runs.files import sha256, write_atomic
from bench.runs.identity import Identity, Keys, forget_digests
from bench.runs.local import LocalExecutor
from bench.runs.outcome import Failure, Outcome
from bench.runs.record import Record, Status
from bench.runs.results import Results
from bench.runs.schedule import Schedule, Task
from bench.runs.store import Store, default_cache

FILE = "verification.json"
Badge = Literal["recomputed", "re-run"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Verified:
    """One cell that was checked."""

    record: Record
    badge: Badge
    agreement: Agreement

    @property
    def title(self) -> str:
        """One line."""
        return Cell.from_json(self.record.cell).title


@dataclass(frozen=True)
class Verification:
    """What a check found.

    Attributes:
        cells: what was checked.
        stale: done cells that other code than today's has measured; they cannot be checked.
        elsewhere: done cells of another class of device than this machine's.
        unstored: done cells whose reconstructions are not in the cache.
    """

    cells: tuple[Verified, ...]
    stale: int
    elsewhere: int
    unstored: int


@dataclass
class _Collect:
    """A sink that keeps what comes."""

    say: Say
    outcomes: dict[str, Outcome | Failure] = field(default_factory=dict)

    def begun(self, task: Task) -> None:
        """Nothing to say yet."""

    def ended(self, task: Task, result: Outcome | Failure | None, seconds: float) -> None:
        """Keeps the result of a cell."""
        if result is not None and task.kind == "cell":
            self.outcomes[task.cell.id] = result

    def lost(self, task: Task, failure: Failure) -> None:
        """Keeps why a cell has no result."""
        self.outcomes[task.cell.id] = failure

    def note(self, text: str) -> None:
        """Passes it on."""
        self.say(text)

    def tick(self, remaining: list[Task]) -> None:
        """Nothing to draw."""


def verify(
    folder: Path,
    *,
    sample: int,
    seed: int,
    rescore: bool = True,
    device: str = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    say: Say = lambda text: None,
) -> Verification:
    """Checks a results folder and writes what was found into it.

    Args:
        folder: the results folder.
        sample: how many cells to run again from nothing, victim included; drawn among all that can be.
        seed: of the draw.
        rescore: score every reconstruction in the cache again.
        device: as for a run; records of the other class of device are not checked.
        workers: processes.
        timeout: seconds that one task may take.
        say: is told of damaged files.

    Raises:
        BenchError: nothing in the folder can be checked.
        DiskFullError: there is no space for the work.
    """
    forget_digests()
    names = devices(device)
    identity = Identity(device_class(names))
    recorded = {o.record.id: o for o in Results(folder, say).outcomes() if o.record.status is Status.DONE}
    here = {k: o for k, o in recorded.items() if _device_of(o.record) == device_class(names)}
    keys = {name: identity.keys(Cell.from_json(o.record.cell)) for name, o in _readable(here, say)}
    fresh = {name: here[name] for name in keys if keys[name].scores == here[name].record.key}
    if not fresh:
        kind = device_class(names)
        raise BenchError(
            f"{folder}: none of {len(recorded)} done cells can be verified: they were measured with other "
            f"code or libraries or on another kind of device than {kind}; check out their commit"
        )
    executor = _Executor(names, workers or default_workers(names), timeout, say)
    stored = [name for name in sorted(fresh) if _is_stored(fresh[name].record, keys[name])]
    found: list[Verified] = []
    if rescore:
        found += _rescored(stored, fresh, keys, executor)
    drawn = random.Random(seed).sample(sorted(fresh), min(sample, len(fresh)))
    found += _run_again(drawn, fresh, keys, executor)
    _write(folder, found, recorded)
    return Verification(
        tuple(found), len(here) - len(fresh), len(recorded) - len(here), len(fresh) - len(stored)
    )


@dataclass(frozen=True)
class _Executor:
    names: list[str]
    workers: int
    timeout: float | None
    say: Say

    def run(self, work: list[tuple[Cell, Keys]], cache: Path) -> dict[str, Outcome | Failure]:
        collect = _Collect(self.say)
        schedule = Schedule(work, ready=Store(cache).has)
        with LocalExecutor(
            devices=self.names, workers=self.workers, timeout=self.timeout, cache=cache
        ) as executor:
            executor.run(schedule, collect)
        return collect.outcomes


def _readable(found: Mapping[str, Outcome], say: Say) -> list[tuple[str, Outcome]]:
    """The records whose plug-ins are installed."""
    known = []
    for name, outcome in found.items():
        try:
            Identity("cpu").keys(Cell.from_json(outcome.record.cell))
        except BenchError as error:
            say(f"{Cell.from_json(outcome.record.cell).title}: cannot be verified: {error}")
            continue
        known.append((name, outcome))
    return known


def _device_of(record: Record) -> str:
    return "cpu" if record.provenance.device == "cpu" else "cuda"


def _is_stored(record: Record, keys: Keys) -> bool:
    """Whether the cache has the very reconstructions of a record, and what scoring them needs."""
    store = Store(default_cache())
    names = {stage: getattr(keys, stage) for stage in ("victim", "evaluator", "release", "reconstruction")}
    if not all(store.has(stage, key) for stage, key in names.items()):
        return False
    claimed = record.reconstruction_sha256
    checksum = store.checksum("reconstruction", keys.reconstruction)
    return store.sound("reconstruction", keys.reconstruction) and claimed in ("", checksum)


def _rescored(
    stored: Sequence[str], fresh: Mapping[str, Outcome], keys: Mapping[str, Keys], executor: _Executor
) -> list[Verified]:
    cache = default_cache()
    apart = {
        name: replace(keys[name], scores=sha256(f"verify {keys[name].scores}".encode())) for name in stored
    }
    store = Store(cache)
    try:
        work = [(Cell.from_json(fresh[name].record.cell), apart[name]) for name in stored]
        again = executor.run(work, cache)
    finally:
        for one in apart.values():
            store.drop("scores", one.scores)
    return [_judge(fresh[name], again.get(name), "recomputed") for name in stored]


def _run_again(
    drawn: Sequence[str], fresh: Mapping[str, Outcome], keys: Mapping[str, Keys], executor: _Executor
) -> list[Verified]:
    if not drawn:
        return []
    default_cache().mkdir(parents=True, exist_ok=True)
    empty = Path(tempfile.mkdtemp(prefix="verify-", dir=default_cache()))
    try:
        work = [(Cell.from_json(fresh[name].record.cell), keys[name]) for name in drawn]
        again = executor.run(work, empty)
    finally:
        shutil.rmtree(empty, ignore_errors=True)
    return [_judge(fresh[name], again.get(name), "re-run") for name in drawn]


def _judge(recorded: Outcome, again: Outcome | Failure | None, badge: Badge) -> Verified:
    if isinstance(again, Outcome):
        compare = same_scores if badge == "recomputed" else same_results
        return Verified(recorded.record, badge, compare(recorded.rows, again.rows))
    reason = "no result" if again is None else f"{again.status}: {again.reason}"
    return Verified(recorded.record, badge, Agreement(False, reason=reason))


def _write(folder: Path, found: Sequence[Verified], recorded: Mapping[str, Outcome]) -> None:
    """Adds what was found to what earlier checks have found of records that are still the same."""
    path = folder / FILE
    cells: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        cells = dict(json.loads(path.read_bytes()).get("cells"))
    kept = {
        name: item
        for name, item in cells.items()
        if name in recorded and isinstance(item, dict) and item.get("key") == recorded[name].record.key
    }
    for one in found:
        before = kept.get(one.record.id, {})
        if one.badge == "recomputed" and before.get("badge") == "re-run" and one.agreement.agrees:
            continue  # the stronger check still holds
        kept[one.record.id] = {
            "key": one.record.key,
            "badge": one.badge,
            "agrees": one.agreement.agrees,
            "identical": one.agreement.identical,
            "reason": one.agreement.reason,
        }
    text = json.dumps({"cells": kept}, sort_keys=True, indent=1)
    write_atomic(path, f"{text}\n".encode())
