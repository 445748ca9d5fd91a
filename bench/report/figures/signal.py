"""Leakage of every single image against how much of its release the defense left.

A mean hides which images are lost: a noise that leaves most images alone recovers a few all the same, those
with large gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.channels.shared.terms import leakage
from bench.report.analysis.entries import Group, Row
from bench.report.frames import DONE, Results
from bench.report.statistics.bootstrap import Floats


@dataclass(frozen=True)
class Cloud:
    """The images of one defense row.

    Attributes:
        name: defense and strength.
        defense: without its strength.
        signal: ``[M]``, the norm of what would have left over the norm of what the defense changed.
        leak: ``[M]``, of the best reconstruction of each image over all attacks.
        recovered: ``[M]`` bool, by the row's strongest single attack.
    """

    name: str
    defense: str
    signal: Floats
    leak: Floats
    recovered: np.ndarray[tuple[int], np.dtype[np.bool_]]


def clouds(results: Results, group: Group) -> tuple[Cloud, ...]:
    """One for each row whose defense changes what leaves and whose records say by how much."""
    known = results.cells[(results.cells["status"] == DONE) & results.cells["signal"].map(bool)]
    if known.empty:
        return ()
    return tuple(cloud for row in group.rows if (cloud := _cloud(row, group, known)) is not None)


def _cloud(row: Row, group: Group, cells: pd.DataFrame) -> Cloud | None:
    mine = cells[cells["row"] == row.number].drop_duplicates("seed")
    if row.worst is None or row.recovery is None or mine.empty:
        return None
    long = mine[["seed", "signal"]].explode("signal").astype({"signal": float, "seed": float})
    long["release"] = long.groupby("seed").cumcount().astype(float)
    images = row.worst.best[["slot", "seed", "release", "value"]]
    images = images.merge(row.recovery.images[["slot", "hit"]], on="slot")
    both = images.merge(long, on=["seed", "release"]).dropna(subset=["signal", "value"])
    if both.empty:
        return None
    leak = leakage(group.rank, both["value"].to_numpy(dtype=float))
    return Cloud(
        row.name, row.defense, both["signal"].to_numpy(dtype=float), leak, both["hit"].to_numpy() > 0
    )
