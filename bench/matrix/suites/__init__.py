"""Versioned lists of the attacks that a verdict stands on, one small file by access level.

A worst case over whatever attacks happened to run says little: who runs fewer attacks finds less. So a matrix
names the version of each suite that its rows must have met, and a row that lacks an attack which it owes is
not tested. Attacks outside a suite may raise what a row leaks, and never void it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.api.cards import explain, read_toml
from bench.api.errors import UsageError, unknown
from bench.api.threat import Channel

FOLDER = Path(__file__).parent
_NAME = re.compile(r"([a-z][a-z0-9_]*)@([0-9]+)")


class _File(BaseModel):
    """The content of a suite's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: list[Channel] = Field(min_length=1)
    attacks: list[str] = Field(min_length=1)
    subset: bool = False
    """A choice of another suite's attacks, for the matrices that name it."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The attacks of one access level.

    Attributes:
        title: name and version, ``gradients@1``.
        channels: what may have leaked.
        attacks: names of plug-ins.
    """

    title: str
    channels: tuple[Channel, ...]
    attacks: tuple[str, ...]


def suites() -> dict[str, Path]:
    """The files that ship, as ``name@version`` -> path."""
    return {path.stem: path for path in sorted(FOLDER.glob("*@*.toml"))}


def load_suite(title: str) -> Suite:
    """Reads a suite.

    Args:
        title: name and version, ``gradients@1``.

    Raises:
        UsageError: there is none of this name, or the message lists every wrong field.
    """
    found = _read(title)
    return Suite(title=title, channels=tuple(found.channels), attacks=tuple(found.attacks))


def _read(title: str) -> _File:
    known = suites()
    if title not in known:
        raise unknown("suite", title, known)
    path = known[title]
    try:
        return _File.model_validate(read_toml(path, UsageError))
    except ValidationError as error:
        raise UsageError(explain(error, str(path))) from None


def newest() -> tuple[str, ...]:
    """The newest version of every whole suite, for results of a matrix that does not ship."""
    best: dict[str, int] = {}
    for title in suites():
        if (match := _NAME.fullmatch(title)) and not _read(title).subset:
            best[match[1]] = max(int(match[2]), best.get(match[1], 0))
    return tuple(f"{name}@{version}" for name, version in sorted(best.items()))


def by_channel(titles: Sequence[str]) -> Mapping[str, Suite]:
    """The suite of each channel.

    Args:
        titles: as a matrix names them.

    Raises:
        UsageError: an unknown suite, or two of them for one channel.
    """
    found: dict[str, Suite] = {}
    for suite in map(load_suite, titles):
        for channel in suite.channels:
            if channel in found:
                raise UsageError(f"suites: both {found[channel].title} and {suite.title} are for {channel}")
            found[channel] = suite
    return found
