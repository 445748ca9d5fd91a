"""Runs every promise of a kind and writes the checklist."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.api.errors import UsageError
from bench.check.findings import Checklist, Finding, Item, Verdict
from bench.check.place import Subject, real_names
from bench.check.promises import GATES, Check, plain, promises, promises_of

__all__ = ["check", "promises", "try_promise"]


def check(
    subject: Subject, *, without: Iterable[str] = (), tell: Callable[[str], None] = lambda name: None
) -> Checklist:
    """Tries every promise of a plug-in on small real data.

    Args:
        subject: the plug-in.
        without: promises to leave out, those without a channel on every channel.
        tell: is told the name of each promise before it is tried.
    """
    return Checklist(
        kind=subject.kind,
        name=subject.name,
        folder=str(subject.folder),
        items=tuple(_items(subject, set(without), tell)),
    )


def _items(subject: Subject, without: set[str], tell: Callable[[str], None]) -> Iterator[Item]:
    for name, promise in promises_of(subject).items():
        if name in without or plain(name) in without:
            continue
        tell(name)
        item = _try(name, promise, subject)
        yield item
        if item.verdict is Verdict.BROKEN and plain(name) in GATES:
            return


def try_promise(name: str, subject: Subject) -> Item:
    """Tries one promise of a plug-in.

    Args:
        name: one of :func:`promises`.
        subject: the plug-in.
    """
    return _try(name, promises_of(subject)[name], subject)


def _try(name: str, promise: Check, subject: Subject) -> Item:
    start = time.perf_counter()
    verdict, message, fix = Verdict.OK, "", ""
    try:
        message = promise(subject)
    except Finding as finding:
        verdict, message, fix = finding.verdict, finding.message, finding.fix
    except UsageError as error:  # what the user typed is wrong: the message says how to put it right
        verdict, message = Verdict.BROKEN, str(error)
    except (Exception, SystemExit) as error:
        told = f"raises {type(error).__name__}: {error}".rstrip(": ")
        verdict, message = Verdict.BROKEN, " ".join(told.split())
        fix = _where(error, subject)
    return Item(
        promise=name,
        means=" ".join((promise.__doc__ or "").split()),
        verdict=verdict,
        message=real_names(_lines(message), subject),
        fix=real_names(fix, subject),
        seconds=time.perf_counter() - start,
    )


def _lines(text: str) -> str:
    """Each problem on a line of its own."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _where(error: BaseException, subject: Subject) -> str:
    """The last line of the plug-in itself that the error passed."""
    home = subject.folder.resolve()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(home)
    ]
    if not frames:
        return "no line of the plug-in is in the traceback"
    return f"look at {Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"
