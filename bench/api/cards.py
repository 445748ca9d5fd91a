"""Cards: what a plug-in says about itself, checked at the edge with all errors at once.

A card is read without importing the plug-in's code, so listing and validating cost no torch import and run
nobody's code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.api.access import ModelAccess
from bench.api.card_parts import Claim, Download, Floor, NonEmpty, Parameter, Strict, Value
from bench.api.errors import PluginError, nearest
from bench.api.threat import Access, Adversary, Channel
from bench.search_path import channel_names

__all__ = [
    "CARDS",
    "AttackCard",
    "Card",
    "Claim",
    "DatasetCard",
    "DefenseCard",
    "Download",
    "Floor",
    "Kind",
    "Parameter",
    "Value",
    "explain",
    "read_card",
    "read_toml",
    "too_small",
]
SMALLEST_SIDE = 11
"""Pixels of the window of SSIM: smaller images are not measured."""

Kind = Literal["attack", "defense", "dataset"]


class _Card(Strict):
    title: NonEmpty
    """A short name for people."""
    paper: NonEmpty
    """The paper that it implements, with where it appeared."""
    authors: NonEmpty
    """The paper's authors, by last name."""
    year: int
    """When it appeared."""
    url: str = ""
    """Where the paper can be read."""
    notes: NonEmpty
    """Deviations from the paper, traps, scope."""


class _Configurable(_Card):
    channels: tuple[Channel, ...] = Field(min_length=1)
    """What leaves the victims that it is made for; `["every"]` stands for all channels that there are."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """One table `[parameters.NAME]` for each keyword-only argument of the constructor."""
    claims: tuple[Claim, ...] = ()
    """One table `[[claims]]` for each."""

    @field_validator("channels", mode="before")
    @classmethod
    def _every_channel(cls, value: object) -> object:
        return [*channel_names()] if value == ["every"] else value


class AttackCard(_Configurable):
    """Card of an attack."""

    kind: Literal["attack"]
    """What the folder holds."""
    adversaries: tuple[Adversary, ...] = Field(min_length=1)
    """Whether it ignores the defense, knows it, or has a variant for each."""
    observes_release: bool = True
    """False for a prior that ignores the release: the floor of the tables, never their worst case."""
    needs_auxiliary: bool = False
    """It uses images of the same distribution that no victim has seen."""
    needs_labels: bool = False
    """It is told the private labels. On channel `smashed` the protocol gives them to the server; elsewhere it
    gives them to nobody, and the cells are `n/a`."""
    needs_generator: bool = False
    """It searches a generator learned from auxiliary images; its parameter ``generator`` says which."""
    needs_linear_input: bool = False
    """It reads the images off a fully connected first layer; the cells of other networks are `n/a`."""
    receives_pool: bool = False
    """It is given a list that holds the private images: a bound beside the attacks, in no worst case."""
    access: Access | None = None
    """What the attacker has of the client's half of a split network; attacks on ``smashed`` declare it, and
    on ``malicious`` it is ``active``."""
    classifier_access: ModelAccess = ModelAccess.WHITE
    """What the attacker has of a released classifier, on channel `model`: its weights (`white`), its softmax
    scores for images of the attacker (`score`), or their class alone (`label`)."""
    max_batch_size: int | None = Field(default=None, ge=1)
    """The most images in one release; larger releases are `n/a`. Together with `max_batch_reason`."""
    max_batch_reason: str = Field(default="", validate_default=True)
    """Why not more."""
    floor: Floor | None = None
    """What it must reach on the undefended victim, as a table `[floor]`."""
    gpu_memory_mb: PositiveInt | None = None
    """What one cell takes of a GPU at most; where it is declared, a cluster packs several on one GPU."""

    @property
    def published(self) -> dict[str, Value]:
        """The paper's values, where they differ from ours: the preset of that name."""
        return {key: item.published for key, item in self.parameters.items() if item.published is not None}

    @field_validator("max_batch_reason")
    @classmethod
    def _limit_has_a_reason(cls, reason: str, info: ValidationInfo) -> str:
        if "max_batch_size" in info.data and (info.data["max_batch_size"] is None) != (reason == ""):
            raise ValueError("max_batch_size and max_batch_reason: give both or none")
        return reason

    @model_validator(mode="after")
    def _a_generator_is_a_parameter(self) -> AttackCard:
        named = self.parameters.get("generator")
        if self.needs_generator and not (named and named.choices):
            raise ValueError("needs_generator: a parameter `generator` with choices must say which")
        return self

    @model_validator(mode="after")
    def _split_learning_needs_an_access(self) -> AttackCard:
        if Channel.SMASHED in self.channels and self.observes_release and self.access is None:
            raise ValueError(f"access: channel smashed needs one of {', '.join(Access)}")
        if Channel.MALICIOUS in self.channels and self.observes_release and self.access is not Access.ACTIVE:
            raise ValueError("access: on channel malicious the attacker is the server: write active")
        return self

    @model_validator(mode="after")
    def _a_black_box_is_a_classifier(self) -> AttackCard:
        if self.classifier_access is not ModelAccess.WHITE and Channel.MODEL not in self.channels:
            raise ValueError("classifier_access: only on channel model is a classifier released")
        return self


