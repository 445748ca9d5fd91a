"""Peak memory of one stage: of the GPU where there is one, else of the process."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MIB = 1024 * 1024


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
