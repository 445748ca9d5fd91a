"""Running a matrix: what is missing is computed, what is finished stays, and nothing half-written is read.

The flow, one module a step: :mod:`identity` names every stage by what goes into it, :mod:`plan` decides which
cells are to be run, :mod:`local` spreads them over worker processes, which walk through :mod:`stages` (each
cached in :mod:`store`) and return an outcome that :mod:`results` commits. :mod:`run` ties them together.

Only the workers import torch. ``bench.runs`` itself imports nothing, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runs.files import DiskFullError
    from bench.runs.record import CorruptRecordError, Record, read_record
    from bench.runs.run import RunSummary, clean, run_matrix, status

_HOME = {
    "CorruptRecordError": "record",
    "DiskFullError": "files",
    "Record": "record",
    "RunSummary": "run",
    "clean": "run",
    "read_record": "record",
    "run_matrix": "run",
    "status": "run",
}

__all__ = [
    "CorruptRecordError",
    "DiskFullError",
    "Record",
    "RunSummary",
    "clean",
    "read_record",
    "run_matrix",
    "status",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
