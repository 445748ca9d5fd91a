"""Results as pandas frames, for notebooks and scripts: ``from bench import run_matrix, load_records``.

>>> records = run_matrix("smoke", out="runs/smoke", attacks=["dlg"])   # doctest: +SKIP
>>> Leaderboard("runs/smoke").worst[["defense", "strength", "lpips", "utility"]]   # doctest: +SKIP

A script that calls :func:`run_matrix` does so below ``if __name__ == "__main__":``, as everything that starts
processes must.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.api.errors import UsageError
from bench.report.analysis.entries import Group
from bench.report.frames import Results, read_results
from bench.report.writers.tables import WORST, cells_csv, leaderboard_csv


def run_matrix(
    matrix: str = "full",
    *,
    out: str | Path | None = None,
    attacks: Sequence[str] = (),
    defenses: Sequence[str] = (),
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    seeds: Sequence[int] = (),
    limit: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    display: str = "auto",
) -> pd.DataFrame:
    """Runs what is missing of a matrix, as ``bench run`` does, and returns one row per cell.

    Args:
        matrix: ``full`` (its newest version), ``full@4``, or a path ending in ``.toml``.
        out: the results folder; ``runs/<matrix>`` unless given.
        attacks: only these, or these instead of the matrix's own: ``"dlg"``, ``"dlg[history=20]"``.
        defenses: the same for defenses: ``"noise[sigma=0.1]"``.
        datasets: the same for data sets: ``"folder[path=photos]"``.
        models: the same for models: ``"nets:mlp"``.
        seeds: instead of the matrix's own.
        limit: only the first cells.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1``.
        workers: processes; one per core or GPU unless given.
        timeout: seconds that one task may take.
        display: ``auto``, ``rich``, ``plain`` or ``json``.

    Returns:
        See :func:`load_records`. Cells that failed are rows too: look at ``status`` and ``reason``.

    Raises:
        UsageError: there is no such matrix, plug-in, model or parameter.
    """
    from bench.execute.options import RunOptions
    from bench.execute.run import run_matrix as run
    from bench.matrix import Filters, load_matrix
    from bench.records.results import RUNS

    folder = Path(out) if out is not None else RUNS / load_matrix(matrix).name
    chosen = Filters(
        attacks=tuple(attacks),
        defenses=tuple(defenses),
        datasets=tuple(datasets),
        models=tuple(models),
        seeds=tuple(seeds),
        limit=limit,
    )
    how = RunOptions(device=device, workers=workers, timeout=timeout, display=display)
    run(matrix, out=folder, filters=chosen, options=how)
    return load_records(folder)


def load_records(directory: str | Path) -> pd.DataFrame:
    """One row per recorded cell of a results folder.

    Args:
        directory: a folder that ``bench run`` wrote.

    Returns:
        The columns of ``cells.csv``: what was asked (``dataset``, ``model``, ``defense``, ``strength``,
        ``attack``, ``seed``, ...), ``status`` and ``reason``, ``utility`` as a fraction, means of all
        metrics, costs and versions.

    Raises:
        UsageError: there are no records.
    """
    return pd.read_csv(io.StringIO(cells_csv(_results(directory).cells)))


def load_images(directory: str | Path) -> pd.DataFrame:
    """One row per scored image of a results folder: the values behind every table.

    Args:
        directory: a folder that ``bench run`` wrote.

    Raises:
        UsageError: there are no records.
    """
    return _results(directory).images.drop(columns=["row", "entry"])


def _results(directory: str | Path) -> Results:
    folder = Path(directory)
    if not (folder / "records").is_dir():
        raise UsageError(f"{folder}: there is no records folder in it; run_matrix(..., out=...) makes one")
    return read_results(folder)


class Leaderboard:
    """The tables of a results folder.

    Attributes:
        directory: the results folder.
    """

    def __init__(self, directory: str | Path) -> None:
        """Reads a folder that ``bench run`` wrote.

        Raises:
            UsageError: there are no records.
        """
        self.directory = Path(directory)
        self._results = _results(directory)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The leaderboard as plain data: see :mod:`bench.report.analysis.entries`."""
        from bench.report.findings.confirmation import build_confirmed

        return build_confirmed(self.directory, self._results)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The columns of ``leaderboard.csv``: a row per group, defense, strength and attack."""
        return pd.read_csv(io.StringIO(leaderboard_csv(self.groups)))

    @property
    def worst(self) -> pd.DataFrame:
        """The worst case over all attacks, by which defenses are ranked: a row per defense and strength."""
        table = self.table
        return (
            table[table["role"] == WORST].drop(columns=["attack", "adversary", "role"]).reset_index(drop=True)
        )

    @property
    def attacks(self) -> pd.DataFrame:
        """Every attack on every defense, floors included."""
        table = self.table
        return table[table["role"] != WORST].reset_index(drop=True)

    def to_markdown(self) -> str:
        """The page ``leaderboard.md``."""
        from bench.report.writers.markdown import render

        return render(self._results, self.groups)

    def to_latex(
        self,
        *,
        settings: Sequence[str] = (),
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
        size: str = "text",
    ) -> str:
        r"""Booktabs tabulars to ``\input``, one for each setting, as ``bench export`` writes them.

        Args:
            settings: names of settings, such as ``gradients-*-trained-1``; all unless given.
            rows: defenses, ``"noise"`` or ``"noise=0.1"``, in the order of the tables; all unless given.
            columns: such as ``"row"``, ``"recovered"``, ``"verdict"``; those that suit the size unless given.
            size: ``column`` (3.25 in) or ``text`` (6.75 in).

        Raises:
            UsageError: an unknown name, or columns that do not fit.
        """
        from bench.report.export.choice import Choice
        from bench.report.export.write import latex

        return latex(self.groups, Choice(settings, rows, columns), size)

    def __repr__(self) -> str:
        defenses = self.worst["defense"].nunique() if self.groups else 0
        return f"<Leaderboard of {self.directory}: {len(self.groups)} groups, {defenses} defenses>"

    def _repr_html_(self) -> str:
        columns = ["model", "checkpoint", "batch_size", "defense", "strength", "utility", "loss", "lpips"]
        columns += ["lpips_low", "lpips_high", "strongest_attack"]
        columns += [name for name in ("reference", "most_recognised") if name in self.worst]
        return str(self.worst[columns].to_html(index=False))
