"""``bench audit``: one defense against the whole attack suite, and a verdict."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.api.errors import PluginError, UsageError
from bench.cli.check import is_path, printable, tell
from bench.cli.run import seeds_option

if TYPE_CHECKING:
    from bench.check.place import Subject


@click.command(short_help="Check a defense, attack it with everything, and say how it did.")
@click.argument("defense", metavar="NAME|PATH")
@click.option("--matrix", default="full", show_default=True, metavar="NAME|FILE", help="Whose attacks.")
@click.option("-D", "--dataset", "datasets", multiple=True, metavar="DATASET", help="Only this data set.")
@click.option("-m", "--model", "models", multiple=True, metavar="MODEL", help="Only this model.")
@click.option("--seeds", callback=seeds_option, metavar="0,1,2", help="Instead of the matrix's own seeds.")
@click.option(
    "--strength", "values", multiple=True, type=float, metavar="VALUE", help="Instead of the card's sweep."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="[default: runs/audit-NAME]",
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="What computes.")
@click.option("-j", "--jobs", "workers", type=click.IntRange(min=1), metavar="N", help="Worker processes.")
@click.option(
    "--display",
    type=click.Choice(["auto", "rich", "plain", "json"]),
    default="auto",
    show_default=True,
    help="How progress looks.",
)
def audit(
    *,
    defense: str,
    matrix: str,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    seeds: tuple[int, ...],
    values: tuple[float, ...],
    out: Path | None,
    device: str,
    workers: int | None,
    display: str,
) -> None:
    """Audits a defense: its contract, every attack of a matrix on it at several strengths, and a verdict.

    NAME is a defense that bench list shows, PATH the folder of one. The undefended victims are attacked as
    well, for comparison. What is there already is not run again. verdict.md and verdict.html are written
    beside the leaderboard, and judge by its rule. A word takes 5 seeds and 72 releases behind a row: the
    matrix demo, which has fewer, shows how it works and tests nothing.

    Exit codes: 0 audited, 1 the contract is broken or cells failed, 2 usage, 130 interrupted.
    """
    from bench.audit.page import Audit, origin, write
    from bench.audit.suite import (
        planned_releases,
        refuse_elsewhere,
        selection,
        strengths,
        too_small,
        undefended,
    )
    from bench.audit.verdict import audited
    from bench.check.run import check
    from bench.execute.options import RunOptions
    from bench.execute.run import run_matrix
    from bench.matrix import Filters, load_matrix
    from bench.report.analysis.leaderboard import build
    from bench.report.frames import read_results

    with ExitStack() as stack:
        subject, suite = _subject(defense, stack), load_matrix(matrix)
        checklist = check(subject, tell=tell)
        click.echo(printable(checklist.to_text()) + "\n")
        if not checklist.sound:
            click.echo("the contract is broken: nothing was attacked")
            click.get_current_context().exit(1)
        refuse_elsewhere(suite, subject.name)
        chosen = selection(subject.name, values or strengths(subject.name), undefended(suite))
        folder = out or Path("runs") / f"audit-{subject.name}"
        filters = Filters(defenses=chosen, datasets=datasets, models=models, seeds=seeds)
        if warning := too_small(planned_releases(suite, filters)):
            click.echo(printable(warning), err=True)
        summary = run_matrix(
            matrix,
            out=folder,
            filters=filters,
            options=RunOptions(device=device, workers=workers, display=display),
        )
        results = read_results(folder)
        found = Audit(
            name=subject.name,
            checklist=checklist,
            rows=audited(build(results), subject.name),
            origin=origin(f"{suite.name}@{suite.version}", results.cells),
        )
        page, _ = write(found, folder)
    click.echo(f"\n{printable(found.headline)}\nwrote {page} and verdict.html")
    click.get_current_context().exit(summary.exit_code)


def _subject(defense: str, stack: ExitStack) -> Subject:
    """The defense of that name or in that folder."""
    from bench.check.place import at, subjects
    from bench.matrix.filters import parse_named

    if is_path(defense):
        found = [stack.enter_context(at(Path(defense)))]
    else:
        name, given = parse_named("defense", defense)
        if given:
            raise UsageError(f"{defense!r}: name the defense alone, and its strengths with --strength")
        found = [subject for subject in subjects(name) if subject.kind == "defense"]
    for subject in found:
        if subject.kind == "defense":
            return subject
    raise PluginError(f"{defense}: that is no defense; bench check tries other plug-ins")
