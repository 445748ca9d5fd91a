"""The fields of a record as Markdown, read from the models themselves.

``python -m bench.records.schema docs/records.md`` writes them between that page's two marks.
"""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from bench.api.threat import Channel
from bench.records.record import Record
from bench.records.record_fields import Part
from bench.text import rewritten


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
    return next((o for o in _options(annotation) if isinstance(o, type) and issubclass(o, Part)), None)


def _options(annotation: Any) -> list[Any]:
    """The types that a field may have, without their bounds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (UnionType, Union):
        return [option for item in get_args(annotation) for option in _options(item)]
    return [annotation]


def _type(info: FieldInfo) -> str:
    names = dict.fromkeys(_name(item) for item in _options(info.annotation))
    if "number" in names:
        names.pop("whole number", None)
    return " or ".join(names)


def _name(item: Any) -> str:
    if item is NoneType:
        return "null"
    if get_origin(item) is Literal:
        return ", ".join(map(str, get_args(item)))
    if get_origin(item) is tuple:
        return "list"
    if _part(item) is not None or get_origin(item) is dict:
        return "object"
    if isinstance(item, type) and issubclass(item, StrEnum | Channel):
        return "text"
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}[item.__name__]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        place = Path(argument)
        place.write_text(rewritten(place.read_text(encoding="utf-8"), markdown()), encoding="utf-8")
