"""Which code and libraries, on what machine: the part of a record that lets a reader repeat it."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import bench
from bench.runs.identity import package_version
from bench.runs.record import Provenance

_CHECKOUT = Path(bench.__file__).resolve().parent.parent


def _git(*arguments: str) -> str | None:
    """The output of a git command in the checkout; None without git or outside a checkout."""
    command = ["git", "-C", str(_CHECKOUT), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@cache
def _commit() -> tuple[str, bool]:
    # A wheel may sit in somebody else's repository: only a checkout with our own package at its root counts.
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != _CHECKOUT:
        return "", False
    return _git("rev-parse", "HEAD") or "", bool(_git("status", "--porcelain", "--", "*.py", "*.toml"))


def provenance(device: str, threads: int = 1) -> Provenance:
    """Everything but the results, as of now; ``commit`` is empty where the code is not in a git checkout."""
    commit, dirty = _commit()
    return Provenance(
        bench=bench.__version__,
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=package_version("torch"),
        torchvision=package_version("torchvision"),
        numpy=package_version("numpy"),
        lpips=package_version("lpips"),
        device=device,
        threads=threads,
        platform=platform.platform(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
