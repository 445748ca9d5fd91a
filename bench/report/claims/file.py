"""``claims.toml``: how the claims that a card quotes are measured here.

The file stands beside the card, apart from it because no result depends on it: one ``[[check]]`` per number
that must hold. The bounds are what the paper says, the tolerance is ours.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.api.cards import explain, read_toml
from bench.api.errors import PluginError
from bench.report.text import DIGITS

FILE = "claims.toml"
Metric = Literal[
    "psnr", "ssim", "lpips", "identified", "label_correct", "recognised", "recognised5", "feature_distance",
    "diversity", "success",
]  # fmt: skip
About = Literal["protection", "attack", "cost"]
_ROUNDING = 1e-9
"""Sums of shares in another order differ by less."""


class Check(BaseModel):
    """How one claim of a card is measured, or why it cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: int = Field(ge=1)
    """Which claim of the card, counted from 1."""
    about: About
    """What is claimed: that a defense protects, how strong an attack is, or what either costs."""
    metric: Metric | None = None
    at_least: float | None = None
    at_most: float | None = None
    """Bounds of the metric, both included; rates are fractions. A range has both, a value twice the same."""
    tolerance: float = Field(default=0.0, ge=0)
    """How far beyond its bounds a number still agrees; in the unit of the bounds."""
    channel: str = ""
    model: str = ""
    checkpoint: str = ""
    batch_size: int | None = None
    attack: str = ""
    """Label of the attack that measures a defense; empty is the strongest of all."""
    adversary: Literal["", "naive", "adaptive"] = ""
    """Whether attackers know the defense. Empty: the attack named ignores it; without a name, both kinds."""
    strength_at_least: float | None = None
    strength_at_most: float | None = None
    """Of the defense whose card this is."""
    note: str = ""
    """How our setting differs."""
    not_comparable: str = ""
    """Why nothing here measures the claim."""

    @model_validator(mode="after")
    def _measures_or_says_why(self) -> Check:
        bounded = self.at_least is not None or self.at_most is not None
        if bool(self.not_comparable) == (self.metric is not None):
            raise ValueError("give metric with at_least or at_most, or not_comparable")
        if self.metric is not None and not bounded:
            raise ValueError("metric needs at_least or at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that agrees; infinite where the claim has no such end."""
        wider = self.tolerance + _ROUNDING
        low = -math.inf if self.at_least is None else self.at_least - wider
        return low, math.inf if self.at_most is None else self.at_most + wider

    @property
    def asked(self) -> str:
        """What the claim asks for, in the unit that is printed: ``at least 14 and at most 18``."""
        scale = DIGITS.get(str(self.metric), (100.0, 0))[0]
        if self.at_least is not None and self.at_least == self.at_most:
            words = f"{scale * self.at_least:g}"
        else:
            ends = [("at least", self.at_least), ("at most", self.at_most)]
            words = " and ".join(f"{word} {scale * end:g}" for word, end in ends if end is not None)
        return words + (f", give or take {scale * self.tolerance:g}" if self.tolerance else "")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    check: tuple[Check, ...]


def read_checks(folder: Path) -> tuple[Check, ...]:
    """The checks of a plug-in; none without a file.

    Raises:
        PluginError: naming the file and every wrong field.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    try:
        return _File.model_validate(read_toml(path)).check
    except ValidationError as error:
        raise PluginError(explain(error, str(path))) from None
