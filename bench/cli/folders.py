"""``bench merge`` and ``bench clean``: what is in a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.text import clean as clean_text

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def write_tables(directory: Path) -> None:
    """Writes all tables of a folder again and says where."""
    from bench.report.write import write_report

    write_report(directory, final=True)
    click.echo(f"wrote {directory / 'leaderboard.md'}")


@click.command(short_help="Make one results folder of several.")
@click.argument("directories", nargs=-1, required=True, type=_FOLDER)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the cells go; what is there takes part.",
)
def merge(directories: tuple[Path, ...], out: Path) -> None:
    """Puts the cells of DIRECTORIES, such as the shards of one matrix, into one folder and writes its tables.

    Of a cell that is there several times a result wins over a failure, then the newest. DIRECTORIES stay as
    they are.
    """
    from bench.execute.folder.merge import merge as put_together
    from bench.records.publication import replaced

    if warning := replaced(out):
        click.echo(clean_text(warning), err=True)
    result = put_together(directories, out, warn=lambda text: click.echo(clean_text(text), err=True))
    click.echo(f"{result.added} cells added, {result.replaced} replaced, {result.kept} there already")
    for title in result.differing:
        click.echo(f"same code, different values on two machines: {clean_text(title)}", err=True)
    write_tables(out)


@click.command(short_help="Take out of a folder what is no cell of its matrix.")
@click.argument("directory", type=_FOLDER)
@click.option("--matrix", metavar="NAME|FILE", help="The matrix.  [default: the name of DIRECTORY]")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clean(directory: Path, matrix: str | None, dry_run: bool, yes: bool) -> None:
    """Removes records, rows and sheets of DIRECTORY that are no cells of the matrix, and writes its tables.

    Such are left behind when a matrix is edited, or by filters that brought plug-ins of one's own.
    """
    from bench.execute.folder.matrix_status import clean as take_out
    from bench.execute.folder.matrix_status import strangers
    from bench.records.publication import replaced

    name = matrix or directory.resolve().name
    found = strangers(name, directory)
    for title in found.values():
        click.echo(clean_text(title))
    if not found or dry_run:
        click.echo(f"{len(found)} records are no cells of {clean_text(name)}")
        return
    if warning := replaced(directory):
        click.echo(clean_text(warning), err=True)
    if not yes:
        click.confirm(f"Remove these {len(found)} records from {directory}?", abort=True)
    click.echo(f"{take_out(name, directory)} records removed")
    if any((directory / "records").glob("*.json")):
        write_tables(directory)
