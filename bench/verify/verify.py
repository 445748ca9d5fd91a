"""Checking somebody's numbers: pictures looked at, reconstructions scored again, cells run again.

What the last two find is written to ``verification.json``, from which the tables take their badges.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.errors import BenchError
from bench.cache.keys import Identity, forget_digests
from bench.cache.store import Store
from bench.execute.devices import default_workers, device_class, devices
from bench.execute.local import LocalExecutor
from bench.execute.schedule import Schedule
from bench.matrix.cells import Cell
from bench.records.files import default_cache, sha256
from bench.records.outcome import Failure, Keys, Outcome
from bench.records.record import Record, Status
from bench.records.record_fields import Provenance
from bench.records.results import Results
from bench.records.sheet_check import sheet_agrees
from bench.verify.agreement import Agreement, same_results, same_scores
from bench.verify.badges import Badge, Verified, write_badges
from bench.verify.collect import Collect, Say
from bench.verify.contradictions import contradictions, equal
from bench.verify.cover import cover
from bench.verify.external_inputs import untrusted

if TYPE_CHECKING:
    from bench.verify.independent import Independent


@dataclass(frozen=True)
class Verification:
    """What a check found.

    Attributes:
        cells: what was checked.
        stale: done cells that other code than today's has measured; they are not scored again.
        elsewhere: done cells of another class of device than this machine's.
        unstored: done cells whose reconstructions are not in the cache.
        foreign: networks and paths that records name and the user has not; their cells were left alone.
        pictures: done cells with a contact sheet.
        contradicted: titles of those whose sheet says something else than their rows.
        independent: what scoring by others' code found, where it was asked for.
        damaged: what was said of files that are damaged or altered; their cells were left out.
    """

    cells: tuple[Verified, ...]
    stale: int
    elsewhere: int
    unstored: int
    foreign: tuple[str, ...]
    pictures: int
    contradicted: tuple[str, ...]
    independent: Independent | None = None
    damaged: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing that was checked disagrees."""
        if self.damaged or self.contradicted or (self.independent and not self.independent.sound):
            return False
        return all(one.agreement.agrees for one in self.cells)


def verify(
    folder: Path,
    *,
    sample: int | None,
    seed: int,
    rescore: bool = True,
    independent: bool = False,
    device: str = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    trusted: Collection[str] = (),
    say: Say = lambda text: None,
) -> Verification:
    """Checks a results folder and writes what was found into it.

    Args:
        folder: the results folder.
        sample: how many cells to run again from nothing, victim included, with today's code whatever code
            measured them; drawn among all that can be. None: so many that each attack, each defense and each
            setting stands in one.
        seed: of the draw.
        rescore: score every reconstruction in the cache again.
        independent: also score them by code of others.
        device: as for a run; records of the other class of device are not checked.
        workers: processes.
        timeout: seconds that one task may take.
        trusted: networks and paths of users' own that may be loaded, as the records spell them.
        say: is told of damaged files, and now and then how far the work is.

    Raises:
        BenchError: nothing in the folder can be checked.
        DiskFullError: there is no space for the work.
    """
    forget_digests()
    names = devices(device)
    identity = Identity(device_class(names))
    damaged: list[str] = []

    def warn(text: str) -> None:
        damaged.append(text)
        say(text)

    recorded = {o.record.id: o for o in Results(folder, warn).outcomes() if o.record.status is Status.DONE}
    here = {k: o for k, o in recorded.items() if _device_of(o.record) == device_class(names)}
    foreign: set[str] = set()
    keys = {name: identity.keys(o.record.asked) for name, o in _readable(here, trusted, foreign, say)}
    fresh = {name: here[name] for name in keys if keys[name].scores == here[name].record.key}
    if not keys:
        raise BenchError(_nothing(folder, len(recorded), device_class(names), foreign))
    executor = _Executor(names, workers or default_workers(names), timeout, say)
    stored = [name for name in sorted(fresh) if _is_stored(fresh[name].record, keys[name])]
    # A worker keeps the images of one data set and seed: in any other order most cells would load theirs.
    stored.sort(key=lambda name: (_images_of(fresh[name].record.asked), keys[name].victim))
    others = _by_others([here[name] for name in keys], say) if independent else None
    found: list[Verified] = []
    if rescore:
        found += _rescored(stored, fresh, keys, executor)
    draw = random.Random(seed)
    if sample is None:
        drawn = cover({name: here[name].record.asked for name in keys}, draw)
    else:
        drawn = draw.sample(sorted(keys), min(sample, len(keys)))
    found += _run_again(drawn, here, keys, executor)
    write_badges(folder, found, recorded)
    pictures = {name: outcome.sheet for name, outcome in recorded.items() if outcome.sheet is not None}
    wrong = [name for name, data in pictures.items() if not sheet_agrees(data, recorded[name].rows)]
    return Verification(
        cells=tuple(found),
        stale=len(keys) - len(fresh),
        elsewhere=len(recorded) - len(here),
        unstored=len(fresh) - len(stored),
        foreign=tuple(sorted(foreign)),
        pictures=len(pictures),
        contradicted=tuple(recorded[name].record.asked.title for name in wrong),
        independent=others,
        damaged=tuple(damaged),
    )


