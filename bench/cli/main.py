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
from bench.cli.demo import demo
from bench.cli.doctor import doctor
from bench.cli.errors import FULL, file_text, refuse_other_encodings, usage_text
from bench.cli.export import export
from bench.cli.folders import clean, merge
from bench.cli.leak import leak
from bench.cli.new import new
from bench.cli.publish import publish
from bench.cli.results import claims, report, site, status
from bench.cli.run import run
from bench.cli.show import show
from bench.cli.text import clean_lines
from bench.cli.verify import verify

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_EXAMPLES = """\b
Examples:
  bench doctor                whether this machine is ready
  bench demo                  a small run on real images, and its page
  bench run --matrix smoke    runs a matrix and writes its leaderboard
  bench show smoke            what that matrix holds
"""


class _Group(click.Group):
    """Turns what users can cause into one message and an exit code; a bug keeps its traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the options before the sub-command."""
        try:
            refuse_other_encodings(args)
            return super().parse_args(ctx, args)
        except (BenchError, click.UsageError, OSError) as error:
            _explain(error, ctx)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a sub-command."""
        try:
            return super().invoke(ctx)
        except (BenchError, click.UsageError, OSError) as error:
            _explain(error, ctx)
            raise
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _explain(error: Exception, ctx: click.Context) -> None:
    """Ends the program with one message, unless it is help that was asked for, or a fault of ours."""
    code, text = USAGE, str(error)
    if isinstance(error, click.UsageError):
        text = "" if isinstance(error, click.exceptions.NoArgsIsHelpError) else usage_text(error)
    elif isinstance(error, OSError):
        code, text = FAILED if error.errno in FULL else USAGE, file_text(error)
    elif not isinstance(error, UsageError) and getattr(error, "code", None) != errno.EROFS:
        code = FAILED
    if text:
        click.echo(f"error: {clean_lines(text)}", err=True)
        ctx.exit(code)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import bench

        click.echo(f"bench {bench.__version__}")
        ctx.exit()


@click.group("bench", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
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
    run, demo, list_command, show, status, report, export, claims, site, compare, new, check, audit, leak,
    verify, publish, merge, clean, doctor, data,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="bench")
