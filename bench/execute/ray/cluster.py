"""A Ray cluster: joining it, and what it has."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from bench.api.errors import UsageError
from bench.execute.executor import ENVIRONMENT
from bench.plugins import attack_card

_PASSED_ON = ("BENCH_", "PYTHONPATH")


def connect(address: str | None) -> None:
    """Joins a cluster, or starts one on this machine that only this machine can reach.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("engine ray: Ray is not installed; pip install 'inversion-bench[ray]'") from None
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    passed = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {**passed, **ENVIRONMENT}},
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray.init(_node_ip_address="127.0.0.1", include_dashboard=False, **options)
        return
    try:
        ray.init(address=address, _node_ip_address=_own_address(address), **options)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"address {address!r}: no Ray cluster answers there: {first}") from None


def _own_address(address: str) -> str | None:
    """Where this process is a node of the cluster: found by Ray, except on the loopback network."""
    host = address.rpartition(":")[0]
    return host if host.startswith("127.") else None


def resources() -> Mapping[str, float]:
    """What the cluster has in all: ``CPU``, ``GPU``, ..."""
    import ray

    found: dict[str, float] = ray.cluster_resources()
    return found


def gpu_share(attacks: Iterable[str], memory_mb: float) -> float:
    """How much of a GPU a worker needs that may get any of these attacks.

    Args:
        attacks: names.
        memory_mb: memory of the smallest GPU.

    Returns:
        1 if a card does not say what its attack takes, else a fraction that Ray can count with.
    """
    needs = [attack_card(name).gpu_memory_mb for name in set(attacks)]
    known = [need for need in needs if need is not None]
    if not known or len(known) < len(needs):
        return 1.0
    return min(1.0, math.ceil(max(known) / memory_mb * 1e4) / 1e4)
