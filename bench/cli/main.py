"""The command ``bench``: its sub-commands, and what errors look like."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from bench.api.errors import BenchError, UsageError
from bench.cli.audit import audit
from bench.cli.catalogue import list_command
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.data import data
from bench.cli.doctor import doctor
from bench.cli.folders import clean, merge
from bench.cli.leak import leak
from bench.cli.new import new
from bench.cli.publish import publish
from bench.cli.results import report, status
from bench.cli.run import run
from bench.cli.show import show
from bench.cli.text import clean_lines
from bench.cli.verify import verify

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT}
_EXAMPLES = """\b
Examples:
  bench doctor                whether this machine is ready
  bench run --matrix smoke    runs a matrix and writes its leaderboard
  bench show smoke            what that matrix holds
"""


class _Group(click.Group):
    """Turns the project's own errors into one message and an exit code; others keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a sub-command."""
        try:
            return super().invoke(ctx)
        except BenchError as error:
            click.echo(f"error: {clean_lines(error)}", err=True)
            ctx.exit(USAGE if isinstance(error, UsageError) else FAILED)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE or not error.filename:
                raise
            click.echo(f"error: {clean_lines(error.filename)}: {error.strerror}", err=True)
            ctx.exit(FAILED)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import bench

        click.echo(f"bench {bench.__version__}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Crosses inversion attacks with defenses: what can the best attacker rebuild, and at what cost?"""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without UTF-8 shows "?", it does not crash
            stream.reconfigure(errors="replace")
    mask = os.umask(0)
    os.umask(mask & 0o077)  # whatever it hides from others: we must be able to read what we write


COMMANDS = (
    run, list_command, show, status, report, compare, new, check, audit, leak, verify, publish, merge, clean,
    doctor, data,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="bench")
