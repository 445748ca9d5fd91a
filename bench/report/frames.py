"""Reading a results folder into two tables: one row per cell, one row per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bench.api.errors import UsageError
from bench.channels.shared.terms import METRICS
from bench.records.publication import read_publication
from bench.records.record import Record
from bench.records.results import Results as Folder
from bench.records.rows import COLUMNS, Row
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
    """Reads every whole cell of a folder; what is damaged or missing is a problem, not an error.

    Raises:
        NewerRecordError: a record that only a newer version of this package can read.
    """
    problems: list[str] = []

    def warn(text: str) -> None:
        lines = text.replace(f"{directory}/", "").splitlines()  # without the path of anybody's machine
        problems.append("; ".join(clean(line) for line in lines))

    whole = list(Folder(directory, warn).whole())
    cells, repeats = _cells([record for record, _ in whole])
    cells["badge"] = read_badges(directory, cells, problems)
    images = _images(cells, {record.id: rows for record, rows in whole})
    return Results(cells, images, tuple(problems), repeats, _published(directory, warn))


def _published(directory: Path, warn: Callable[[str], None]) -> str:
    """The name and version of the matrix whose cells the folder publishes."""
    try:
        found = read_publication(directory)
    except UsageError as error:
        warn(str(error))
        return ""
    return found.matrix if found and found.stands(directory) else ""


def _cells(found: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The records with the largest budget of their question, and the others."""
    kinds = {name: object if kind is str else kind for name, kind in TYPES.items()}
    frame = pd.DataFrame([flatten(record) for record in found], columns=[*TYPES]).astype(kinds)
    frame = frame.sort_values([*KEYS, "budget", "id"], na_position="first", kind="stable")
    smaller = frame.duplicated(KEYS, keep="last")
    best = frame[~smaller].reset_index(drop=True)
    numbered = best.assign(
        row=best.groupby([*GROUP, *ROW], dropna=False).ngroup(),
        entry=best.groupby([*GROUP, *ROW, *ATTACK], dropna=False).ngroup(),
    )
    return numbered, frame[smaller].reset_index(drop=True)


def _images(cells: pd.DataFrame, rows: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """The images of the done cells, in an order that does not depend on the files'."""
    done = cells.loc[cells["status"] == DONE, ["id", *KEYS, "row", "entry", "accuracy"]]
    lines = pd.DataFrame([row for name in done["id"] for row in rows[name]], columns=[*COLUMNS], dtype=str)
    each = done.index.repeat([len(rows[name]) for name in done["id"]])
    frame = done.loc[each].drop(columns="id").rename(columns={"accuracy": "utility"}).reset_index(drop=True)
    scores = {name: pd.to_numeric(lines[name], errors="coerce") for name in METRICS}
    frame = frame.assign(
        release=lines["release"].astype(int),
        image=lines["image"].astype(int),
        **{name: values.astype(float).replace([np.inf, -np.inf], np.nan) for name, values in scores.items()},
    )
    frame = frame.sort_values(["entry", *IMAGE], kind="stable")
    places = frame.groupby([*GROUP, *IMAGE], sort=True).ngroup()
    clusters = frame.groupby([*GROUP, "seed", "release"], sort=True).ngroup()
    return frame.assign(slot=places, cluster=clusters).reset_index(drop=True)
