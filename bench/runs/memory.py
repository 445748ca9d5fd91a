"""Memory: the peak of one stage, of the GPU or else of the process, and sizes as users write them."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.errors import UsageError

if TYPE_CHECKING:
    import torch

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
