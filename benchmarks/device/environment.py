"""Stage: what machine this is, and whether everything that the project needs is there."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.device.book import MEASURED
from benchmarks.device.collect import CHECKOUT, requirements
from benchmarks.device.supervise import begin, report

KEY = "machine"


def main(device: str) -> None:
    """One row."""
    begin(KEY)
    report({"key": KEY, "status": MEASURED, "reason": "", **described(device)})


def described(device: str) -> dict[str, Any]:
    """The machine, the libraries and the weights of LPIPS."""
    import torch

    from bench.cells.determinism import make_deterministic
    from bench.metrics.lpips_weights import MissingWeights, find_weights
    from bench.records.provenance import machine, processor, provenance

    place = torch.device(device)
    make_deterministic(place)
    here = machine(place)
    origin = provenance(here)
    try:
        find_weights("alex")
        weights = "the published AlexNet trunk"
    except MissingWeights as error:
        weights = f"missing: {error}".partition(";")[0]
    return {
        "device": here.device,
        "device_memory_mb": torch.cuda.get_device_properties(place).total_memory // 2**20
        if place.type == "cuda"
        else None,
        "driver": here.driver,
        "cuda": here.cuda,
        "cudnn": here.cudnn,
        "tf32": "on" if here.determinism and here.determinism.tf32 else "off",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        "commit": f"{origin.commit or 'not known'}{' with changes' if origin.dirty else ''}",
        "lpips_weights": weights,
        "libraries": libraries(),
    }


def libraries() -> dict[str, str]:
    """The version of every dependency, or ``missing``."""
    found = {}
    for name in requirements(CHECKOUT / "pyproject.toml"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


if __name__ == "__main__":
    main(sys.argv[1])
