"""A plug-in of pytest: every test becomes a row as soon as it is collected, begun and finished."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.device.book import FAILED, UNMEASURED, UNREACHED
from benchmarks.device.supervise import begin, report


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that sees the reports of all workers writes rows."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Rows(), "device-rows")


class Rows:
    """The reporting hooks."""

    def __init__(self) -> None:
        self._planned: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """In a single process."""
        self._plan([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        """Of each worker; all collect the same."""
        self._plan(ids)

    def _plan(self, names: list[str]) -> None:
        for name in names:
            if name not in self._planned:
                self._planned.add(name)
                report({"key": name, "status": UNMEASURED, "reason": UNREACHED})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        begin(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The call counts, and whatever goes wrong before or after it."""
        if report.when == "call" or report.outcome != "passed":
            row = {"status": report.outcome, "reason": _reason(report)}
            _send({"key": report.nodeid, "seconds": round(report.duration, 2), **row})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported is a row, too."""
        if report.failed:
            _send({"key": report.nodeid or "collection", "status": FAILED, "reason": _reason(report)})


def _send(row: dict[str, Any]) -> None:
    report(row)


def _reason(result: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped or failed, in a line."""
    told: Any = result.longrepr
    if result.outcome == "passed" or told is None:
        return ""
    if isinstance(told, tuple):
        return str(told[2]).removeprefix("Skipped: ")
    crash = getattr(told, "reprcrash", None)
    lines = (crash.message if crash else str(told)).strip().splitlines()
    return " ".join(lines[:3] if crash else lines[-1:])[:400]
