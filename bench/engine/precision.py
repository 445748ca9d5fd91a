"""Searches in double precision, for releases whose last digits count."""

from __future__ import annotations

import copy
from dataclasses import replace

from bench.api.observation import GradientObservation


def in_double(observation: GradientObservation) -> GradientObservation:
    """The same observation in float64; what was rounded before it was released stays rounded."""
    known = observation.statistics
    return replace(
        observation,
        model=copy.deepcopy(observation.model).double(),
        parameters={name: value.double() for name, value in observation.parameters.items()},
        gradients={name: value.double() for name, value in observation.gradients.items()},
        statistics=None if known is None else {name: value.double() for name, value in known.items()},
    )
