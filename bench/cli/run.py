"""``bench run``: measures what a matrix asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.api.errors import UsageError

if TYPE_CHECKING:
    from bench.execute.shards import Shard

_MAX_SEED = 2**32 - 1


def seeds_option(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Seeds as the user writes them."""
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,10}", part) and int(part) <= _MAX_SEED for part in parts):
        raise click.BadParameter(f"{text!r}: write numbers from 0 to {_MAX_SEED} with commas, like 0,1,2")
    return tuple(dict.fromkeys(map(int, parts)))


def _budget(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    from bench.execute.budget import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


def _memory(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    from bench.cells.memory import parse_memory

    try:
        return None if text is None else parse_memory(text)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


def _shard(_: click.Context, __: click.Parameter, text: str | None) -> Shard | None:
    from bench.execute.shards import parse_shard

    try:
        return None if text is None else parse_shard(text)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


@click.command(short_help="Run a matrix and write its leaderboard.")
@click.option(
    "--matrix", required=True, metavar="NAME|FILE", help="full (its newest version), full@4, or a file."
)
@click.option("-a", "--attack", "attacks", multiple=True, metavar="ATTACK", help="Only this attack.")
@click.option("-d", "--defense", "defenses", multiple=True, metavar="DEFENSE", help="Only this defense.")
@click.option("-D", "--dataset", "datasets", multiple=True, metavar="DATASET", help="Only this data set.")
@click.option("-m", "--model", "models", multiple=True, metavar="MODEL", help="Only this architecture.")
@click.option("--channel", "channels", multiple=True, metavar="CHANNEL", help="Only where this leaks.")
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="CHECKPOINT", help="Only victims of this age."
)
@click.option("--seeds", callback=seeds_option, metavar="0,1,2", help="Instead of the matrix's own seeds.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N cells.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where records and tables go.  [default: runs/<matrix>]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:0,1",
    help="What computes.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who runs the workers: this machine, or a Ray cluster.",
)
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster.  [default: one on this machine]")
@click.option(
    "-j",
    "--jobs",
    "workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes.  [default: one per core or GPU]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop a cell that takes longer.",
)
@click.option(
    "--retry-failed", is_flag=True, help="Run cells again that failed, timed out or ran out of memory."
)
@click.option("--force", is_flag=True, help="Run cells again that are done.")
@click.option(
    "--budget",
    callback=_budget,
    metavar="20m",
    help="Stop after this time; most informative cells first.",
)
@click.option(
    "--memory",
    callback=_memory,
    metavar="2G",
    help="What an attack may take in one worker: fewer victims at once. On a CPU 4G unless given.",
)
@click.option("--shard", callback=_shard, metavar="I/N", help="Only part I of N, counted from 0.")
@click.option("--dry-run", is_flag=True, help="Only say what would run, and how long it would take.")
@click.option(
    "--display",
    type=click.Choice(["auto", "rich", "plain", "json"]),
    default="auto",
    show_default=True,
    help="How progress looks.",
)
def run(
    *,
    matrix: str,
    attacks: tuple[str, ...],
    defenses: tuple[str, ...],
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    channels: tuple[str, ...],
    checkpoints: tuple[str, ...],
    seeds: tuple[int, ...],
    limit: int | None,
    out: Path | None,
    device: str,
    engine: str,
    address: str | None,
    workers: int | None,
    timeout: float | None,
    budget: float | None,
    memory: int | None,
    shard: Shard | None,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    display: str,
) -> None:
    """Runs what is missing of a matrix and writes its leaderboard.

    -a, -d, -D and -m can be given several times and take parameters: -d 'noise[sigma=0.01]', or as tables
    print it, -d noise=0.01; -a dlg@published is an attack with those of its paper. What the matrix has is
    restricted to what you name; what it does not have takes the place of the matrix's own, so that -a mine
    measures a new attack under the protocol.
    --channel (gradients, smashed, client_gradients, malicious, model) and --checkpoint (initial, trained)
    can be given several times, too, and only restrict.

    With --shard the folder is runs/<matrix>.shard-<i>-of-<n> unless --out is given; bench merge makes one
    of them.

    When a whole matrix is done, the defenses that its tables name on top are measured once more on the fresh
    seeds that the matrix names, into DIR/confirmation.

    Exit codes: 0 all cells done or n/a, 1 some failed, 2 usage, 130 interrupted. The same command again
    continues.
    """
    from bench.confirm import run_confirmed
    from bench.execute.options import RunOptions
    from bench.matrix import Filters, load_matrix
    from bench.records.results import RUNS

    if address is not None and engine != "ray":
        raise click.UsageError("--address needs --engine ray")
    part = "" if shard is None else f".shard-{shard}"
    summary = run_confirmed(
        matrix,
        out=out or RUNS / f"{load_matrix(matrix).name}{part}",
        filters=Filters(
            attacks=attacks,
            defenses=defenses,
            datasets=datasets,
            models=models,
            channels=channels,
            checkpoints=checkpoints,
            seeds=seeds,
            limit=limit,
        ),
        options=RunOptions(
            device=device,
            engine=engine,
            address=address,
            workers=workers,
            timeout=timeout,
            budget=budget,
            memory=memory,
            shard=shard,
            retry_failed=retry_failed,
            force=force,
            display=display,
            dry_run=dry_run,
        ),
    )
    click.get_current_context().exit(summary.exit_code)
