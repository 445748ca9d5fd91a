"""What goes wrong outside the program, as one line: what it is, where, and what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from bench.api.errors import UsageError, nearest

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_WRITE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_PACKAGE = Path(__file__).resolve().parents[1]
_VARIABLES = ("BENCH_CACHE", "BENCH_DATA", "BENCH_PLUGIN_PATH")


def usage_text(error: click.UsageError) -> str:
    """A wrong command line; a misspelt option or command is answered with the one that was meant."""
    command = error.ctx.command_path if error.ctx else "bench"
    text, meant = error.format_message(), _meant(error)
    if meant:
        text = f"{error.message.rstrip('.')}; did you mean {meant!r}?"
    return f"{command}: {text} ({command} -h says more)"


def _meant(error: click.UsageError) -> str:
    context = error.ctx
    if context is None:
        return ""
    if isinstance(error, click.NoSuchOption):
        parameters = context.command.get_params(context)
        known = [name for item in parameters for name in (*item.opts, *item.secondary_opts)]
        return nearest(error.option_name, [name for name in known if name.startswith("--")])
    typed = getattr(error, "command_name", "")  # of click's newer versions; older ones only say the name
    return nearest(typed, context.command.commands) if isinstance(context.command, click.Group) else ""


def file_text(error: OSError) -> str:
    """What the system said of a file or folder, and what helps; empty where it may be a fault of ours.

    A file of the package itself that is not there is a bug or a broken installation: it keeps its traceback.
    """
    if not error.filename:
        return f"{error.strerror}: free space and run the same command again" if error.errno in FULL else ""
    path = Path(os.fsdecode(error.filename)).absolute()
    if path.is_relative_to(_PACKAGE):
        return ""
    return f"{path}: {error.strerror}; {_fix(path, error.errno)}"


def _fix(path: Path, code: int | None) -> str:
    from bench.records.files import default_cache

    if path.is_relative_to(default_cache()):
        return "let BENCH_CACHE name a folder that can be written"
    if code in FULL:
        return "free space and run the same command again"
    if code in _CANNOT_WRITE:
        return "change its rights or how it is mounted, or name another place"
    return "name another place"


def refuse_other_encodings(arguments: list[str]) -> None:
    """Makes sure that everything a result may name can be written down.

    Raises:
        UsageError: an argument, a variable or the working folder is not UTF-8, or that folder is gone.
    """
    named = {f"argument {number}": text for number, text in enumerate(arguments, 1)}
    named |= {f"${name}": os.environ.get(name, "") for name in _VARIABLES}
    try:
        named["the working folder"] = os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working folder has been removed: go to another one") from None
    for what, text in named.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{what}: {text!a} is not UTF-8; rename it, or let a link lead to it") from None
