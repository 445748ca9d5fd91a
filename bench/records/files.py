"""Files that are either complete or not there, and a clear word when the disk is full."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.api.errors import BenchError, UsageError

_REFUSED = {
    errno.ENOSPC: "no space left on {}: free space",
    errno.EDQUOT: "the quota of {} is used up: free space",
    errno.EROFS: "{} is on a read-only file system: mount it for writing or name another folder",
}


def default_cache() -> Path:
    """``$BENCH_CACHE``, else ``.cache/bench`` in the checkout, else the user's cache directory.

    Raises:
        UsageError: the path begins with ``~``, and there is no such home.
    """
    if chosen := os.environ.get("BENCH_CACHE"):
        return _from_home(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "attacks").is_dir():
        return checkout / ".cache" / "bench"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _from_home(home) / "inversion-bench"


def _from_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        fix = "let BENCH_CACHE name a folder that can be written"
        raise UsageError(f"the cache {path} is below a home folder that is not there: {fix}") from None


class DiskFullError(BenchError):
    """Nothing more can be written; everything finished before is intact.

    Attributes:
        code: the system's error number.
    """

    code: int = errno.ENOSPC

    @classmethod
    def at(cls, path: Path, code: int = errno.ENOSPC) -> DiskFullError:
        """The error for a file or folder that could not be written, by the system's error number."""
        folder = path if path.is_dir() else path.parent
        error = cls(f"{_REFUSED[code].format(folder)} and run the same command again")
        error.code = code
        return error


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns "no space left", "quota exceeded" and "read-only file system" into a :class:`DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            raise DiskFullError.at(path, error.errno) from error
        raise


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until its bytes are on the disk."""
    with disk(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder survive a power cut; a no-op where folders cannot be opened."""
    with suppress(PermissionError, NotADirectoryError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems refuse to sync folders
                os.fsync(handle)
        finally:
            os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces a file: readers, and a crash at any moment, see the old content or the new, never a part.

    Raises:
        DiskFullError: there is no space; the old content is still there.
    """
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            write_synced(part, data)
            os.replace(part, path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    sync_folder(path.parent)


def read_regular(path: Path, most: int, *, links: bool = True) -> bytes:
    """The bytes of a file that somebody else may have put there.

    Args:
        path: the file.
        most: bytes that such a file may have.
        links: whether the path may be a symbolic link.

    Raises:
        FileNotFoundError: there is nothing.
        OSError: it is a folder, a pipe, a device, a link that may not be one, or too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    handle = os.open(path, flags)  # a pipe that nobody writes to would block an ordinary open for ever
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(handle)


def sha256(data: bytes) -> str:
    """The checksum by which all files of this package are recognised."""
    return hashlib.sha256(data).hexdigest()
