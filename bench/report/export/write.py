"""Writes what a paper takes from a results folder: ``tables/``, ``figures/`` and ``references.bib``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.api.errors import unknown
from bench.records.files import write_atomic
from bench.report.analysis.entries import Group
from bench.report.cards import Cards
from bench.report.export.choice import SIZES, Choice, Setting, select
from bench.report.export.figures import draw
from bench.report.export.references import Card, Reference, bibtex, references
from bench.report.export.tabular import attacks, defenses, tabulars
from bench.report.findings.confirmation import build_confirmed
from bench.report.frames import read_results


def write_export(directory: Path, out: Path, choice: Choice) -> tuple[list[Path], list[str]]:
    """Exports a results folder. The same records give the same bytes.

    Args:
        directory: the results folder.
        out: where to; files of the same names are replaced.
        choice: settings, rows and columns.

    Returns:
        The files, and the names of attacks and defenses that have no card here, hence no reference.

    Raises:
        UsageError: there is nothing of a chosen name, or chosen columns are too wide.
    """
    cards = Cards()
    files, strangers = exported(build_confirmed(directory, read_results(directory), cards), choice, cards)
    for name, content in files.items():
        write_atomic(out / name, content)
    return [out / name for name in files], strangers


def exported(groups: Sequence[Group], choice: Choice, cards: Cards) -> tuple[dict[str, bytes], list[str]]:
    """The files by name, and what has no card, as :func:`write_export` says."""
    settings = select(groups, choice)
    papers = _papers(settings, cards)
    files = {
        f"tables/{setting.name}-{size}.tex": text.encode()
        for setting in settings
        for size, text in tabulars(setting, choice.columns, papers).items()
    }
    files |= {f"figures/{name}": data for one in settings for name, data in draw(one).items()}
    files["references.bib"] = bibtex(papers).encode()
    return files, [name for name in (*attacks(settings), *defenses(settings)) if name not in papers]


def latex(groups: Sequence[Group], choice: Choice, size: str, cards: Cards | None = None) -> str:
    """The tabulars of the chosen settings in one size, one after the other.

    Raises:
        UsageError: as :func:`write_export`, and where columns do not fit into the size.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    settings = select(groups, choice)
    papers = _papers(settings, cards or Cards())
    texts = [tabulars(setting, choice.columns, papers, sizes=[size])[size] for setting in settings]
    return "\n".join(texts)


def _papers(settings: Sequence[Setting], cards: Cards) -> Mapping[str, Reference]:
    """Of the attacks and defenses that tables name."""
    found: dict[str, Card | None] = {name: cards.attack(name) for name in attacks(settings)}
    found |= {name: cards.defense(name) for name in defenses(settings)}
    return references({name: card for name, card in found.items() if card is not None})