@dataclass(frozen=True)
class _Executor:
    names: list[str]
    workers: int
    timeout: float | None
    say: Say

    def run(self, what: str, work: list[tuple[Record, Keys]], cache: Path) -> dict[str, Outcome | Failure]:
        """Measures the cells of records, each against as many images as its record."""
        collect = Collect(self.say, what, len(work))
        by_pool: dict[int | None, list[tuple[Cell, Keys]]] = {}
        for record, keys in work:
            by_pool.setdefault(record.pool, []).append((record.asked, keys))
        for pool, cells in by_pool.items():
            schedule = Schedule(cells, ready=Store(cache).has)
            with LocalExecutor(
                devices=self.names, workers=self.workers, timeout=self.timeout, cache=cache, pool=pool
            ) as executor:
                executor.run(schedule, collect)
        return collect.outcomes


def _readable(
    found: Mapping[str, Outcome], trusted: Collection[str], foreign: set[str], say: Say
) -> Iterator[tuple[str, Outcome]]:
    """The records whose plug-ins are installed, and which load nothing that the user has not named."""
    for name, outcome in found.items():
        cell = outcome.record.asked
        try:
            if strange := untrusted(cell, trusted):
                foreign.update(strange)
                continue
            Identity("cpu").keys(cell)
        except BenchError as error:
            say(f"{cell.title}: cannot be verified: {error}")
            continue
        yield name, outcome


def _nothing(folder: Path, count: int, kind: str, foreign: Collection[str]) -> str:
    why = f"they were measured on another kind of device than {kind}, or plug-ins of theirs are missing here"
    if foreign:
        why = f"they load {', '.join(sorted(foreign))}, or {why}. If you trust these: --trust TEXT for each"
    return f"{folder}: none of {count} done cells can be verified: {why}"


def _images_of(cell: Cell) -> tuple[str, int]:
    return cell.dataset.label, cell.seed


def _device_of(record: Record) -> str:
    return "cpu" if record.provenance.device == "cpu" else "cuda"


def _is_stored(record: Record, keys: Keys) -> bool:
    """Whether the cache has the very reconstructions of a record, and what scoring them needs."""
    store = Store(default_cache())
    needed = ("victim", "evaluator", "generator", "release", "reconstruction")
    names = {stage: getattr(keys, stage) for stage in needed}
    if not all(store.has(stage, key) for stage, key in names.items() if key):
        return False
    claimed = record.reconstruction_sha256
    checksum = store.checksum("reconstruction", keys.reconstruction)
    return store.sound("reconstruction", keys.reconstruction) and claimed in ("", checksum)


def _by_others(outcomes: Sequence[Outcome], say: Say) -> Independent:
    from bench.verify.independent import score_independently  # loads what only this needs

    return score_independently(outcomes, Store(default_cache()), say)


def _rescored(
    stored: Sequence[str], fresh: Mapping[str, Outcome], keys: Mapping[str, Keys], executor: _Executor
) -> list[Verified]:
    apart = {
        name: replace(keys[name], scores=sha256(f"verify {keys[name].scores}".encode())) for name in stored
    }
    store = Store(default_cache())
    try:
        work = [(fresh[name].record, apart[name]) for name in stored]
        again = executor.run("scored again", work, default_cache())
    finally:
        for one in apart.values():
            store.drop("scores", one.scores)
    return [_compared(fresh[name], again.get(name), "recomputed") for name in stored]


def _run_again(
    drawn: Sequence[str], recorded: Mapping[str, Outcome], keys: Mapping[str, Keys], executor: _Executor
) -> list[Verified]:
    if not drawn:
        return []
    default_cache().mkdir(parents=True, exist_ok=True)
    empty = Path(tempfile.mkdtemp(prefix="verify-", dir=default_cache()))
    try:
        work = [(recorded[name].record, keys[name]) for name in drawn]
        again = executor.run("run again", work, empty)
    finally:
        shutil.rmtree(empty, ignore_errors=True)
    return [_compared(recorded[name], again.get(name), "re-run") for name in drawn]


def _compared(recorded: Outcome, again: Outcome | Failure | None, badge: Badge) -> Verified:
    if isinstance(again, Outcome):
        compare = same_scores if badge == "recomputed" else same_results
        found = compare(recorded.rows, again.rows)
        measured = again.record
        if measured.key != recorded.record.key:  # with other code its stages have other names
            measured = measured.model_copy(update={"stages": recorded.record.stages})
        if wrong := contradictions(recorded.record, measured, badge):
            reason = "; ".join(filter(None, (found.reason, *wrong)))
            found = replace(found, agrees=False, identical=False, reason=reason)
        identical = found.identical and equal(recorded.record, measured)
        then, now = (_processor(one.provenance) for one in (recorded.record, measured))
        processors = (then, now) if then != now else None
        return Verified(recorded.record, badge, replace(found, identical=identical), processors)
    reason = "no result" if again is None else f"{again.status}: {again.reason}"
    return Verified(recorded.record, badge, Agreement(False, reason=reason))


def _processor(made: Provenance) -> str:
    """What decides how torch rounds on a CPU."""
    return f"{made.processor or 'unknown'} ({made.instructions or 'unknown'})"
