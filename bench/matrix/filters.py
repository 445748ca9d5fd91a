"""What the command line selects: ``-a dlg -d 'noise[sigma=0.01]'``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from bench.api.cards import Value
from bench.api.errors import UsageError

_FORM = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[(?P<arguments>[^\]]*)\])?")


def _value(text: str) -> Value:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str) else text


def parse_variant(text: str) -> tuple[str, dict[str, Value]]:
    """Parses ``name`` or ``name[parameter=value,...]``.

    Raises:
        UsageError: the text has another form.
    """
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{text!r}: write name or name[parameter=value,...]")
    parameters: dict[str, Value] = {}
    for part in filter(None, (match["arguments"] or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{text!r}: {part!r} is not parameter=value")
        if key.strip() in parameters:
            raise UsageError(f"{text!r}: {key.strip()} is given twice")
        parameters[key.strip()] = _value(value.strip())
    return match["name"], parameters


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Restrictions of a matrix; an empty tuple does not restrict.

    A plug-in or model that the matrix has is restricted, in the blocks that have it, to the strengths and
    parameters named; with parameters that the matrix does not have, it is added to those blocks. One that
    the matrix does not have takes the place of the matrix's own in every block, so that ``-a mine`` measures
    a new attack under the protocol. Seeds replace the matrix's.
    """

    attacks: tuple[str, ...] = ()
    defenses: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    limit: int | None = None
