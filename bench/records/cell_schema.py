"""The question that a record answers: every field typed and bounded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat, StrictStr

from bench.api.threat import Adversary, Channel, Checkpoint
from bench.records.record_fields import Part

_Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
_Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Text = Annotated[str, Field(strict=True, max_length=4096)]
_Name = Annotated[str, Field(strict=True, min_length=1, max_length=4096)]
# A whole number stays one and a fraction stays one: the id of a cell is made of what is written.
_Number = _Whole | StrictFloat
_Value = StrictBool | _Whole | StrictFloat | StrictStr


class Chosen(Part):
    """A plug-in with all its parameters; ``defense`` and ``attack`` are such objects, too."""

    name: _Name
    """The plug-in's folder."""
    parameters: tuple[tuple[_Text, _Value], ...]
    """All of them, as pairs sorted by name."""
    label: _Name
    """How tables call it."""
    strength: _Number | None
    """The swept parameter of a defense; None for everything else."""


class CellSchema(Part):
    """What was asked: all that names the cell."""

    dataset: Chosen
    """Where the private images come from."""
    model: _Name
    """The victim's architecture."""
    checkpoint: Checkpoint
    """When the release was made: ``initial`` or ``trained``."""
    channel: Channel
    """What leaks."""
    batch_size: _Count
    """Private images per release; on channel ``model`` images that are rebuilt of a class."""
    releases: _Count
    """Independent releases; on channel ``model`` classes."""
    epochs: _Number | None
    """Passes over the private images; None is the architecture's own schedule."""
    defense: Chosen
    """Trained in and applied at release."""
    attack: Chosen
    """Who attacks."""
    adversary: Adversary
    """Whether it knows the defense: ``naive`` or ``adaptive``."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)]
    """Of the split, the weights, the training, the releases and the attack."""
    budget: _Count
    """Gradient evaluations per release."""
    incompatible: _Text
    """Why the cell cannot be measured; empty if it can."""
