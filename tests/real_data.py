"""Real images for tests: folders of ``$BENCH_DATA``, which the project neither ships nor fetches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = os.environ.get("BENCH_DATA", "")


def real(name: str) -> Path:
    """A data set of ``$BENCH_DATA`` as it was when the tests began; it need not exist."""
    return Path(ROOT or os.devnull).expanduser().absolute() / name


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test, with the reason, where ``$BENCH_DATA`` does not hold this file or folder."""
    why = (
        f"{name} is not in $BENCH_DATA, {ROOT}"
        if ROOT
        else "$BENCH_DATA is not set: it names a folder of data sets"
    )
    return pytest.mark.skipif(not (ROOT and real(name).exists()), reason=why)
