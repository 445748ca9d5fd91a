"""``bench data``: which data sets are on this machine, and fetching those whose source allows it."""

from __future__ import annotations

import math
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.text import clean, clean_lines, columns

if TYPE_CHECKING:
    from bench.api.cards import DatasetCard, Download, Value
    from bench.api.dataset import Dataset

NOT_FETCHED = 2
CHUNK = 2**20
MOST = 8 * 2**30
"""Bytes of one file after which a fetch is given up, whatever the source says of its length."""
TIMEOUT = 60.0
"""Seconds without a byte after which a source does not answer."""


@click.group(short_help="Data sets: which are here, and getting those that are not.")
def data() -> None:
    """Says which data sets are on this machine, and fetches some of the others into $BENCH_DATA."""


@data.command("list")
@click.argument("names", nargs=-1)
def list_data(names: tuple[str, ...]) -> None:
    """Lists all data sets, or NAMES such as 'medmnist[subset=bloodmnist]', and where their files are."""
    from bench.plugins import discover

    head = ("name", "here", "licence", "title", "where, or what helps")
    click.echo(columns([head, *map(_row, names or sorted(discover("dataset").plugins))]))


def _row(label: str) -> tuple[str, ...]:
    from bench.matrix import parse_variant
    from bench.plugins import build_dataset, dataset_card, resolve

    name, parameters = parse_variant(label)
    card = dataset_card(name)
    facts = (_short(card.licence), _short(card.title))
    yours = [key for key, item in card.parameters.items() if item.path and not card.sha256]
    if any(key not in parameters for key in yours):
        return label, "-", *facts, f"files of your own: {name}[{', '.join(f'{key}=...' for key in yours)}]"
    made = build_dataset(name, parameters)
    if why := made.missing():
        fetched = _wanted(card, resolve("dataset", name, parameters))
        return label, "no", *facts, f"bench data get {shlex.quote(label)}" if fetched else why
    return label, "yes", *facts, str(made.place() or card.source)


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 3].rstrip()}..."


@data.command()
@click.argument("name")
@click.option(
    "--mirror", metavar="URL", help="A folder elsewhere that holds the same files (http, https, file)."
)
def get(name: str, mirror: str | None) -> None:
    """Fetches the files of data set NAME into $BENCH_DATA, where they are not on this machine yet, or torn.

    A file whose MD5 is not that of the official source is not kept. Exit code 2 where the files cannot be
    fetched: it then says where they are and where to put them.
    """
    from bench.api.errors import BenchError
    from bench.matrix import parse_variant
    from bench.plugins import build_dataset, dataset_card, resolve

    plain, given = parse_variant(name)
    parameters = resolve("dataset", plain, given)
    made, card = build_dataset(plain, parameters), dataset_card(plain)
    wanted, why = _wanted(card, parameters), made.missing()
    if not why and (not wanted or _right(made, wanted)):
        click.echo(f"{clean(name)} is here: {clean(made.place() or card.source)}")
        return
    if not wanted:
        click.echo(f"{clean_lines(why)}\n{clean(name)} cannot be fetched", err=True)
        click.echo(f"{clean(plain)} is from: {clean_lines(card.source)}", err=True)
        click.get_current_context().exit(NOT_FETCHED)
    folder = _folder(card, given)
    for item in wanted:
        place = folder / item.file
        if not _is(place, item.md5):
            _fetch(f"{mirror.rstrip('/')}/{place.name}" if mirror else item.url, place, item.md5)
            click.echo(f"wrote {clean(place)}")
    if why := made.missing():
        raise BenchError(f"everything was fetched, yet {why}")
    click.echo(f"next: bench check '{clean(name)}'")


def _right(made: Dataset, wanted: list[Download]) -> bool:
    """Whether its files are those of the source, or others that it accepts as well (unpacked, reordered)."""
    from bench.api.errors import BenchError

    place = made.place()
    if place and all(_is(place, item.md5) or _is(place / Path(item.file).name, item.md5) for item in wanted):
        return True
    try:
        made.splits(seed=0)
    except BenchError:
        return False
    return True


def _is(path: Path, md5: str) -> bool:
    import hashlib

    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    return False


def _wanted(card: DatasetCard, parameters: dict[str, Value]) -> list[Download]:
    """The files that these parameters ask for."""
    return [item for item in card.downloads if item.when.items() <= parameters.items()]


def _folder(card: DatasetCard, given: dict[str, Value]) -> Path:
    from bench.api.data import ENVIRONMENT_VARIABLE, data_folder
    from bench.api.errors import UsageError

    if named := [key for key in given if card.parameters[key].path]:
        raise UsageError(f"{named[0]}: files are put below ${ENVIRONMENT_VARIABLE}: leave it out")
    if (folder := data_folder()) is None:
        raise UsageError(
            f"${ENVIRONMENT_VARIABLE} is not set: let it name the folder of your data sets, such as ~/data"
        )
    return folder


def _fetch(url: str, place: Path, md5: str) -> None:
    """Fetches one file; at its place is the whole of it or what was there before.

    Raises:
        BenchError: the source does not answer, or has another file.
    """
    import hashlib
    from http.client import HTTPException
    from urllib.request import urlopen

    from bench.api.errors import BenchError
    from bench.records.files import disk, sync_folder

    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    total = hashlib.md5(usedforsecurity=False)
    try:
        with disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with urlopen(url, timeout=TIMEOUT) as source, part.open("wb") as file:
                length = int(source.headers.get("Content-Length") or 0)
                chunks, most, size = math.ceil(length / CHUNK) or None, min(length or MOST, MOST), 0
                blocks = iter(lambda: source.read(CHUNK), b"")
                with click.progressbar(blocks, chunks, label=clean(place.name)) as shown:
                    for block in shown:
                        if (size := size + len(block)) > most:
                            raise BenchError(f"{url}: it sends more than {most} bytes: this is not kept")
                        total.update(block)
                        file.write(block)
                file.flush()
                os.fsync(file.fileno())
        if (found := total.hexdigest()) != md5:
            raise BenchError(f"{url}: its MD5 is {found}, expected {md5}: this is another file, and not kept")
        os.replace(part, place)
    except (OSError, HTTPException, ValueError) as error:
        raise BenchError(
            f"{url} cannot be fetched: {error}; try again, name another source (--mirror URL), or put the "
            f"file at {place} yourself"
        ) from None
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    sync_folder(place.parent)
