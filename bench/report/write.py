"""Writing a results folder's tables and figures."""

from __future__ import annotations

from pathlib import Path

from bench.report import latex, markdown
from bench.report.cards import Cards
from bench.report.files import replace_file
from bench.report.frames import read_results
from bench.report.leaderboard import build
from bench.report.tables import cells_csv, leaderboard_csv


def write_report(directory: Path, *, final: bool = True, cards: Cards | None = None) -> None:
    """Writes ``leaderboard.md|csv|tex`` and ``cells.csv``, whole or partial as the records are.

    The same records give the same bytes. Every file is replaced at once, so a reader never sees half of one.

    Args:
        directory: the results folder, with ``records/`` and ``images.csv.gz``.
        final: also draw the figures.
        cards: where plug-in cards come from; the installed plug-ins by default.
    """
    results = read_results(directory)
    groups = build(results, cards)
    replace_file(directory / "leaderboard.md", markdown.render(results, groups).encode())
    replace_file(directory / "leaderboard.csv", leaderboard_csv(groups).encode())
    replace_file(directory / "leaderboard.tex", latex.render(results, groups).encode())
    replace_file(directory / "cells.csv", cells_csv(results.cells).encode())
    if final and groups:
        from bench.report import figures, gallery

        figures.write(directory / "figures", groups)
        gallery.write(directory, results.cells, groups)
