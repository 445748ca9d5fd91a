"""Keeping the tables up to date while the run goes on, in a process of its own.

The parent never waits for it before the end, and knows of it nothing but its name: what runs cells imports
nothing of what reads results.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

WRITER = "bench.report.refresh"
"""``python -m WRITER DIR [--final]`` merges the waiting rows and writes the tables."""
INTERVAL = 60.0
SHARE = 0.04
"""Of the time of one core: as the records grow, so does the pause between two refreshes."""


class Refresher:
    """Starts refreshes: one at a time, not more often than the interval."""

    def __init__(self, folder: Path, interval: float = INTERVAL) -> None:
        self._folder = folder
        self._interval = interval
        self._last = time.monotonic()
        self._pause = interval
        self._process: subprocess.Popen[str] | None = None
        self._requested = False

    @property
    def table(self) -> Path:
        """Where a reader finds the leaderboard."""
        return self._folder / "leaderboard.md"

    @property
    def served(self) -> bool:
        """Whether no requested refresh is waiting or under way."""
        return not self._requested and self._process is None

    def request(self) -> None:
        """Asks for a refresh as soon as the one under way has ended, without waiting for the interval."""
        self._requested = True

    def tick(self) -> str:
        """Starts a refresh if it is time.

        Returns:
            What went wrong with the one before; empty if nothing did.
        """
        if self._process is not None:
            if self._process.poll() is None:
                return ""
            self._pause = max(self._interval, (time.monotonic() - self._last) / SHARE)
            return self._outcome()
        if self._requested or time.monotonic() - self._last >= self._pause:
            self._requested = False
            self._last = time.monotonic()
            self._process = self._start(final=False)
        return ""

    def final(self) -> str:
        """Writes the tables of the finished run and waits for them; returns as :meth:`tick`."""
        self.stop()
        self._process = self._start(final=True)
        return self._outcome()

    def stop(self) -> None:
        """Ends a refresh that is under way; every file it wrote is whole."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self, *, final: bool) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            WRITER,
            str(self._folder),
            *(["--final"] if final else []),
        ]
        # In a session of its own: Ctrl-C on the terminal is for the parent to handle.
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def _outcome(self) -> str:
        assert self._process is not None
        _, errors = self._process.communicate()
        code, self._process = self._process.returncode, None
        last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        return f"the tables could not be written: {last[0]}" if code else ""
