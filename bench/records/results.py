"""The folder of a run, and the order in which things are written to it.

``records/<id>.json`` is the commit mark of a cell: it is written last. The rows of its images wait in
``records/.rows/`` under the fingerprint of that very record until :meth:`Results.fold` has merged them into
``images.csv.gz``. So a crash at any moment leaves a cell either finished or not begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.records.files import default_cache, disk, read_regular, sha256, write_atomic
from bench.records.outcome import Outcome
from bench.records.record import (
    CorruptRecordError,
    Record,
    Status,
    decode_record,
    fingerprint,
    read_record,
    record_bytes,
)
from bench.records.rows import (
    KEYS,
    MOST_BYTES,
    PLACE,
    CorruptRowsError,
    Row,
    decode,
    digest,
    encode,
    key_of,
    pack,
    read_packed,
)

RUNS = Path("runs")
"""Below it, every run that names no folder has its own: published results are written only by name."""
CONFIRMATION = "confirmation"
"""In a results folder: the records of the fresh seeds, a results folder of their own."""
FIX = "bench run measures what is missing again"
_MOST_SHEET = 1 << 24


def parts(folder: Path) -> tuple[Path, ...]:
    """A results folder, and that of its fresh seeds where it has one."""
    fresh = folder / CONFIRMATION
    return (folder, fresh) if (fresh / "records").is_dir() else (folder,)


def _places(rows: Iterable[Row]) -> list[Row]:
    """Release and image of each row, in order."""
    return sorted(row[len(KEYS) : len(KEYS) + len(PLACE)] for row in rows)


def _expected(record: Record) -> list[Row]:
    """What :func:`_places` must be of a record's rows."""
    if record.status is not Status.DONE:
        return [("", "")]
    cell = record.asked
    return sorted((str(n), str(b)) for n in range(cell.releases) for b in range(cell.batch_size))


def _writer_lives(path: Path) -> bool:
    """Whether the process that a temporary file is named after, ``.<name>.<pid>.part``, is still there."""
    number = path.name.split(".")[-2]
    if not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


