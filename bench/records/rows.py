"""One row per private image: the source of every table.

A cell that is done has ``releases x batch_size`` rows; any other has one, with its status and reason and
nothing in the columns of an image.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.errors import BenchError
from bench.matrix.cells import Cell
from bench.records.files import read_regular, sha256
from bench.records.record import Status
from bench.text import clean

if TYPE_CHECKING:
    from torch import Tensor

KEYS = (
    "dataset",
    "model",
    "checkpoint",
    "channel",
    "batch_size",
    "attack",
    "adversary",
    "defense",
    "strength",
    "seed",
    "budget",
)
PLACE = ("release", "image")
MEASURES = (
    "psnr", "ssim", "lpips", "identified", "label_correct", "recognised",
    "recognised5", "feature_distance", "diversity",
)  # fmt: skip
"""A cell's rows are empty where its channel does not have a metric."""
COLUMNS = (*KEYS, *PLACE, *MEASURES, "status", "reason")
_NUMBERS = frozenset({"batch_size", "strength", "seed", "budget", "release", "image"})
_BOOLEANS = frozenset({"identified", "label_correct", "recognised", "recognised5"})

MOST_BYTES = 1 << 29
"""Of the rows of a folder; a small file may unpack to more than any memory."""

Row = tuple[str, ...]


class CorruptRowsError(BenchError):
    """A file of rows that cannot be trusted; the message names it."""


def key_of(cell: Cell) -> Row:
    """The columns that say which cell a row belongs to."""
    strength = "" if cell.strength is None else f"{cell.strength:.6g}"
    return (
        cell.dataset.label,
        cell.model,
        str(cell.checkpoint),
        str(cell.channel),
        str(cell.batch_size),
        cell.attack.label,
        str(cell.adversary),
        cell.defense.label,
        strength,
        str(cell.seed),
        str(cell.budget),
    )


def image_rows(cell: Cell, scores: Mapping[str, Tensor]) -> list[Row]:
    """The rows of a finished cell, from its metrics ``[N, B]``."""
    key = key_of(cell)
    values = {name: scores[name].tolist() for name in MEASURES if name in scores}
    releases, batch = scores[MEASURES[0]].shape
    return [
        (
            *key,
            str(n),
            str(b),
            *(_text(name, values[name][n][b]) if name in values else "" for name in MEASURES),
            str(Status.DONE),
            "",
        )
        for n in range(releases)
        for b in range(batch)
    ]


def failure_row(cell: Cell, status: Status, reason: str) -> Row:
    """The one row of a cell without measurements."""
    empty = [""] * (len(PLACE) + len(MEASURES))
    return (*key_of(cell), *empty, str(status), clean(reason))


def _text(name: str, value: float) -> str:
    if not math.isfinite(value):
        return ""
    return str(int(value)) if name in _BOOLEANS else f"{value:.6g}"


def _order(row: Row) -> tuple[tuple[int, float, str], ...]:
    """Numbers by size, an empty one first; texts by code point."""
    parts = []
    for column, value in zip((*KEYS, *PLACE), row, strict=False):
        number = column in _NUMBERS and value != ""
        parts.append((int(value != ""), float(value) if number else 0.0, "" if number else value))
    return tuple(parts)


def encode(rows: Iterable[Row]) -> bytes:
    """Rows as CSV with a header, in the order given."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def decode(data: bytes, name: str) -> list[Row]:
    """The rows of a CSV file with this header.

    Raises:
        CorruptRowsError: naming the file, for other columns or a line of another length.
    """
    try:
        lines = [tuple(line) for line in csv.reader(io.StringIO(data.decode(), newline=""), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorruptRowsError(f"{name}: {error}") from None
    if not lines or lines[0] != COLUMNS:
        raise CorruptRowsError(f"{name}: its columns are not {', '.join(COLUMNS)}")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(COLUMNS):
            raise CorruptRowsError(f"{name}: line {number} has {len(line)} columns, expected {len(COLUMNS)}")
    return lines[1:]


def digest(rows: Iterable[Row]) -> str:
    """The checksum of rows in this order, which a record keeps as its rows lie in another file."""
    return sha256("\n".join("\x1f".join(row) for row in rows).encode())


def pack(rows: Iterable[Row]) -> bytes:
    """Sorted rows as compressed CSV; the same rows give the same bytes."""
    return gzip.compress(encode(sorted(rows, key=_order)), compresslevel=6, mtime=0)


def unpack(data: bytes, name: str) -> list[Row]:
    """The rows of a compressed file.

    Raises:
        CorruptRowsError: naming the file.
    """
    return decode(_expanded(data, name), name)


def read_packed(path: Path) -> bytes:
    """The CSV in a compressed file of rows.

    Raises:
        FileNotFoundError: there is none.
        CorruptRowsError: naming the file.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptRowsError(f"{path}: {error.strerror}") from None
    return _expanded(data, str(path))


def _expanded(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptRowsError(f"{name}: {error}") from None
    if len(found) > MOST_BYTES:
        raise CorruptRowsError(f"{name}: more than {MOST_BYTES} bytes when unpacked")
    return found
