"""Cells whose data set is not on this machine: ``n/a``, with what helps, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.matrix.cells import Cell, Variant
from bench.plugins import build_dataset, dataset_card, names_digest


def without_data(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, those impossible for which a data set has to be brought and is not where it is looked for.

    A place that the user names is not looked at: if nothing is there, that is a mistake, and an error; unless
    a digest says which files are meant, so that a matrix can name those that few machines have.
    """
    known: dict[Variant, str] = {}
    for cell in cells:
        if cell.dataset not in known:
            known[cell.dataset] = _missing(cell.dataset)
    return [
        replace(cell, incompatible=why) if (why := known[cell.dataset]) and not cell.incompatible else cell
        for cell in cells
    ]


def _missing(data: Variant) -> str:
    card, given = dataset_card(data.name), data.arguments()
    places = [key for key, item in card.parameters.items() if item.path]
    # Data without a place come with the project or a package; files of the user's have no place of their own.
    expected = bool(card.sha256) and not any(given[key] for key in places)
    if not places or not (expected or names_digest(card, given)):
        return ""
    return build_dataset(data.name, given).missing()
