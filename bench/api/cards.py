"""Cards: what a plug-in says about itself, checked at the edge with all errors at once.

A card is read without importing the plug-in's code, so listing and validating cost no torch import and run
nobody's code.
"""

from __future__ import annotations

import math
import reprlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.api.errors import PluginError
from bench.api.threat import Access, Adversary, Channel, Checkpoint

Value = bool | int | float | str
Kind = Literal["attack", "defense", "dataset"]
NonEmpty = Annotated[str, Field(min_length=1)]
_LARGEST = 2**63 - 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Strict):
    """One keyword-only constructor argument of a plug-in."""

    default: Value
    description: NonEmpty
    published: Value | None = None
    """The paper's value, where it differs from our default."""
    choices: tuple[Value, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
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
        for value in self.sweep:
            if problem := self.problem(value):
                raise ValueError(f"sweep: {problem}")
        return self


class Claim(_Strict):
    """A published figure, to be set beside ours."""

    text: NonEmpty
    source: NonEmpty


class Floor(_Strict):
    """What an attack must reach on the undefended victim, or its implementation is broken."""

    model: NonEmpty
    checkpoint: Checkpoint
    psnr: float
    """Mean PSNR in dB over all releases."""


class _Card(_Strict):
    title: NonEmpty
    paper: NonEmpty
    authors: NonEmpty
    year: int
    url: str = ""
    notes: NonEmpty
    """Deviations from the paper, traps, scope."""


class _Configurable(_Card):
    channels: tuple[Channel, ...] = Field(min_length=1)
    parameters: dict[str, Parameter] = {}
    claims: tuple[Claim, ...] = ()


class AttackCard(_Configurable):
    """Card of an attack."""

    kind: Literal["attack"]
    adversaries: tuple[Adversary, ...] = Field(min_length=1)
    observes_release: bool = True
    """False for a prior that ignores the release: the floor of the tables, never their worst case."""
    needs_auxiliary: bool = False
    needs_labels: bool = False
    access: Access | None = None
    """What the attacker has of the client's half of a split network; attacks on ``smashed`` declare it."""
    max_batch_size: int | None = Field(default=None, ge=1)
    max_batch_reason: str = Field(default="", validate_default=True)
    floor: Floor | None = None
    gpu_memory_mb: PositiveInt | None = None
    """What one cell takes of a GPU at most; where it is declared, a cluster packs several on one GPU."""

    @field_validator("max_batch_reason")
    @classmethod
    def _limit_has_a_reason(cls, reason: str, info: ValidationInfo) -> str:
        if "max_batch_size" in info.data and (info.data["max_batch_size"] is None) != (reason == ""):
            raise ValueError("max_batch_size and max_batch_reason: give both or none")
        return reason

    @model_validator(mode="after")
    def _split_learning_needs_an_access(self) -> AttackCard:
        if Channel.SMASHED in self.channels and self.observes_release and self.access is None:
            raise ValueError(f"access: channel smashed needs one of {', '.join(Access)}")
        return self


class DefenseCard(_Configurable):
    """Card of a defense."""

    kind: Literal["defense"]
    strength: str = ""
    """Name of the parameter that is swept; empty for a defense without strength."""
    random: bool = False
    """It draws noise, masks or the like anew for every release; its leak needs many releases to be known."""
    needs_split: bool = False
    """It protects networks that are cut in two, and no other."""
    adaptive_view: bool = True
    """False where there is nothing to adapt to: adaptive attacks on it are ``n/a``."""

    @property
    def federal(self) -> bool:
        """It changes what the clients of a federation send, and is no part of split learning."""
        return not self.needs_split and Channel.CLIENT_GRADIENTS not in self.channels

    @field_validator("strength")
    @classmethod
    def _strength_is_a_parameter(cls, strength: str, info: ValidationInfo) -> str:
        if strength and strength not in info.data.get("parameters", {strength: None}):
            raise ValueError(f"{strength!r} is not one of the parameters")
        return strength


class DatasetCard(_Card):
    """Card of a data set."""

    kind: Literal["dataset"]
    licence: NonEmpty
    source: NonEmpty
    parameters: dict[str, Parameter] = {}
    num_classes: int | None = Field(default=None, ge=2, validate_default=True)
    image_shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        default=None, validate_default=True
    )
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", validate_default=True)

    @field_validator("num_classes", "image_shape", "sha256")
    @classmethod
    def _missing_where_the_user_brings_the_files(cls, value: Any, info: ValidationInfo) -> Any:
        """Only the user's own files, named by a parameter with ``path = true``, may leave these open."""
        brought = any(item.path for item in info.data.get("parameters", {}).values())
        if not value and not brought:
            raise ValueError("Field required")
        return value


Card = AttackCard | DefenseCard | DatasetCard
CARDS: dict[str, type[AttackCard] | type[DefenseCard] | type[DatasetCard]] = {
    "attack": AttackCard,
    "defense": DefenseCard,
    "dataset": DatasetCard,
}


def _shown(part: object) -> str:
    """A field's name; one with control characters or colons in it stands in quotes."""
    text = str(part)
    return text if text.isprintable() and ":" not in text and text.strip() else repr(text)


def explain(error: ValidationError, where: str) -> str:
    """All problems of one file, a line each: file, field, what is wrong."""
    lines = []
    items = error.errors()
    inner = {item["loc"][:end] for item in items for end in range(len(item["loc"]))}
    for item in items:
        if item["type"] == "too_short" and item["loc"] in inner:
            continue  # its wrong items are listed, and do not count
        at = ".".join(_shown(part) for part in item["loc"]) or "(whole file)"
        lines.append(f"{where}: {at}: {item['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def read_toml(path: Path, error: type[Exception] = PluginError) -> dict[str, Any]:
    """Reads a TOML file; what is wrong with it becomes one ``error`` that names the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: file is missing") from None
    except (OSError, ValueError) as cause:  # ValueError: not UTF-8, not TOML, a number of 5,000 digits
        raise error(f"{path}: {cause}") from None
    except RecursionError:
        raise error(f"{path}: nested too deeply") from None


def read_card(path: Path, kind: Kind) -> Card:
    """Reads and validates one card.

    Raises:
        PluginError: naming the file and every wrong field.
    """
    try:
        return CARDS[kind].model_validate(read_toml(path))
    except ValidationError as error:
        raise PluginError(explain(error, str(path))) from None
