"""``bench export``: tabulars, figures and references of a results folder, for a paper."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.results import refuse_others
from bench.cli.text import clean

_OUT = Path("export")


@click.command(short_help="Tables, figures and references for a paper.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), default=_OUT,
    show_default=True, help="Where to.",
)  # fmt: skip
@click.option("--rows", metavar="NAME,...", multiple=True, help="Only these: noise,noise=0.1,pgsl")
@click.option("--columns", metavar="NAME,...", multiple=True, help="Instead of those that suit each width.")
@click.option("--setting", metavar="NAME", multiple=True, help="Only these, as files are named; * is any.")
def export(
    directory: Path, out: Path, rows: tuple[str, ...], columns: tuple[str, ...], setting: tuple[str, ...]
) -> None:
    """Writes what a paper takes from DIRECTORY: LaTeX tabulars, figures in two widths, BibTeX.

    A tabular and a figure are 3.25 in (-column) or 6.75 in (-text) wide at most, in letters of 8 pt. Beside
    each figure, as PDF and SVG, a CSV holds what it draws. Several names are joined by commas.
    """
    refuse_others(directory)
    from bench.report.export.choice import Choice, split
    from bench.report.export.write import write_export

    choice = Choice(settings=split(setting), rows=split(rows), columns=split(columns))
    paths, unknown = write_export(directory, out, choice)
    for name in unknown:
        click.echo(f"no card of {clean(name)} here, hence no reference", err=True)
    click.echo(f"wrote {len(paths)} files below {clean(out)}")
