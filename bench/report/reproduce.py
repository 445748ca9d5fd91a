"""The command that measures a row again."""

from __future__ import annotations

import json
import shlex

import pandas as pd

from bench.api.errors import BenchError
from bench.matrix import expand, load_matrix, matrices
from bench.report.entries import Group, Row

UNKNOWN = "FILE"
"""Stands for the matrix file where the records are not from a matrix that ships."""


def matrix_of(cells: pd.DataFrame) -> str:
    """The smallest matrix that has all these cells, as ``name@version``; empty if none has."""
    wanted = set(cells["id"])
    found = []
    for name in matrices():
        try:
            ids = {cell.id for cell in expand(load_matrix(name))}
        except BenchError:  # it needs a plug-in that is not installed here
            continue
        if wanted <= ids:
            found.append((len(ids), name))
    return min(found)[1] if found and wanted else ""


class Commands:
    """Shell commands that measure rows again, in a folder of their own.

    Args:
        cells: the records, for the parameters of the defenses.
    """

    def __init__(self, cells: pd.DataFrame) -> None:
        self.matrix = matrix_of(cells)
        firsts = cells.drop_duplicates("row")
        columns = (firsts[name] for name in ("row", "defense_name", "defense_parameters"))
        self._defenses = {
            int(row): _variant(str(name), str(parameters))
            for row, name, parameters in zip(*columns, strict=True)
        }

    def command(self, group: Group, row: Row, attack: str = "") -> str:
        """Measures a row, and the undefended victim beside it.

        Args:
            group: where.
            row: the defense at its strength.
            attack: only this attack; all of them if it is empty.
        """
        rows = [group.baseline] if group.baseline and not row.baseline else []
        words = ["bench", "run", "--matrix", self.matrix or UNKNOWN, "-D", group.dataset, "-m", group.model]
        for item in [*rows, row]:
            words += ["-d", self._defenses[item.number]]
        words += ["-a", attack] if attack else []
        return shlex.join([*words, "--out", "runs/again"])


def _variant(name: str, parameters: str) -> str:
    """The filter for a plug-in with all its parameters."""
    values = json.loads(parameters)
    inner = ",".join(f"{key}={_spelled(value)}" for key, value in values.items())
    return f"{name}[{inner}]" if inner else name


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
