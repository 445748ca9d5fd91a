"""The cache of stages: tensors and facts under their content address.

``<cache>/<stage>/<key[:2]>/<key>/`` holds ``tensors.safetensors`` and ``meta.json``. An entry appears by one
rename of a finished folder. Its checksum is verified whenever it is read: what does not match is removed with
a warning that names the file, and computed again. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.files import DiskFullError, disk, sha256, sync_folder, write_synced
from bench.records.outcome import Keys

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "tensors.safetensors"
META = "meta.json"


@dataclass(frozen=True)
class Stored:
    """The result of one stage.

    Attributes:
        tensors: by name, on the CPU; their order is part of the result.
        meta: facts as JSON: numbers, texts, lists.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors called ``prefix.<name>``, by name."""
        start = f"{prefix}."
        return {name[len(start) :]: value for name, value in self.tensors.items() if name.startswith(start)}


class _Damaged(Exception):
    """An entry that is there but cannot be trusted; the message names the file."""


class Store:
    """The cache, and what is told about it.

    Args:
        root: the folder of the cache; made when something is stored.
        warn: is told of every damaged entry.
        waiting: is told with True that another process computes what is wanted, and with False when it has
            ended, so that time spent waiting is nobody's time limit.
    """

    def __init__(
        self,
        root: Path,
        *,
        warn: Callable[[str], None] = lambda message: None,
        waiting: Callable[[bool], None] = lambda begun: None,
    ) -> None:
        self.root = root
        self._warn = warn
        self._waiting = waiting

    def folder(self, stage: str, key: str) -> Path:
        """Where the entry is, if it is."""
        return self.root / stage / key[:2] / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the entry is there; whether it is sound is seen when it is read."""
        return (self.folder(stage, key) / META).is_file()

    def checksum(self, stage: str, key: str) -> str:
        """The sha256 of an entry's tensors as it says; empty if there is none, or none that can be read."""
        try:
            return str(json.loads((self.folder(stage, key) / META).read_bytes())["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def sound(self, stage: str, key: str) -> bool:
        """Whether the entry is there and its bytes are what they were when it was stored."""
        try:
            data = (self.folder(stage, key) / TENSORS).read_bytes()
        except OSError:
            return False
        return sha256(data) == self.checksum(stage, key)

    def sweep(self) -> None:
        """Removes what writers left behind that were killed in the middle of an entry."""
        from filelock import FileLock, Timeout

        for part in self.root.glob("*/*/.*.part"):
            key = part.name.removeprefix(".").removesuffix(".part")
            with suppress(Timeout), FileLock(self._lock_file(part.parent.parent.name, key), timeout=0):
                shutil.rmtree(part, ignore_errors=True)

    def _lock_file(self, stage: str, key: str) -> Path:
        return self.root / "locks" / f"{stage}-{key}.lock"

    def drop(self, stage: str, key: str) -> None:
        """Forgets one entry."""
        with self._locked(stage, key):
            shutil.rmtree(self.folder(stage, key), ignore_errors=True)

    def get_or_compute(self, stage: str, key: str, compute: Callable[[], Stored]) -> Stored:
        """The entry, computed and stored first if it is missing or damaged.

        Two processes that want the same entry compute it once: the other one waits. What has just been
        computed is read back like everything else: a resumed run must go on from the very same tensors.

        Raises:
            DiskFullError: the result could not be stored.
        """
        if (found := self.read(stage, key)) is not None:
            return found
        with self._locked(stage, key):
            if (found := self.read(stage, key, mend=True)) is not None:
                return found
            self._write(stage, key, compute())
            return _load(self.folder(stage, key))

    def discard(self, keys: Keys) -> None:
        """Forgets all stages of a cell; what other cells share of them goes too."""
        for stage, key in asdict(keys).items():
            self.drop(stage, key)

    @contextmanager
    def _locked(self, stage: str, key: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        locks = self.root / "locks"
        with disk(locks):
            locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_file(stage, key))
        try:
            with disk(locks):
                lock.acquire(timeout=0)
        except Timeout:
            self._waiting(True)
            lock.acquire()
            self._waiting(False)
        try:
            yield
        finally:
            lock.release()

    def read(self, stage: str, key: str, *, mend: bool = False) -> Stored | None:
        """The entry, or None; only who holds the lock may mend, that is remove a damaged one."""
        folder = self.folder(stage, key)
        try:
            return _load(folder)
        except FileNotFoundError:
            return None
        except _Damaged as damage:
            if mend:
                self._warn(f"{damage}: damaged, removed and computed again")
                shutil.rmtree(folder, ignore_errors=True)
            return None

    def _write(self, stage: str, key: str, result: Stored) -> None:
        from safetensors.torch import save

        tensors = {name: value.detach().cpu().contiguous() for name, value in result.tensors.items()}
        blob = save(tensors)
        meta = {
            "stage": stage,
            "key": key,
            "sha256": sha256(blob),
            "names": list(tensors),
            "facts": result.meta,
        }
        final = self.folder(stage, key)
        part = final.with_name(f".{key}.part")  # ours alone: the lock is held
        try:
            shutil.rmtree(part, ignore_errors=True)
            with disk(self.root):
                part.mkdir(parents=True)
                write_synced(part / TENSORS, blob)
                write_synced(part / META, json.dumps(meta, sort_keys=True, indent=1).encode())
                sync_folder(part)
                shutil.rmtree(final, ignore_errors=True)
                os.replace(part, final)
        except DiskFullError as error:
            raise DiskFullError.at(self.root, error.code) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
        sync_folder(final.parent)


def _load(folder: Path) -> Stored:
    """Reads one entry.

    The tensors come in the order in which they were stored (the file has none, and noise is drawn parameter
    by parameter) and in memory that torch has allocated (elsewhere they may be unaligned, and kernels round
    differently).

    Raises:
        FileNotFoundError: there is none.
        _Damaged: a file is missing or altered.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    meta_path, path = folder / META, folder / TENSORS
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads(meta_path.read_bytes())
        expected, names, facts = meta["sha256"], meta["names"], meta["facts"]
        if meta["key"] != folder.name or not isinstance(facts, dict) or not isinstance(names, list):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise _Damaged(meta_path) from None
    try:
        blob = path.read_bytes()
    except OSError:
        raise _Damaged(path) from None
    if sha256(blob) != expected:
        raise _Damaged(path)
    try:
        tensors = load(blob)
    except SafetensorError:
        raise _Damaged(path) from None
    if set(names) != tensors.keys():
        raise _Damaged(meta_path)
    return Stored({name: tensors[name].clone() for name in names}, facts)