class DefenseCard(_Configurable):
    """Card of a defense."""

    kind: Literal["defense"]
    """What the folder holds."""
    strength: str = ""
    """Name of the parameter that is swept; empty for a defense without strength."""
    random: bool = False
    """It draws noise, masks or the like anew for every release; its leak needs many releases to be known."""
    needs_split: bool = False
    """It protects networks that are cut in two, and no other."""
    needs_batch: bool = False
    """It hides each image among the others of its batch; releases of a single one are ``n/a``."""
    adaptive_view: bool = True
    """False where there is nothing to adapt to: adaptive attacks on it are ``n/a``."""

    @field_validator("strength")
    @classmethod
    def _strength_is_a_parameter(cls, strength: str, info: ValidationInfo) -> str:
        if strength and strength not in info.data.get("parameters", {strength: None}):
            raise ValueError(f"{strength!r} is not one of the parameters")
        return strength


class DatasetCard(_Card):
    """Card of a data set."""

    kind: Literal["dataset"]
    """What the folder holds."""
    licence: NonEmpty
    """Of the images."""
    source: NonEmpty
    """Where the files come from, and how to get them."""
    pictures: bool = True
    """False where published folders may hold no image of it and no reconstruction, only numbers."""
    downloads: tuple[Download, ...] = ()
    """One table `[[downloads]]` for each file that can be fetched; without any, `source` has to help."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """One table `[parameters.NAME]` for each keyword-only argument of the constructor."""
    second_evaluator: Literal["", "faces"] = ""
    """`faces` where the classes are people: an embedder of faces then says, too, who is shown."""
    num_classes: int | None = Field(default=None, ge=2, validate_default=True)
    """K. It, the shape and the sha256 are required, unless the user brings the files (`path = true`)."""
    image_shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        default=None, validate_default=True
    )
    """C, H, W, as `splits` returns images."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", validate_default=True)
    """Of the bytes that the data set reads, as its notes say; `splits` compares and refuses other ones."""
    libraries: tuple[NonEmpty, ...] = ()
    """Packages that decode or resize its images, such as `pillow`; their versions are part of every key."""

    @field_validator("num_classes", "image_shape", "sha256")
    @classmethod
    def _missing_where_the_user_brings_the_files(cls, value: Any, info: ValidationInfo) -> Any:
        """Only the user's own files, named by a parameter with ``path = true``, may leave these open."""
        brought = any(item.path for item in info.data.get("parameters", {}).values())
        if not value and not brought:
            raise ValueError("Field required")
        return value


def too_small(image_shape: tuple[int, int, int]) -> str:
    """Why images (C, H, W) cannot be measured; empty if they can."""
    _, height, width = image_shape
    if min(height, width) >= SMALLEST_SIDE:
        return ""
    return f"SSIM needs sides of {SMALLEST_SIDE} pixels or more, and these images have {height}x{width}"


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


def explain(error: ValidationError, where: str, known: Collection[str] = ()) -> str:
    """All problems of one file, a line each: file, field, what is wrong.

    Args:
        error: what the validation found.
        where: the file.
        known: names of fields; a field that there is not is answered with the nearest of them.
    """
    lines = []
    items = error.errors()
    inner = {item["loc"][:end] for item in items for end in range(len(item["loc"]))}
    for item in items:
        if item["type"] == "too_short" and item["loc"] in inner:
            continue  # its wrong items are listed, and do not count
        at = ".".join(_shown(part) for part in item["loc"]) or "(whole file)"
        line = f"{where}: {at}: {item['msg'].removeprefix('Value error, ')}"
        meant = nearest(str(item["loc"][-1]), known) if item["type"] == "extra_forbidden" else ""
        lines.append(f"{line}; did you mean {meant!r}?" if meant else line)
    return "\n".join(lines)


def read_toml(path: Path, error: type[Exception] = PluginError) -> dict[str, Any]:
    """Reads a TOML file; what is wrong with it becomes one ``error`` that names the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors may put a mark in front
    except FileNotFoundError:
        raise error(f"{path}: file is missing") from None
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError as cause:
        raise error(f"{path}: save it as UTF-8: {cause}") from None
    except ValueError as cause:  # not TOML, a number of 5,000 digits
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
