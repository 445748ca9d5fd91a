"""Which devices there are, found out without importing torch into this process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bench.api.errors import UsageError

_DRIVERS = ("nvidia[0-9]*", "dxg", "kfd")
_PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


def gpus() -> int:
    """How many GPUs torch can use; starts it (in another process) only if the machine has a driver."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in _DRIVERS):
        return 0
    result = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    return int(result.stdout) if result.returncode == 0 and result.stdout.strip().isdigit() else 0


def devices(text: str) -> list[str]:
    """Resolves ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1`` into one name per device.

    Raises:
        UsageError: the text has another form, or a GPU is not there.
    """
    if text == "cpu":
        return ["cpu"]
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", text)
    if text != "auto" and not match:
        raise UsageError(f"device {text!r}: write auto, cpu, cuda or cuda:0,1")
    count = gpus()
    if text == "auto" and not count:
        return ["cpu"]
    wanted = [int(item) for item in match[1].split(",")] if match and match[1] else list(range(count))
    if not count or max(wanted) >= count:
        raise UsageError(f"device {text!r}: torch sees {count} GPUs; `bench doctor` says more")
    return [f"cuda:{number}" for number in wanted]


def device_class(names: list[str]) -> str:
    """``cpu`` or ``cuda``: results of the two are not mixed."""
    return names[0].partition(":")[0]


def default_workers(names: list[str]) -> int:
    """One per GPU, or one per core that this process may use."""
    if device_class(names) == "cuda":
        return len(names)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
