"""The tables inside a card."""

from __future__ import annotations

import math
import reprlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.api.threat import Checkpoint

Value = bool | int | float | str
NonEmpty = Annotated[str, Field(min_length=1)]
_LARGEST = 2**63 - 1


class Strict(BaseModel):
    """Fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(Strict):
    """One keyword-only constructor argument of a plug-in."""

    default: Value
    """The value where nobody names one; the constructor has the same, and it settles the type."""
    description: NonEmpty
    """What it does, and its unit."""
    published: Value | None = None
    """The paper's value, where it differs from our default; `dlg@published` is an attack with all of them."""
    choices: tuple[Value, ...] = ()
    """The only values that are allowed, if not empty."""
    minimum: float | None = None
    """The smallest value that is allowed."""
    maximum: float | None = None
    """The largest value that is allowed."""
    sweep: tuple[Value, ...] = ()
    """Values that a fair comparison runs, for the strength of a defense."""
    path: bool = False
    """The value names a file or folder of the user, whose content is part of a result's identity."""

    def problem(self, value: Value) -> str | None:
        """Why ``value`` is not allowed here, or None if it is."""
        if isinstance(value, int) and abs(value) > _LARGEST:
            return "the number is too large"
        if isinstance(self.default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(self.default):
            return f"expected {type(self.default).__name__}, got {reprlib.repr(value)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, got {value!r}"
        if self.choices and value not in self.choices:
            return f"{reprlib.repr(value)} is not one of {', '.join(map(repr, self.choices))}"
        if isinstance(value, bool | str):
            return None
        if self.minimum is not None and value < self.minimum:
            return f"{value!r} is below the minimum {self.minimum:g}"
        if self.maximum is not None and value > self.maximum:
            return f"{value!r} is above the maximum {self.maximum:g}"
        return None

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Parameter:
        if problem := self.problem(self.default):
            raise ValueError(f"default: {problem}")
        for field, value in [("published", self.published), *(("sweep", value) for value in self.sweep)]:
            if value is not None and (problem := self.problem(value)):
                raise ValueError(f"{field}: {problem}")
        return self


class Download(Strict):
    """A file that `bench data get` fetches; a run never does."""

    url: NonEmpty
    """Where the official source has it."""
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    """What the official source says of it; another file is refused."""
    file: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")
    """Where the data set looks for it, below `$BENCH_DATA`."""
    when: dict[str, Value] = Field(default_factory=dict)
    """The values of parameters that it is for; all, if empty."""


class Claim(Strict):
    """A published figure, to be set beside ours."""

    text: NonEmpty
    """What is claimed, with its figure and the setting."""
    source: NonEmpty
    """Paper and table, figure or section."""


class Floor(Strict):
    """What an attack must reach on the undefended victim, or its implementation is broken."""

    model: NonEmpty
    """The victim's network, as `bench list models` names it."""
    checkpoint: Checkpoint
    """At round 0, or after the last round."""
    psnr: float
    """Mean PSNR in dB over all releases."""
