"""``bench verify``: are the numbers in a results folder what this code gives?"""

from __future__ import annotations

import secrets
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from bench.cli.folders import write_tables
from bench.cli.text import clean, columns

if TYPE_CHECKING:
    from bench.verify.badges import Verified
    from bench.verify.independent import Independent
    from bench.verify.verify import Verification

SHOWN = 20
"""Rows of a metric that are named one by one where they do not agree."""


@click.command(short_help="Check results: score again, run cells again.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    metavar="N",
    help="Cells to run again, drawn at random.  [default: each attack, defense and setting once]",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the draw.  [default: chosen and shown]")
@click.option("--rescore/--no-rescore", default=True, show_default=True, help="Score stored reconstructions.")
@click.option("--independent", is_flag=True, help="Score them by scikit-image and lpips, too.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="What computes.")
@click.option("-j", "--jobs", "workers", type=click.IntRange(min=1), metavar="N", help="Worker processes.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Limit of one task."
)
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="TEXT",
    help="Somebody's network, path or plug-in of the working folder that may be loaded: nets:mlp",
)
def verify(
    *,
    directory: Path,
    sample: int | None,
    seed: int | None,
    rescore: bool,
    independent: bool,
    device: str,
    workers: int | None,
    timeout: float | None,
    trusted: tuple[str, ...],
) -> None:
    """Looks at the sheets of DIRECTORY, scores stored reconstructions again, runs cells again from nothing.

    With --independent, scikit-image and the package lpips measure PSNR, SSIM and LPIPS of all that the cache
    has, whatever code has made it.

    Cells are run again with today's code, also those that older code has measured: one of each attack, each
    defense and each setting, or --sample N of them.

    What was found is written to verification.json; the tables show it as a badge. Reconstructions are looked
    for in $BENCH_CACHE. Exit code 1: a cell does not agree.

    Records may name networks, files and plug-ins of whoever wrote them. Cells that need such are left alone
    unless you --trust them: to run a network is to run its author's code.
    """
    from bench.verify.verify import verify as check

    draw = secrets.randbelow(10**6) if seed is None else seed
    result = check(
        directory,
        sample=sample,
        seed=draw,
        rescore=rescore,
        independent=independent,
        device=device,
        workers=workers,
        timeout=timeout,
        trusted=trusted,
        say=lambda text: click.echo(clean(text), err=True),
    )
    _print(result, draw)
    write_tables(directory)
    click.get_current_context().exit(int(not result.sound))


def _print(result: Verification, draw: int) -> None:
    for one in result.cells:
        if one.badge == "re-run" or not one.agreement.agrees:
            click.echo(f"{one.badge}: {clean(one.title)}: {_words(one)}")
    rows = []
    for badge in ("recomputed", "re-run"):
        found = [one.agreement for one in result.cells if one.badge == badge]
        equal = sum(one.identical for one in found)
        agree = sum(one.agrees for one in found)
        rows.append((badge, len(found), f"{agree} agree", f"{equal} to the last digit"))
    click.echo(columns(rows))
    for then, now in sorted({one.processors for one in result.cells if one.processors}):
        click.echo(
            f"measured on {clean(then)}, again on {clean(now)}: training rounds otherwise there, and a cell "
            "of few images may end elsewhere; a machine of the same kind gives the same digits"
        )
    click.echo(f"the draw has --seed {draw}")
    if result.independent is not None:
        _print_independent(result.independent)
    agree = result.pictures - len(result.contradicted)
    click.echo(f"{agree} of {result.pictures} contact sheets show errors like the PSNR of their rows")
    for title in result.contradicted:
        click.echo(f"its sheet contradicts its rows: {clean(title)}")
    left = [
        (result.unstored, "have no reconstruction in the cache"),
        (result.stale, "were measured with other code or libraries than today's"),
        (result.elsewhere, "were measured on another kind of device"),
    ]
    for count, why in left:
        if count:
            click.echo(f"{count} done cells {why}")
    for text in result.foreign:
        click.echo(
            f"not loaded, so its cells are not verified; if you trust it: --trust {quote(clean(text))}"
        )


def _print_independent(found: Independent) -> None:
    left = f"; {found.unstored} are not in the cache" if found.unstored else ""
    click.echo(f"scored by scikit-image and lpips: {found.cells} cells{left}")
    rows = []
    for name, metric in found.metrics.items():
        largest = f"largest difference {metric.largest:.2g}"
        rows.append(
            (name, f"{metric.rows} rows", largest, f"{len(metric.outside)} beyond {metric.tolerance:g}")
        )
    click.echo(columns(rows))
    for metric in found.metrics.values():
        for line in metric.outside[:SHOWN]:
            click.echo(f"does not agree: {clean(line)}")


def _words(one: Verified) -> str:
    found = one.agreement
    if found.reason:
        return f"does not agree: {clean(found.reason)}"
    if found.identical:
        return "identical"
    shifts = ", ".join(f"{name} {value:+.4g}" for name, value in (found.shift or {}).items() if value)
    largest = ", ".join(f"{name} {value:.4g}" for name, value in (found.difference or {}).items() if value)
    verdict = "agrees" if found.agrees else "does not agree"
    return f"{verdict}; means moved by {shifts or 'nothing'}; single images by up to {largest or 'nothing'}"
