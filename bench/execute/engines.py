"""Where the work is done: this machine, or a Ray cluster; and which devices and workers that gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.api.errors import UsageError
from bench.execute.devices import default_workers, devices
from bench.execute.executor import Executor
from bench.execute.local import LocalExecutor
from bench.execute.options import RunOptions

ENGINES = ("local", "ray")


def engine_devices(engine: str, device: str, address: str | None) -> list[str]:
    """The devices that the workers of an engine share.

    Args:
        engine: one of :data:`ENGINES`.
        device: ``auto``, ``cpu``, ``cuda`` or, on this machine, ``cuda:0,1``.
        address: of the cluster; None starts one on this machine.

    Raises:
        UsageError: the device is not there.
    """
    return devices(device) if engine == "local" else _cluster_devices(device, address)


def engine_workers(engine: str, names: list[str]) -> int:
    """How many workers an engine has for its devices: those of a cluster are packed by declared memory."""
    if engine == "local":
        return default_workers(names)
    from bench.execute.ray.cluster import resources

    return max(1, int(resources().get("CPU", 1)))


def make_executor(options: RunOptions, *, devices: list[str], workers: int, cache: Path) -> Executor:
    """The executor of an engine in :data:`ENGINES`.

    Args:
        options: name the engine, the limit of time and of memory.
        devices: names of the devices that the workers share.
        workers: how many at most.
        cache: folder of the store.

    Raises:
        UsageError: there is no such engine.
    """
    limits: dict[str, Any] = {"timeout": options.timeout, "memory": options.memory}
    if options.engine == "local":
        return LocalExecutor(devices=devices, workers=workers, cache=cache, **limits)
    if options.engine == "ray":
        from bench.execute.ray.executor import RayExecutor

        return RayExecutor(devices=devices, workers=workers, cache=cache, **limits)
    raise UsageError(f"engine {options.engine!r}: write {' or '.join(ENGINES)}")


def _cluster_devices(text: str, address: str | None) -> list[str]:
    """The device class of a cluster's workers, as a list of one name; a GPU is always the worker's first.

    Args:
        text: ``auto``, ``cpu`` or ``cuda``.
        address: of the cluster; None starts one on this machine.

    Raises:
        UsageError: the text has another form, or the cluster has no GPU.
    """
    from bench.execute.ray.cluster import connect, resources

    if text not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {text!r}: write auto, cpu or cuda; the cluster picks the GPUs")
    connect(address)
    has = resources().get("GPU", 0) >= 1
    if text == "cuda" and not has:
        raise UsageError("device 'cuda': no node of the cluster has a GPU")
    return ["cuda:0" if has and text != "cpu" else "cpu"]
