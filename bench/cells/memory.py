"""Memory: the peak of one stage, the most that a worker may take, and sizes as users write them."""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.errors import UsageError

if TYPE_CHECKING:
    import torch

LIMIT_VARIABLE = "BENCH_WORKER_MEMORY_MB"
_MIB = 1024 * 1024
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([KMG])")


def reset_peak(device: torch.device) -> None:
    """Starts a new measurement, where the system can."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # Linux; elsewhere the peak is that of the process's life
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device) -> float:
    """The peak since the last reset, in MiB."""
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / _MIB, 1)
    with suppress(OSError):
        text = Path("/proc/self/status").read_text()
        if match := re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE):
            return round(int(match[1]) / 1024, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB, 1)


def parse_memory(text: str) -> int:
    """Bytes of ``500M``, ``2G`` or ``1.5G``.

    Raises:
        UsageError: the text has another form.
    """
    match = _FORM.fullmatch(text.strip())
    size = float(match.group(1)) * _UNITS[match.group(2)] if match else 0.0
    if size < 1:
        raise UsageError(f"memory {text!r}: write a size with its unit, like 500M or 2G")
    return int(size)


def limit_memory(device: torch.device) -> None:
    """Lets a plug-in that allocates without end fail alone, and not the machine with it.

    On a CPU a worker may take nine tenths of what is available when it starts, or as much as
    ``$BENCH_WORKER_MEMORY_MB`` says. CUDA reserves addresses far beyond what it uses, so there a worker is
    only the first that the kernel kills when memory runs out. Does nothing where the system does not say
    what is available.
    """
    with suppress(OSError):  # Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    if device.type != "cpu":
        return
    with suppress(OSError, ValueError):
        if chosen := os.environ.get(LIMIT_VARIABLE):
            limit = int(chosen) * _MIB
        else:
            found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
            if found is None:
                return
            limit = int(found[1]) * 1024 * 9 // 10
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
