"""``bench demo``: a small run on real images, and its page in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from bench.cli.text import clean


@click.command(short_help="A minute: a small run on real images, and its page.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where records and tables go.  [default: runs/demo]",
)
@click.option(
    "--open/--no-open", "opened", default=True, show_default=True, help="Show the page in a browser."
)
def demo(*, out: Path | None, opened: bool) -> None:
    """Attacks eight private digits, undefended and defended, and opens the page of what was rebuilt.

    It is bench run --matrix demo, and the same exit codes.
    """
    from bench.confirm import run_confirmed
    from bench.execute.options import RunOptions
    from bench.matrix import Filters
    from bench.records.results import RUNS

    folder = out or RUNS / "demo"
    summary = run_confirmed("demo", out=folder, filters=Filters(), options=RunOptions())
    page = folder.absolute() / "index.html"
    if page.exists():
        shown = opened and webbrowser.open(page.as_uri())
        click.echo(f"{'opened' if shown else 'open'} {clean(page)}")
    click.get_current_context().exit(summary.exit_code)
