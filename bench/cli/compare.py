"""``bench compare``: what changed between two sets of results, on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.api.errors import UsageError
from bench.cli.text import clean, columns

if TYPE_CHECKING:
    from bench.report.compare import Comparison, Difference

_METRICS = ["lpips", "ssim", "psnr", "identified", "label_correct", "recognised", "recognised5"]
_METRICS += ["feature_distance", "diversity"]


@click.command(short_help="What got better, worse or stayed, on the same images.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--in",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A and B are two attacks or two defenses in this results folder.",
)
@click.option(
    "--metric", type=click.Choice(_METRICS), default="lpips", show_default=True, help="What counts."
)
@click.option("--all", "everything", is_flag=True, help="Also list what is indistinguishable or identical.")
def compare(first: str, second: str, folder: Path | None, metric: str, everything: bool) -> None:
    """Compares the results folders A and B, or with --in two attacks (dlg/naive) or defenses (noise=0.01).

    Differences are B - A on the same images, with 95 % bootstrap intervals over releases and seeds. An entry
    is better (B reconstructs better) or worse where the interval lies on one side of zero and Wilcoxon's
    signed-rank test, corrected by Holm over all entries, stays below 0.05.
    """
    from bench.report.compare import compare_entries, compare_folders

    if folder is not None:
        result = compare_entries(folder, first, second, metric=metric)
    else:
        for name in (first, second):
            if not (Path(name) / "records").is_dir():
                raise UsageError(
                    f"{name}: there is no records folder in it; for two attacks or two defenses add --in DIR"
                )
        result = compare_folders(Path(first), Path(second), metric=metric)
    _print(result, everything=everything)


def _print(result: Comparison, *, everything: bool) -> None:
    for problem in result.problems:
        click.echo(clean(problem), err=True)
    wanted = ("better", "worse", "indistinguishable", "identical") if everything else ("better", "worse")
    rows = [_row(item) for item in result.differences if item.verdict in wanted]
    if rows:
        head = ("B is", f"{result.metric} A", "B", "B - A", "95 % interval", "p (Holm)", "images", "entry")
        click.echo(columns([head, *rows]))
    if result.nearest:
        click.echo(
            f"on channel model, {result.metric} is that to the nearest private image of the attacked class"
        )
    counts = [
        f"{result.count(word)} {word}" for word in ("better", "worse", "indistinguishable", "identical")
    ]
    click.echo(f"{len(result.differences)} entries: {', '.join(counts)}")
    for name, count in (("A", result.first_only), ("B", result.second_only)):
        if count:
            click.echo(f"{count} images of {name} have no partner and were not compared")


def _row(item: Difference) -> tuple[object, ...]:
    change = item.change
    return (
        item.verdict,
        f"{item.first:.3f}",
        f"{item.second:.3f}",
        f"{change.mean:+.3f}",
        f"[{change.low:+.3f}, {change.high:+.3f}]",
        f"{item.adjusted:.2g}",
        change.n_images,
        item.title,
    )
