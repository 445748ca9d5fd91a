"""The (epsilon, delta) of a training by opacus' accountant of Renyi divergences (Mironov et al. 2019)."""

from __future__ import annotations

import math
import warnings

DELTA = 1e-5
MISSING = "dpsgd: no epsilon is reported, since opacus is not installed: pip install 'inversion-bench[dp]'"
_ORDERS = [1.01, 1.02, 1.05, *(1 + 0.1 * x for x in range(1, 100)), *range(11, 64), 64, 128, 256, 512, 1024]


def epsilon(noise_multiplier: float, *, steps: int, rate: float = 1.0, delta: float = DELTA) -> float:
    """An epsilon for which so many steps are (epsilon, delta)-differentially private; an upper bound.

    An image whose gradient is there or zero changes a step's sum by at most C, beside noise of deviation
    ``noise_multiplier * C`` on every entry.

    Args:
        noise_multiplier: z.
        steps: in which an image may take part.
        rate: with which probability it does, drawn for itself in each step (Poisson); 1: always.
        delta: of the guarantee.

    Returns:
        epsilon; NaN, with a warning that says why, where the package is missing.
    """
    try:
        from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent
    except ImportError:
        warnings.warn(MISSING, stacklevel=2)
        return math.nan
    moments = compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=steps, orders=_ORDERS)
    found, _ = get_privacy_spent(orders=_ORDERS, rdp=moments, delta=delta)
    return float(found)
