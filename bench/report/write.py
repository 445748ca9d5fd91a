"""Writing a results folder's tables, figures and page."""

from __future__ import annotations

from pathlib import Path

from bench.records.files import write_atomic
from bench.records.results import CONFIRMATION
from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.findings.changes import compare
from bench.report.findings.confirmation import build_confirmed
from bench.report.frames import read_results
from bench.report.writers import json_table, latex, markdown
from bench.report.writers.tables import cells_csv, leaderboard_csv


def write_report(
    directory: Path, *, final: bool = True, cards: Cards | None = None, baseline: Path | None = None
) -> None:
    """Writes ``leaderboard.md|csv|tex|json`` and ``cells.csv``, whole or partial as the records are.

    The same records give the same bytes. Every file is replaced at once, so a reader never sees half of one.

    Args:
        directory: the results folder, with ``records/`` and ``images.csv.gz``.
        final: also draw the figures, and write ``index.html``, ``README.md``, ``claims.md`` and, where
            victims have a plain model beside them, ``gains.md``; not of fresh seeds, whose numbers stand
            beside those of the folder around them.
        cards: where plug-in cards come from; the installed plug-ins by default.
        baseline: another results folder; what changed against it is marked.
    """
    cards = cards or Cards()
    results = read_results(directory)
    groups = build_confirmed(directory, results, cards)
    changes = None if baseline is None else compare(groups, build(read_results(baseline), cards))
    files = {
        "leaderboard.md": markdown.render(results, groups, changes),
        "leaderboard.csv": leaderboard_csv(groups),
        "leaderboard.tex": latex.render(results, groups),
        "leaderboard.json": json_table.render(results, groups, changes),
        "cells.csv": cells_csv(results.cells),
    }
    for name, text in files.items():
        write_atomic(directory / name, text.encode())
    if final and groups and directory.name != CONFIRMATION:
        from bench.report import page
        from bench.report.claims import claims
        from bench.report.figures import figures, gallery
        from bench.report.findings import findings
        from bench.report.writers import claims_page, findings_page, gains

        figures.write(directory / "figures", results, groups)
        gallery.write(directory, results.cells, groups)
        gains.write(directory, results.cells, groups)
        judged = claims.judge(groups, results.images)
        write_atomic(directory / "claims.md", claims_page.render(judged).encode())
        found = findings.findings(groups)
        text = findings_page.render(found, judged, results.cells)
        write_atomic(directory / "README.md", text.encode())
        source = page.Source(
            directory=directory, results=results, groups=groups, cards=cards, judged=judged, changes=changes
        )
        write_atomic(directory / "index.html", page.render(source).encode())
