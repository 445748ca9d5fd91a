"""Matrix files: versioned TOML, all errors at once, each with file and field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from bench.api.cards import Value, explain, read_toml
from bench.api.errors import UsageError, unknown
from bench.api.threat import Adversary, Channel, Checkpoint
from bench.matrix.suites import by_channel

FOLDER = Path(__file__).parent / "matrices"
Sweep = Value | list[Value]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Positive = Annotated[int, Field(ge=1, lt=2**31, strict=True)]


class Entry(BaseModel):
    """A plug-in in a matrix: a name, perhaps with a preset, and parameters; a list sweeps its parameter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1)

    @property
    def plugin(self) -> str:
        """The name without the preset."""
        return self.name.partition("@")[0]

    def sweeps(self) -> dict[str, Sweep]:
        """The parameters that the file gives."""
        return dict(self.__pydantic_extra__ or {})


class Block(BaseModel):
    """A cross product of all its lists."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel = Channel.GRADIENTS
    datasets: list[Entry] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    checkpoints: list[Checkpoint] = Field(min_length=1)
    batch_sizes: list[Positive] = Field(min_length=1)
    releases: Positive
    budget: list[Positive] = Field(min_length=1)
    """With several of them, tables show the largest one and figures all."""
    epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    attacks: list[Entry] = Field(min_length=1)
    adversaries: list[Adversary] = Field(min_length=1)
    defenses: list[Entry] = Field(min_length=1)

    @field_validator("budget", mode="before")
    @classmethod
    def _one_budget_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("datasets", "attacks", "defenses", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"name": item} if isinstance(item, str) else item for item in value]


class Matrix(BaseModel):
    """A named, versioned set of blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: int = Field(ge=1, strict=True)
    description: str = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    suites: list[str] = []
    """The suites that rows must have met, ``name@version``; without them no row is tested."""
    confirmation: list[Seed] = []
    """Fresh seeds on which the defenses that the tables name on top are measured once more."""
    block: list[Block] = Field(min_length=1)
    _file: str = PrivateAttr(default="")

    @field_validator("suites")
    @classmethod
    def _suites_are_known(cls, value: list[str]) -> list[str]:
        try:
            by_channel(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _fresh_seeds_are_fresh(self) -> Matrix:
        if used := sorted({*self.seeds} & {*self.confirmation}):
            raise ValueError(f"confirmation: {used} are seeds of the matrix, so they confirm nothing")
        return self

    @property
    def where(self) -> str:
        """What messages call this matrix: its file, or name and version."""
        return self._file or f"matrix {self.name}@{self.version}"


def matrices() -> dict[str, Path]:
    """The matrix files that ship, as ``name@version`` -> path."""
    return {path.stem: path for path in sorted(FOLDER.glob("*@*.toml"))}


def locate(name: str) -> Path:
    """The file of ``full`` (its newest version), ``full@4``, or a path ending in ``.toml``.

    Raises:
        UsageError: no such matrix; the message names the nearest.
    """
    if name.endswith(".toml"):
        return Path(name)
    known = matrices()
    if name in known:
        return known[name]
    form = re.compile(re.escape(name) + r"@([0-9]+)")
    versions = {int(match[1]): path for stem, path in known.items() if (match := form.fullmatch(stem))}
    if not versions:
        raise unknown("matrix", name, {*known, *(stem.split("@")[0] for stem in known)})
    return versions[max(versions)]


def load_matrix(name: str) -> Matrix:
    """Reads and validates a matrix.

    Raises:
        UsageError: it does not exist, or the message lists every wrong field.
    """
    path = locate(name)
    try:
        matrix = Matrix.model_validate(read_toml(path, UsageError))
    except ValidationError as error:
        known = {*Matrix.model_fields, *Block.model_fields}
        raise UsageError(explain(error, str(path), known)) from None
    matrix._file = str(path)
    return matrix
