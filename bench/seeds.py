"""Independent seeds of one cell, one for each purpose."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str) -> int:
    """An independent seed for one purpose, the same on every machine.

    It depends on no plug-in: all attacks and defenses of one seed share their random starts, so that
    comparisons between them are paired.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
