"""The commands that measure a row again and compare it with what is published."""

from __future__ import annotations

import json
import shlex
from itertools import product

import pandas as pd

from bench.api.errors import BenchError
from bench.matrix import Filters, Matrix, expand, load_matrix, matrices
from bench.models.spec import parse_model
from bench.report.analysis.entries import Group, Row
from bench.report.frames import Results

AGAIN = "runs/again"
"""Where a row is measured again."""
UNKNOWN = "FILE"
"""Stands for the matrix file where the records are not from a matrix that ships."""


def matrix_of(results: Results) -> str:
    """The matrix of a folder, as ``name@version``; empty if it is of none that ships.

    A published folder says which; of any other it is the smallest matrix that has all its cells.
    """
    if results.published in matrices():
        return results.published
    cells = results.cells
    wanted = set(cells["id"])
    questions = _questions(cells)
    found = []
    for name in matrices():
        matrix = load_matrix(name)
        try:
            if not questions <= _asked(matrix):  # to name each cell of each matrix would take seconds
                continue
            ids = {cell.id for cell in expand(matrix)}
        except BenchError:  # it needs a plug-in that is not installed here
            continue
        if wanted <= ids:
            found.append((len(ids), name))
    return min(found)[1] if found and wanted else ""


_PLACE = ["channel", "model", "checkpoint", "batch_size", "releases", "budget", "seed"]
_NAMES = ["dataset_name", "defense_name", "attack_name"]


def _questions(cells: pd.DataFrame) -> set[tuple[object, ...]]:
    """What the records answer, without parameters."""
    return set(cells[[*_PLACE, *_NAMES]].itertuples(index=False, name=None))


def _asked(matrix: Matrix) -> set[tuple[object, ...]]:
    """What a matrix asks, without parameters and before any plug-in is checked."""
    found: set[tuple[object, ...]] = set()
    for block in matrix.block:
        models = [parse_model(name).name for name in block.models]
        names = [[entry.plugin for entry in kind] for kind in (block.datasets, block.defenses, block.attacks)]
        places = ([block.channel], models, block.checkpoints, block.batch_sizes, [block.releases])
        found |= set(product(*places, block.budget, matrix.seeds, *names))
    return found


def order_of(matrix: str) -> dict[tuple[object, ...], int]:
    """The place of every setting in a matrix that ships, in the order of its blocks; empty of any other."""
    if matrix not in matrices():
        return {}
    asked = load_matrix(matrix)
    try:
        cells = expand(asked, Filters(seeds=(asked.seeds[0],)))
    except BenchError:  # it needs a plug-in that is not installed here
        return {}
    settings = (
        (str(cell.channel), cell.dataset.label, cell.model, str(cell.checkpoint), cell.batch_size)
        for cell in cells
    )
    return {setting: place for place, setting in enumerate(dict.fromkeys(settings))}


class Commands:
    """Shell commands that measure rows again, in a folder of their own.

    Args:
        results: the records, for the parameters of the defenses.
    """

    def __init__(self, results: Results) -> None:
        self.matrix = matrix_of(results)
        firsts = results.cells.drop_duplicates("row")
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
        words += ["--channel", group.channel, "--checkpoint", group.checkpoint]
        for item in [*rows, row]:
            words += ["-d", self._defenses[item.number]]
        words += ["-a", attack] if attack else []
        return shlex.join([*words, "--out", AGAIN])

    @property
    def comparison(self) -> str:
        """Says what came out otherwise; a matrix that ships has its results in ``results``."""
        folder = f"results/{self.matrix.split('@')[0]}" if self.matrix else "DIR"
        return shlex.join(["bench", "compare", folder, AGAIN])


def _variant(name: str, parameters: str) -> str:
    """The filter for a plug-in with all its parameters."""
    values = json.loads(parameters)
    inner = ",".join(f"{key}={_spelled(value)}" for key, value in values.items())
    return f"{name}[{inner}]" if inner else name


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
