"""A whole matrix is followed by the fresh seeds of what its tables name on top, and of nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.api.errors import UsageError
from bench.cache.keys import Identity
from bench.confirm import run_confirmed
from bench.execute.control import Control
from bench.execute.options import RunOptions
from bench.execute.plan import first_seed
from bench.execute.progress import display as make_display
from bench.matrix import Cell, Filters, load_matrix
from bench.records.results import CONFIRMATION, Results
from bench.report.findings.confirmation import Named
from tests.world import World

TOP = Named("gradients", "tiny", "lenet", "trained", 1, "none", math.nan)


def _asked(folder: Path) -> set[tuple[int, str]]:
    """Seed and checkpoint of every record."""
    found = [json.loads(path.read_text())["cell"] for path in folder.glob("records/*.json")]
    return {(cell["seed"], cell["checkpoint"]) for cell in found}


def test_the_rows_on_top_are_measured_on_fresh_seeds(
    world: World, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = str(world.matrix("guess", seeds="[0]\nconfirmation = [7, 8]"))
    monkeypatch.setattr("bench.report.findings.confirmation.named", lambda groups: (TOP,))
    options = RunOptions(device="cpu", display="plain", workers=2)
    part = run_confirmed(matrix, out=world.out, filters=Filters(checkpoints=("initial",)), options=options)
    assert part.ran == 1 and not (world.out / CONFIRMATION).exists(), "a part of a matrix names nothing"
    whole = run_confirmed(matrix, out=world.out, filters=Filters(), options=options)
    assert whole.ran == 3 and whole.exit_code == 0
    assert _asked(world.out) == {(0, "initial"), (0, "trained")}
    assert _asked(world.out / CONFIRMATION) == {(7, "trained"), (8, "trained")}
    assert run_confirmed(matrix, out=world.out, filters=Filters(), options=options).ran == 0


def test_fresh_seeds_are_none_of_the_matrix(world: World) -> None:
    with pytest.raises(UsageError, match="confirmation"):
        load_matrix(str(world.matrix("guess", seeds="[0, 1]\nconfirmation = [1]")))


class _Tables:
    """A refresher whose request takes two ticks."""

    def __init__(self, folder: Path) -> None:
        self.table, self.ticks, self.served = folder / "leaderboard.md", 0, True

    def request(self) -> None:
        self.ticks, self.served = 2, False

    def tick(self) -> str:
        self.ticks -= 1
        self.served = self.served or self.ticks <= 0
        return ""


def test_the_first_complete_table_is_announced_when_it_is_written(
    world: World, cells: list[Cell], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.execute.control._LONG", 0.0)
    first = first_seed(cells, cells)
    assert first == {cell.id for cell in cells if cell.seed == 0}
    assert first_seed(cells[:2], cells[:2]) == set(), "of one seed the last table is the first one"
    control = Control(
        Results(world.out),
        make_display("plain"),
        _Tables(world.out),  # type: ignore[arg-type]
        total=len(cells),
        device="cpu",
        workers=1,
        first=first,
    )
    said = []
    for cell in cells:
        keys = Identity("cpu").keys(cell)
        control.refuse(cell, keys, "refused")
        control.tick([])
        said.append("first seed" in "".join(capsys.readouterr()))
    assert sum(said) == 1
    assert said.index(True) == len(first), "a tick after its last cell: when the table is written"
