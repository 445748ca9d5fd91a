"""How much of what a row asks for was measured."""

from __future__ import annotations

import pandas as pd

from bench.report.frames import ATTACK, DONE, INCOMPATIBLE
from bench.report.tallies import Coverage


def coverage(cells: pd.DataFrame, group: pd.DataFrame) -> Coverage:
    """Cells of one row against all that its attacks, its adversaries and the group's seeds ask for.

    Args:
        cells: the row's records.
        group: the records of all rows of its group.
    """
    asked = len(cells[ATTACK].drop_duplicates()) * group["seed"].nunique()
    status = cells["status"]
    incompatible = int((status == INCOMPATIBLE).sum())
    return Coverage(done=int((status == DONE).sum()), wanted=asked - incompatible, incompatible=incompatible)
