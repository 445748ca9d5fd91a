"""Cells whose data set or prior is not on this machine: ``n/a``, with what helps, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.matrix.cells import Cell, Variant
from bench.models.weights import GENERATORS
from bench.plugins import attack_card, build_dataset, dataset_card, names_digest


def without_data(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, those impossible for which files have to be brought and are not where they are looked for.

    These are the data set's, and the weights of a generator that was trained elsewhere.

    A place that the user names is not looked at: if nothing is there, that is a mistake, and an error; unless
    a digest says which files are meant, so that a matrix can name those that few machines have.
    """
    known: dict[Variant, str] = {}
    for cell in cells:
        if cell.dataset not in known:
            known[cell.dataset] = _missing(cell.dataset)
    priors = {kind: weights.missing() for kind, weights in GENERATORS.items() if kind in _searched(cells)}
    reasons = (known[cell.dataset] or priors.get(_prior(cell), "") for cell in cells)
    return [
        replace(cell, incompatible=why) if why and not cell.incompatible else cell
        for cell, why in zip(cells, reasons, strict=True)
    ]


def _prior(cell: Cell) -> str:
    """The generator that the attack searches; empty if none."""
    card = attack_card(cell.attack.name)
    return str(cell.attack.arguments()["generator"]) if card.needs_generator else ""


def _searched(cells: Sequence[Cell]) -> set[str]:
    return {_prior(cell) for cell in cells}


def _missing(data: Variant) -> str:
    card, given = dataset_card(data.name), data.arguments()
    places = [key for key, item in card.parameters.items() if item.path]
    # Data without a place come with the project or a package; files of the user's have no place of their own.
    expected = bool(card.sha256) and not any(given[key] for key in places)
    if not places or not (expected or names_digest(card, given)):
        return ""
    return build_dataset(data.name, given).missing()
