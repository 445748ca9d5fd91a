"""``bench status``, ``report``, ``claims`` and ``site``: what results folders hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from bench.api.errors import UsageError
from bench.cli.text import clean, columns

_MATRIX = "full"


@click.command(short_help="How much of a matrix is done.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--matrix", metavar="NAME|FILE", help="The matrix.  [default: the name of DIRECTORY]")
@click.option("--device", default="auto", show_default=True, help="Results of other devices are stale.")
def status(directory: Path | None, matrix: str | None, device: str) -> None:
    """Counts the cells of a matrix that are done, failed, stale or missing in DIRECTORY.

    DIRECTORY is runs/<matrix> unless it is given. Published results are not stale when code moves on: what a
    folder publishes is named with its commit, and its cells are counted as they were
    published. With --matrix they are counted against today's code.
    """
    from bench.execute.folder.publication import counted
    from bench.execute.run import status as count
    from bench.matrix import load_matrix
    from bench.records.publication import read_publication
    from bench.records.results import RUNS

    published = read_publication(directory) if directory else None
    if directory and published:
        whole = published.stands(directory)
        if whole and not matrix:
            click.echo(
                "\n".join(filter(None, [published.title, clean(published.note), _table(counted(directory))]))
            )
            return
        click.echo(f"{published.title}{'' if whole else ', changed since'}; against today's code:")
        matrix = matrix or published.matrix
    name = matrix or (directory.resolve().name if directory else _MATRIX)
    folder = directory or RUNS / load_matrix(name).name
    click.echo(_table(count(name, folder, device=device)))


def _table(counts: Mapping[str, int]) -> str:
    from bench.execute.plan import State

    rows: list[tuple[str, int]] = [
        ("n/a" if state is State.INCOMPATIBLE else state.value, counts.get(state.value, 0)) for state in State
    ]
    return columns([*rows, ("cells", sum(counts.values()))])


@click.command(short_help="Write tables, figures and the page again from the records.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--baseline",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Mark what changed against another results folder.",
)
def report(directory: Path, baseline: Path | None) -> None:
    """Writes leaderboard, figures and page of DIRECTORY again, from its records alone."""
    refuse_others(directory, *filter(None, [baseline]))
    from bench.report.write import write_report

    write_report(directory, final=True, baseline=baseline)
    click.echo(f"wrote {directory / 'index.html'}")


@click.command(short_help="What papers claim, over several results folders.")
@click.argument(
    "directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY...",
)  # fmt: skip
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it there instead."
)
def claims(directories: tuple[Path, ...], out: Path | None) -> None:
    """Prints one page of all claims that cards quote, and where the results folders measure them."""
    refuse_others(*directories)
    from bench.records.files import write_atomic
    from bench.report.claims.across import judge_folders
    from bench.report.writers.claims_page import render

    text = render(judge_folders(directories))
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(out, text.encode())
        click.echo(f"wrote {out}")


@click.command(short_help="One page over several results folders.")
@click.argument(
    "directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY...",
)  # fmt: skip
@click.option(
    "--out", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to."
)
def site(directories: tuple[Path, ...], out: Path) -> None:
    """Writes one page of all settings: which defense protects, how sure that is, and what it costs.

    It loads nothing. Its links lead to the pages inside the folders, so it belongs beside or above them.
    """
    refuse_others(*directories)
    from bench.records.files import write_atomic
    from bench.report.site.collect import collect
    from bench.report.site.render import render

    write_atomic(out, render(collect(directories, out)).encode())
    click.echo(f"wrote {out}")


def refuse_others(*folders: Path) -> None:
    """Says which folder holds no results."""
    for folder in folders:
        if not (folder / "records").is_dir():
            message = "there is no records folder in it"
            raise UsageError(f"{folder}: {message}; bench run --out {folder} makes one")
