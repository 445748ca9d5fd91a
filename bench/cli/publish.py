"""``bench publish``: pins a results folder to the commit that measured it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Pin results to the commit that measured them.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--matrix", metavar="NAME|FILE", help="The matrix.  [default: the name of DIRECTORY]")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="What computed.")
def publish(directory: Path, matrix: str | None, device: str) -> None:
    """Writes down in DIRECTORY which commit measured it, so that it stays published when code moves on.

    Every cell of the matrix must have its record, and one commit must have measured them all: the one that
    all records name, or today's, if no cell is stale with its code. The contact sheets that galleries do not
    show, of other seeds than the first, and those of data sets that may not be shown are taken out of
    DIRECTORY.
    """
    from bench.execute.folder.publication import publish as pin
    from bench.execute.folder.publication import withhold

    found = pin(directory, matrix or directory.resolve().name, device=device)
    click.echo(found.title)
    if gone := withhold(directory):
        from bench.report.write import write_report

        write_report(directory)
        click.echo(f"{gone} contact sheets taken away: of further seeds, or not to be shown")
