"""How measured numbers are kept."""

from __future__ import annotations

import math


def finite(value: float) -> float | None:
    """NaN and infinities are missing values in a record; six digits are all that a metric has."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
