"""What the command line selects: ``-a dlg -d 'noise[sigma=0.01]'``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.api.cards import Kind, Value
from bench.api.errors import UsageError, unknown
from bench.api.threat import Checkpoint
from bench.matrix.files import Block
from bench.plugins import defense_card
from bench.search_path import channel_names

_FORM = re.compile(r"(?P<name>[A-Za-z0-9_.-]+(@[A-Za-z0-9_-]+)?)(\[(?P<arguments>[^\]]*)\])?")
_STRENGTH = re.compile(r"(?P<spec>[^=]*?(\[[^\]]*\])?)\s*=\s*(?P<value>[^=\[\]]*)")
_ESCAPED = re.compile(r"\\([\[\]_*`|])")


def _value(text: str) -> Value:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str) else text


def parse_variant(text: str) -> tuple[str, dict[str, Value]]:
    """Parses ``name``, ``name@preset`` or ``name[parameter=value,...]``; a preset stays in the name.

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


def unescaped(text: str) -> str:
    """Without the backslashes of Markdown, which no name of ours has."""
    return _ESCAPED.sub(r"\1", text)


def parse_named(kind: Kind, text: str) -> tuple[str, dict[str, Value]]:
    r"""Parses what :func:`parse_variant` does, and names as tables print them.

    Tables write a defense with its strength, ``noise = 0.01`` or ``pgsl[scaling=max] = 1``, and put a
    backslash before some characters where they are Markdown: ``inverting\_gradients``.

    Raises:
        UsageError: the text has another form, or a strength stands where there is none.
    """
    plain = unescaped(text)
    match = _STRENGTH.fullmatch(plain.strip())
    if not match:
        return parse_variant(plain)
    name, parameters = parse_variant(match["spec"])
    strength = defense_card(name).strength if kind == "defense" else ""
    if not strength:
        raise UsageError(
            f"{text!r}: {kind} {name} has no strength; write {name} or {name}[parameter=value,...]"
        )
    if strength in parameters:
        raise UsageError(f"{text!r}: {strength} is given twice")
    return name, {**parameters, strength: _value(match["value"])}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Restrictions of a matrix; an empty tuple does not restrict.

    A plug-in or model that the matrix has is restricted, in the blocks that have it, to the strengths and
    parameters named; with parameters that the matrix does not have, it is added to those blocks. One that
    the matrix does not have takes the place of the matrix's own in every block, so that ``-a mine`` measures
    a new attack under the protocol. Seeds replace the matrix's. Channels and checkpoints only restrict: a
    block without them has no cells.
    """

    attacks: tuple[str, ...] = ()
    defenses: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    limit: int | None = None


def narrowed(blocks: Sequence[Block], filters: Filters) -> list[Block]:
    """The blocks with those checkpoints alone that are wanted, and none in blocks of other channels.

    Raises:
        UsageError: there is no such channel or checkpoint.
    """
    for kind, wanted, known in (
        ("channel", filters.channels, [*channel_names()]),
        ("checkpoint", filters.checkpoints, [item.value for item in Checkpoint]),
    ):
        for name in wanted:
            if name not in known:
                raise unknown(kind, name, known)
    found = []
    for block in blocks:
        here = not filters.channels or block.channel in filters.channels
        kept = [
            item
            for item in block.checkpoints
            if here and (not filters.checkpoints or item in filters.checkpoints)
        ]
        found.append(block.model_copy(update={"checkpoints": kept}))
    return found
