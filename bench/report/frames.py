"""Reading a results folder into two tables: one row per cell, one row per image."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.api.errors import UsageError
from bench.channels.shared.terms import METRICS
from bench.execute.folder.publication import read_publication
from bench.records.cell_schema import read_question
from bench.records.record import SCHEMA, Status, record_bytes, refuse_newer
from bench.records.rows import CorruptRowsError, read_packed
from bench.report.badges import read_badges
from bench.report.flatten import TYPES, flatten
from bench.text import clean

GROUP = ["channel", "dataset", "model", "checkpoint", "batch_size"]
ROW = ["defense", "strength"]
ATTACK = ["attack", "adversary"]
KEYS = [*GROUP, *ROW, *ATTACK, "seed"]
"""What names a question of the tables; of several budgets, the largest one answers it."""
IMAGE = ["seed", "release", "image"]
DONE, INCOMPATIBLE = "done", "incompatible"
NAIVE = "naive"
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Results:
    """All that a results folder says.

    Attributes:
        cells: one row per record, sorted by ``KEYS``; ``row`` numbers the defense rows of the tables,
            ``entry`` the attacks within them; ``badge`` says how far the record was verified.
        images: one row per image of a done cell, sorted; with the ``row``, ``entry`` and
            ``utility`` of its cell; ``slot`` is the same number for the same private image wherever it was
            attacked in its group, ``cluster`` for all images of one release and seed.
        problems: what could not be used, a sentence each.
        repeats: records with a smaller budget than another of the same question; only their own means are
            known, for the budget curves.
        published: the matrix that the folder publishes, ``full@4``; empty if nothing is published.
    """

    cells: pd.DataFrame
    images: pd.DataFrame
    problems: tuple[str, ...]
    repeats: pd.DataFrame = field(default_factory=pd.DataFrame)
    published: str = ""


def read_results(directory: Path) -> Results:
    """Reads ``records/*.json`` and ``images.csv.gz``; what is unreadable is a problem, not an error.

    Raises:
        NewerRecordError: a record that only a newer version of this package can read.
    """
    problems: list[str] = []
    found, repeats = _read_records(directory / "records", problems)
    cells = _numbered(found)
    cells["badge"] = read_badges(directory, cells, problems)
    images = _without(_read_images(directory / "images.csv.gz", problems), repeats, cells)
    joined = _joined(images, cells, problems)
    if not any((directory / "records" / ".rows").glob("*.csv")):  # a run folds them in when it pauses
        problems.extend(_incomplete(joined, cells))
    return Results(cells, joined, tuple(problems), repeats, _published(directory, problems))


def _published(directory: Path, problems: list[str]) -> str:
    """The name and version of the matrix whose cells the folder publishes."""
    try:
        found = read_publication(directory)
    except UsageError as error:
        problems.append(f"published.json: unreadable ({_why(error)})")
        return ""
    return found.matrix if found and found.stands(directory) else ""


def _why(error: Exception) -> str:
    """An error without the path of anybody's machine."""
    return clean(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}")


def _read_records(folder: Path, problems: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The records that answer a question best, and the others."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            rows.append(flatten(_content(path)))
        except _UNREADABLE as error:
            why = f"skipped, not a readable record ({_why(error)}); bench run measures its cell again"
            problems.append(f"records/{path.name}: {why}")
    kinds = {name: object if kind is str else kind for name, kind in TYPES.items()}
    frame = pd.DataFrame(rows, columns=[*TYPES]).astype(kinds)
    order = [*KEYS, "budget", "releases", "epochs", "id"]
    frame = frame.sort_values(order, na_position="first", kind="stable")
    double = frame.duplicated(KEYS, keep="last")
    if (unwanted := frame.duplicated([*KEYS, "budget"], keep="last")).any():
        problems.append(
            f"{int(unwanted.sum())} records answer the same question as another with more releases or "
            "epochs; they are not shown"
        )
    return frame[~double].reset_index(drop=True), frame[double].reset_index(drop=True)


def _content(path: Path) -> dict[str, Any]:
    """What a record's file says, its question and its status checked by the schema's own rule.

    Raises:
        NewerRecordError: only a newer version of this package can read it.
        OSError, ValueError, TypeError, RecursionError: it is no record.
    """
    content = json.loads(record_bytes(path).decode("utf-8"))
    if not isinstance(content, dict):
        raise TypeError("not an object")
    refuse_newer(content, path)
    if content.get("schema") != SCHEMA:
        raise ValueError(f"schema: {content.get('schema')!r}, expected {SCHEMA}")
    read_question(content.get("cell"))
    Status(str(content.get("status")))
    return content


def _numbered(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(
        row=cells.groupby([*GROUP, *ROW], dropna=False).ngroup(),
        entry=cells.groupby([*GROUP, *ROW, *ATTACK], dropna=False).ngroup(),
    )


_TEXT = {"dataset", "model", "checkpoint", "channel", "attack", "adversary", "defense", "status"}


def _read_images(path: Path, problems: list[str]) -> pd.DataFrame:
    columns = list(dict.fromkeys([*KEYS, "budget", *IMAGE, *METRICS, "status"]))
    empty = pd.DataFrame({name: pd.Series(dtype=object if name in _TEXT else float) for name in columns})
    if not path.is_file():
        return empty
    try:
        text = io.BytesIO(read_packed(path))
        raw = pd.read_csv(text, dtype=str, keep_default_na=False, usecols=lambda name: name in columns)
        raw = raw[columns]
    except (CorruptRowsError, OSError, ValueError, KeyError) as error:
        problems.append(
            f"{path.name}: unreadable, so no image is scored ({_why(error).replace(f'{path}: ', '')})"
        )
        return empty
    raw = raw[raw["status"] == DONE]
    frame = pd.DataFrame(
        {name: _words(raw[name]) if name in _TEXT else _numeric(raw[name]) for name in columns}
    )
    broken = frame[[*IMAGE, "batch_size"]].isna().any(axis=1)
    if broken.any():
        problems.append(f"{path.name}: {int(broken.sum())} rows without seed, release or image; skipped")
    return frame[~broken]


def _words(column: pd.Series[str]) -> pd.Series[str]:
    return column.map({word: clean(word) for word in column.unique()}).astype(object)


def _numeric(column: pd.Series[str]) -> pd.Series[float]:
    words = column.replace({"True": "1", "False": "0", "true": "1", "false": "0"})
    return pd.to_numeric(words, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def _without(images: pd.DataFrame, repeats: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """All images but those of budgets that no table shows."""
    name = [*KEYS, "budget"]
    index = pd.MultiIndex.from_frame
    return images[~index(images[name]).isin(index(repeats[name]).difference(index(cells[name])))]


def _joined(images: pd.DataFrame, cells: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """The images of done records only, each once, in an order that does not depend on the files'."""
    done = cells.loc[cells["status"] == DONE, [*KEYS, "budget", "row", "entry", "accuracy"]]
    done = done.rename(columns={"accuracy": "utility"})
    done = done.astype({"batch_size": float, "seed": float, "budget": float})
    frame = images.merge(done, on=[*KEYS, "budget"], how="inner").drop(columns="budget")
    if orphans := len(images) - len(frame):
        problems.append(f"{orphans} image rows belong to no readable record of a done cell; not used")
    frame = frame.sort_values(["entry", *IMAGE, *METRICS], kind="stable")
    if (double := frame.duplicated(["entry", *IMAGE])).any():
        problems.append(f"{int(double.sum())} image rows repeat an image of the same cell; not used")
    frame = frame[~double].astype({name: int for name in IMAGE} | {"batch_size": int})
    places = frame.groupby([*GROUP, *IMAGE], sort=True).ngroup()
    clusters = frame.groupby([*GROUP, "seed", "release"], sort=True).ngroup()
    return frame.assign(slot=places, cluster=clusters).reset_index(drop=True)


def _incomplete(images: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    """A sentence where done cells have fewer rows than images."""
    done = cells[cells["status"] == DONE].set_index(["entry", "seed"])
    found = images.groupby(["entry", "seed"]).size().reindex(done.index, fill_value=0)
    missing = int((found != done["releases"] * done["batch_size"]).sum())
    if not missing:
        return []
    return [f"done cells without a row for each of their images: {missing}; bench run measures them again"]
