"""``bench list``: the plug-ins, models and matrices that there are, sound or broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from bench.cli.text import clean, clean_lines, columns, value_text

if TYPE_CHECKING:
    from bench.api.cards import Card, Kind, Parameter

Row = tuple[object, ...]
Listing = tuple[list[Row], dict[str, str]]
"""Rows under a header, and what is wrong with the entries that cannot be shown."""

_KINDS: dict[str, Kind] = {"attacks": "attack", "defenses": "defense", "datasets": "dataset"}
_TITLE = 60


@click.command("list", short_help="What there is: attacks, defenses, datasets, models, matrices.")
@click.argument("what", type=click.Choice([*_KINDS, "models", "matrices"]))
def list_command(what: str) -> None:
    """Lists attacks, defenses, datasets, models or matrices; exit code 1 if one of them is broken."""
    if what == "models":
        rows, broken = _models()
    elif what == "matrices":
        rows, broken = _matrices()
    else:
        rows, broken = _plugins(_KINDS[what])
    click.echo(columns(rows))
    for name, problem in sorted(broken.items()):
        click.echo(f"\nbroken: {clean(name)}\n{clean_lines(problem)}")
    click.get_current_context().exit(1 if broken else 0)


def _plugins(kind: Kind) -> Listing:
    from bench.plugins import discover

    found = discover(kind)
    facts = ("shape", "classes") if kind == "dataset" else ("channels",)
    rows: list[Row] = [("name", "title", "year", *facts, "parameters")]
    for name, plugin in sorted(found.plugins.items()):
        card = plugin.card
        parameters = _parameters(card.parameters)
        rows.append((name, _short(card.title), card.year, *_facts(card), parameters))
    return rows, found.broken


def _facts(card: Card) -> Row:
    if card.kind == "dataset":
        shape = "x".join(map(str, card.image_shape)) if card.image_shape else "yours"
        return shape, card.num_classes or "yours"
    return (", ".join(card.channels),)


def _parameters(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(f"{name}={value_text(p.default)}" for name, p in parameters.items()) or "-"


def _short(title: str) -> str:
    text = clean(title)
    return text if len(text) <= _TITLE else text[: _TITLE - 3].rstrip() + "..."


def _models() -> Listing:
    from bench.models.names import MODELS, PARAMETERS

    rows = ((name, title, _parameters(PARAMETERS.get(name, {}))) for name, title in sorted(MODELS.items()))
    return [("name", "title", "parameters"), *rows], {}


def _matrices() -> Listing:
    from bench.api.errors import UsageError
    from bench.matrix import load_matrix, matrices

    rows: list[Row] = [("name", "blocks", "seeds", "description")]
    broken: dict[str, str] = {}
    for name in matrices():
        try:
            matrix = load_matrix(name)
        except UsageError as error:
            broken[name] = str(error)
        else:
            seeds = ",".join(map(str, matrix.seeds))
            rows.append((name, len(matrix.block), seeds, matrix.description))
    return rows, broken
