"""No defense: what leaves is what was computed."""

from bench.api import Defense


class NoDefense(Defense):
    """Every hook is the identity."""
