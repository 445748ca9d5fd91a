"""The fields of a record as Markdown, read from the models themselves.

``python -m bench.runs.schema docs/records.md`` writes them between that page's two marks.
"""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from bench.runs.parts import Part
from bench.runs.record import Record

BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"


def markdown() -> str:
    """One table for a record and one for each of its parts, in the order in which they are met."""
    tables: list[str] = []
    waiting: list[tuple[str, type[Part]]] = [("", Record)]
    seen = set[str]()
    while waiting:
        name, model = waiting.pop(0)
        tables.append(_table(name, model))
        for field, info in model.model_fields.items():
            part = _part(info.annotation)
            if part is not None and part.__name__ not in seen:
                seen.add(part.__name__)
                waiting.append((f"{name}.{field}" if name else field, part))
    return "\n\n".join(tables)


def rewrite(page: str) -> str:
    """A page with the tables of today between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


def _table(name: str, model: type[Part]) -> str:
    about = _plain(model.__doc__ or "")
    head = f"### `{name}`\n\n{about}" if name else f"### The record\n\n{about}"
    lines = [
        f"| `{info.alias or field}` | {_type(info)} | {_words(info)} |"
        for field, info in model.model_fields.items()
    ]
    return "\n".join([head, "", "| field | type | meaning |", "| --- | --- | --- |", *lines])


def _words(info: FieldInfo) -> str:
    part = _part(info.annotation)
    text = info.description or (part.__doc__ if part is not None else "") or ""
    return _plain(text)


def _plain(text: str) -> str:
    """One line of Markdown; what is None in Python is null in JSON."""
    return re.sub(r"\bNone\b", "null", " ".join(text.replace("``", "`").replace("|", "\\|").split()))


def _part(annotation: Any) -> type[Part] | None:
    """The part that a field holds, if it holds one."""
    options = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    return next((item for item in options if isinstance(item, type) and issubclass(item, Part)), None)


def _type(info: FieldInfo) -> str:
    annotation = info.annotation
    options = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    return " or ".join(_name(item) for item in options)


def _name(item: Any) -> str:
    if item is NoneType:
        return "null"
    if get_origin(item) is Literal:
        return ", ".join(map(str, get_args(item)))
    if _part(item) is not None or get_origin(item) is dict:
        return "object"
    if isinstance(item, type) and issubclass(item, StrEnum):
        return "text"
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}[item.__name__]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        place = Path(argument)
        place.write_text(rewrite(place.read_text(encoding="utf-8")), encoding="utf-8")
