"""Whether a run can write what it will have computed, asked before it computes anything."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from bench.api.errors import UsageError
from bench.records.files import DiskFullError

_CACHE = "let BENCH_CACHE name a folder that can be written"
_OUT = "name another folder with --out"


def check_places(out: Path, cache: Path) -> None:
    """Makes sure that neither folder is, or lies below, something that is no folder; writes nothing.

    Raises:
        UsageError: one does.
    """
    for folder, fix in ((out, _OUT), (cache, _CACHE)):
        try:
            nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
            if nearest.exists() and not nearest.is_dir():
                raise UsageError(f"{folder}: {nearest} is no folder; {fix}")
        except OSError as error:
            raise UsageError(f"{folder}: {error.strerror}; {fix}") from None


def make_writable(out: Path, cache: Path) -> None:
    """Makes both folders, and tries to write into them and into what a run before has left in ``out``.

    Raises:
        DiskFullError: there is no space.
        UsageError: one cannot be written for another reason.
    """
    inside = [path for path in (out / "records", out / "sheets", out / "figures") if path.is_dir()]
    for folder, fix in ((cache, _CACHE), *((path, _OUT) for path in (out, *inside))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError.at(folder, error.errno) from None
            raise UsageError(f"{folder} cannot be written: {error.strerror}; {fix}") from None
