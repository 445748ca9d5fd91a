"""Colour and shape of each defense: the same on every page, in every figure and in every format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without the yellow, which is too light for a thin line on white."""
SHAPES = "os^Dv<>p"
_GIVEN = (
    *("noise", "pruning", "pgsl", "dpsgd", "topk", "quantization"),
    *("activation_noise", "dropout", "nopeek", "soteria", "precode", "censor"),
    *("mid", "bido", "neg_label_smoothing", "tl_dmi", "trap_mid", "mixup"),
    *("percentile_privacy", "svt_privacy", "local_dp"),
)
"""In the order in which looks were given, those that meet in one table within six; new ones come last."""


@dataclass(frozen=True)
class Look:
    """How a defense is drawn.

    Attributes:
        colour: of its line and of its points.
        shape: of its points, as matplotlib names it.
    """

    colour: str
    shape: str


UNDEFENDED = Look("black", "o")


def looks(defenses: Iterable[str]) -> dict[str, Look]:
    """The looks of the defenses of a figure.

    A name decides, so that a defense looks the same wherever it is drawn and whatever else is installed; with
    other parameters it keeps its colour. Two names of one figure never share a look, as long as there are
    enough: the later one takes the next.

    Args:
        defenses: their names, without strengths.
    """
    places: dict[str, int] = {}
    for name in sorted({*defenses}, key=lambda name: (name not in _GIVEN, name)):
        wanted = _wanted(name)
        places[name] = next((place for place in wanted if place not in places.values()), wanted[0])
    return {name: _look(place) for name, place in places.items()}


def _wanted(name: str) -> list[int]:
    """All places, the best first; with parameters in brackets, those of the defense's colour are first."""
    count = len(COLOURS) * len(SHAPES)
    base, bracket, _ = name.partition("[")
    digest = int.from_bytes(hashlib.sha256(base.encode()).digest()[:4], "big")
    first = _GIVEN.index(base) if base in _GIVEN else digest % count
    alike = range(first + len(COLOURS), first + count, len(COLOURS)) if bracket else ()
    return [place % count for place in (*alike, *range(first, first + count))]


def _look(place: int) -> Look:
    """Neighbours differ in colour and shape; those of one colour in shape."""
    shape = (place + place // len(COLOURS)) % len(SHAPES)
    return Look(COLOURS[place % len(COLOURS)], SHAPES[shape])
