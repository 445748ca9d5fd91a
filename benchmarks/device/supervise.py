"""A process with a limit: its rows are taken as they come, and what it was at when it ended is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROWS = "BENCH_DEVICE_ROWS"
"""Environment variable: the file into which a stage writes its rows, one JSON object a line."""
TICK = 0.2


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        status: ``done``, ``failed`` (its own exit code says so) or ``stopped`` (at a limit).
        reason: in words; empty if it is done.
        begun: keys of the rows that it had begun and not finished.
        seconds: that it ran.
    """

    status: str
    reason: str
    begun: tuple[str, ...]
    seconds: float


@dataclass
class _Lines:
    """The lines that a process has written so far, and the rows that are under way."""

    path: Path
    taken: int = 0
    begun: dict[str, float] = field(default_factory=dict)

    def new(self) -> list[dict[str, Any]]:
        """The rows since the last call; a line that is not complete yet waits."""
        with self.path.open("rb") as file:
            file.seek(self.taken)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.taken += len(whole)
        rows = []
        for line in whole.splitlines():
            message = json.loads(line)
            if "begin" in message:
                self.begun[message["begin"]] = time.monotonic()
            else:
                self.begun.pop(message["row"]["key"], None)
                rows.append(message["row"])
        return rows


def supervise(
    command: list[str],
    *,
    rows: Path,
    log: Path,
    seconds: float,
    put: Callable[[list[dict[str, Any]]], None],
    row_seconds: float | None = None,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Runs a command in a process group of its own and ends all of it at the limit.

    Args:
        command: what to run.
        rows: the file for its rows; emptied first.
        log: what it prints is added to this file.
        seconds: that it may take.
        put: called with new rows.
        row_seconds: that one row may take; None sets no limit.
        environment: variables beside those of this process.
    """
    rows.write_bytes(b"")
    lines, start, reason = _Lines(rows), time.monotonic(), ""
    variables = {**os.environ, **(environment or {}), ROWS: str(rows), "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not reason:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
                if new := lines.new():
                    put(new)
                reason = _limit(start, seconds, lines, row_seconds)
        finally:
            _end(process)
    if new := lines.new():
        put(new)
    if not reason and process.returncode == 0:
        return Ended(status="done", reason="", begun=tuple(lines.begun), seconds=time.monotonic() - start)
    status = "stopped" if reason else "failed"
    return Ended(
        status=status,
        reason=reason or _death(process.returncode),
        begun=tuple(lines.begun),
        seconds=time.monotonic() - start,
    )


def _limit(start: float, seconds: float, lines: _Lines, row_seconds: float | None) -> str:
    """Which limit is over; empty if none is."""
    now = time.monotonic()
    if now - start > seconds:
        return f"stopped at its limit of {seconds:.0f} s"
    if row_seconds and any(now - begun > row_seconds for begun in lines.begun.values()):
        return f"stopped at the limit of {row_seconds:.0f} s for one row"
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _death(code: int) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}; the end of log.txt says more"
    return f"exit code {code}; the end of log.txt says more"


def begin(key: str) -> None:
    """Says, in a stage, that a row is being measured now."""
    _say({"begin": key})


def report(row: dict[str, Any]) -> None:
    """Says, in a stage, what a row has come to."""
    _say({"row": row})


def _say(message: dict[str, Any]) -> None:
    with Path(os.environ[ROWS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(message, ensure_ascii=False) + "\n")
