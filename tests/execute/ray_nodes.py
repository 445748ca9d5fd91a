"""A real Ray cluster of several nodes on the loopback network of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """Nodes by address, each a process group of its own.

    Attributes:
        address: of the head, for ``--address``.
        environment: what processes need to be let in.
        folder: where the nodes write.
    """

    address: str
    environment: dict[str, str]
    folder: Path
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, host: str, *, head: bool, cpus: int = 1) -> None:
        """Starts a node and leaves it running."""
        where = ["--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false"]
        command = [
            sys.executable,
            "-c",
            "from ray.scripts.scripts import main; main()",
            "start",
            "--block",
            "--disable-usage-stats",
            f"--node-ip-address={host}",
            f"--num-cpus={cpus}",
            f"--object-store-memory={100 * 2**20}",
            *([*where, f"--temp-dir={self.folder / 'r'}"] if head else [f"--address={self.address}"]),
        ]
        with (self.folder / f"{host}.log").open("wb") as log:
            self.nodes[host] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        started = b"Ray runtime started"
        limit = time.monotonic() + 120
        while started not in (text := (self.folder / f"{host}.log").read_bytes()):
            assert self.nodes[host].poll() is None and time.monotonic() < limit, text.decode()
            time.sleep(0.2)

    def kill(self, host: str) -> None:
        """Ends a node as a power cut would: all of its processes at once."""
        node = self.nodes.pop(host)
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()


@contextmanager
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A head on 127.0.0.2 and a second node on 127.0.0.3, one CPU each; only those with the token get in."""
    folder.mkdir()
    inside = {
        **environment,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "19",
    }
    found = Cluster(f"127.0.0.2:{free_port('127.0.0.2')}", inside, folder)
    try:
        found.start("127.0.0.2", head=True)
        found.start("127.0.0.3", head=False)
        yield found
    finally:
        for host in reversed([*found.nodes]):
            found.kill(host)
