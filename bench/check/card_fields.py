"""The fields of card.toml as Markdown, read from the models that check it.

``python -m bench.check.card_fields docs/cards.md`` writes them between that page's two marks.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from bench.api import card_parts, cards
from bench.api.threat import Channel
from bench.search_path import channel_names
from bench.text import rewritten

_TABLES: dict[str, type[BaseModel]] = {
    "An attack": cards.AttackCard,
    "A defense": cards.DefenseCard,
    "A data set": cards.DatasetCard,
    "`[parameters.NAME]`": cards.Parameter,
    "`[[downloads]]`": cards.Download,
    "`[floor]`": cards.Floor,
    "`[[claims]]`": cards.Claim,
}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def markdown() -> str:
    """One table for each kind of card, and for each table that a card holds."""
    return "\n\n".join(_table(title, model) for title, model in _TABLES.items())


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What is written below each field of a model and of those that it derives from."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part.__module__ in (cards.__name__, card_parts.__name__):
            found |= _written_below(part)
    return found


def _written_below(model: type) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield field.target.id, str(text.value.value)


def _table(title: str, model: type[BaseModel]) -> str:
    said = meanings(model)
    lines = [
        f"| `{name}` | {_type(info.annotation)} | {'yes' if info.is_required() else ''} "
        f"| {_plain(said.get(name, ''))} |"
        for name, info in model.model_fields.items()
    ]
    head = ["| field | value | required | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {title}", "", _plain(model.__doc__ or ""), "", *head, *lines])


def _plain(text: str) -> str:
    """One line of Markdown."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _type(annotation: Any) -> str:
    """What may be written in the file."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if set(get_args(cards.Value)) <= set(inner):
        return "text, number or true/false"
    if origin in (UnionType, Union):
        return " or ".join(_type(item) for item in inner if item is not NoneType)
    if origin is tuple:
        if inner[-1] is not Ellipsis:
            return f"list of {len(inner)} {_type(inner[0])}s"
        return "tables" if _type(inner[0]) == "table" else f"list of {_type(inner[0])}"
    if origin is dict:
        return "tables"
    if origin is Literal:
        return " or ".join(f'`"{item}"`' for item in inner)
    if annotation is Channel or issubclass(annotation, StrEnum):
        values = channel_names() if annotation is Channel else annotation
        return ", ".join(f'`"{item}"`' for item in values)
    return "table" if issubclass(annotation, BaseModel) else _NAMES[annotation]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        place = Path(argument)
        place.write_text(rewritten(place.read_text(encoding="utf-8"), markdown()), encoding="utf-8")
