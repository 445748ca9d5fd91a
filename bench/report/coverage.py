"""How much of what a row asks for was measured."""

from __future__ import annotations

import pandas as pd

from bench.report.frames import ATTACK, DONE, INCOMPATIBLE
from bench.report.tallies import Coverage


def coverage(cells: pd.DataFrame, group: pd.DataFrame) -> Coverage:
    """Cells of one row against all that its group's attacks, adversaries and seeds ask for.

    Every attack that sees the release is asked for on every row; a floor or control only where it was tried.

    Args:
        cells: the row's records.
        group: the records of all rows of its group.
    """
    wanted = pd.concat([group[~group["floor"]], cells])
    asked = set(wanted[[*ATTACK, "seed"]].itertuples(index=False, name=None))
    status = cells["status"]
    incompatible = int((status == INCOMPATIBLE).sum())
    return Coverage(
        done=int((status == DONE).sum()), wanted=len(asked) - incompatible, incompatible=incompatible
    )