class Results:
    """One results folder.

    Args:
        folder: made when something is written.
        warn: is told of every damaged file.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda message: None) -> None:
        self.folder = folder
        self._records = folder / "records"
        self._pending = self._records / ".rows"
        self._sheets = folder / "sheets"
        self._images = folder / "images.csv.gz"
        self._tell = warn
        self._told: set[str] = set()

    def sound(self) -> dict[str, Record]:
        """Every record that can be read, by cell id, whether or not its rows are there.

        Raises:
            NewerRecordError: a newer version of this package has written here; so do all that follow.
        """
        return {record.id: record for record, _ in self._sound_records()}

    def records(self) -> dict[str, Record]:
        """The record of every cell that is whole, by cell id."""
        return {record.id: record for record, _ in self.whole()}

    def record(self, name: str) -> Record | None:
        """The record of a cell as it is now; None if there is none, or none that can be trusted."""
        try:
            return read_record(self._records / f"{name}.json")
        except (OSError, CorruptRecordError):
            return None

    def outcomes(self) -> Iterator[Outcome]:
        """Every cell that is whole: its record, all of its rows, and its sheet; reads only."""
        for record, rows in self.whole():
            yield Outcome(record, rows, self._sheet(record.id))

    def whole(self) -> Iterator[tuple[Record, tuple[Row, ...]]]:
        """The record and the rows of every cell of which nothing is missing or altered; reads only.

        Its rows are the folded ones, or those that wait.
        """
        folded: dict[Row, list[Row]] = {}
        for row in self._folded():
            folded.setdefault(row[: len(KEYS)], []).append(row)
        wrong: list[str] = []
        for record, mark in self._sound_records():
            rows = self._waiting(self._pending / f"{record.id}.{mark}.csv")
            if rows is None:
                rows = folded.get(key_of(record.asked), [])
            if _places(rows) == _expected(record) and record.rows_sha256 in ("", digest(rows)):
                yield record, tuple(rows)
            else:
                wrong.append(record.asked.title)
        if wrong:
            count = f"cells whose rows are missing or not those that were measured: {len(wrong)}"
            self._warn(f"{self._images}: {count} (the first: {wrong[0]}); {FIX}")

    def commit(self, outcome: Outcome) -> None:
        """Writes a cell: sheet, rows, and last the record. Whatever was there of the same cell is replaced.

        Raises:
            DiskFullError: nothing of this cell counts as written.
        """
        record, data = outcome.record, outcome.record.encode()
        sheet = self._sheets / f"{record.id}.png"
        with self._locked():
            if outcome.sheet is not None:
                write_atomic(sheet, outcome.sheet)
            else:
                sheet.unlink(missing_ok=True)
            write_atomic(self._pending / f"{record.id}.{fingerprint(data)}.csv", encode(outcome.rows))
            write_atomic(self._records / f"{record.id}.json", data)

    def fold(self) -> None:
        """Merges the waiting rows into ``images.csv.gz`` and drops rows that no record stands behind.

        Raises:
            DiskFullError: the rows still wait and nothing is lost.
        """
        if not self._records.is_dir():
            return
        with self._locked():
            waiting = list(self._pending.glob("*.csv"))
            packed = pack(row for _, rows in self.whole() for row in rows)
            if not self._images.is_file() or self._images.read_bytes() != packed:
                write_atomic(self._images, packed)
            for path in waiting:
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self._pending.rmdir()

    def sweep(self) -> None:
        """Removes what writers left behind that were killed in the middle of a file."""
        if not any(folder.is_dir() for folder in (self._records, self._sheets)):  # a sheet is written first
            return
        with self._locked():  # so that no other run is in the middle of a commit
            for folder in (self.folder, self._records, self._pending, self._sheets, self.folder / "figures"):
                for path in folder.glob(".*.part"):
                    if not _writer_lives(path):
                        path.unlink(missing_ok=True)

    def remove(self, ids: Iterable[str]) -> None:
        """Takes cells out of the folder, record first; the next fold drops their rows."""
        with self._locked():
            for name in ids:
                (self._records / f"{name}.json").unlink(missing_ok=True)
                (self._sheets / f"{name}.png").unlink(missing_ok=True)

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _sound_records(self) -> Iterator[tuple[Record, str]]:
        """Records and the fingerprints of their files."""
        if self._records.is_dir():
            os.listdir(self._records)  # glob takes a folder that may not be read for an empty one
        for path in sorted(self._records.glob("*.json")):
            try:
                data = record_bytes(path)
                yield decode_record(data, path), fingerprint(data)
            except FileNotFoundError:
                continue  # another process has just removed it
            except CorruptRecordError as error:
                self._warn(f"{error}\n{path}: damaged, does not count; {FIX}")
            except OSError as error:
                self._warn(f"{path}: cannot be read ({error.strerror}), does not count; make it readable")

    def _folded(self) -> list[Row]:
        try:
            return decode(read_packed(self._images), str(self._images))
        except FileNotFoundError:
            return []
        except CorruptRowsError as error:
            self._warn(f"{error}\n{self._images}: damaged, {FIX}")
            return []

    def _waiting(self, path: Path) -> list[Row] | None:
        try:
            return decode(read_regular(path, MOST_BYTES), str(path))
        except FileNotFoundError:
            return None
        except (CorruptRowsError, OSError) as error:
            self._warn(f"{error}\n{path}: damaged, {FIX}")
            return None

    def _sheet(self, name: str) -> bytes | None:
        """A contact sheet; never what a link points to, which may be any file of whoever merges."""
        path = self._sheets / f"{name}.png"
        try:
            return read_regular(path, _MOST_SHEET, links=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"{path}: left out, as it is no picture ({error.strerror})")
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time; the lock lies in the cache, so that the folder holds results only."""
        from filelock import FileLock

        locks = default_cache() / "locks"
        with disk(locks):
            locks.mkdir(parents=True, exist_ok=True)
        name = sha256(str(self.folder.resolve()).encode())[:32]
        lock = FileLock(locks / f"results-{name}.lock")
        with disk(locks):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
