"""What the user brings is built and read before anything is queued: a mistake is one message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.api.errors import BenchError, UsageError
from bench.channels import terms
from bench.matrix.cells import Cell, Variant
from bench.matrix.filters import Filters, parse_named
from bench.matrix.needs import Held, unmet
from bench.models.spec import parse_model
from bench.plugins import build_dataset, dataset_card

if TYPE_CHECKING:
    from bench.api.dataset import Dataset


def build_user_inputs(cells: Iterable[Cell]) -> None:
    """Builds every network that the user named, and compares it with its author's.

    Args:
        cells: those that are to be measured.

    Raises:
        UsageError: a network cannot be used.
    """
    built: set[tuple[Variant, str]] = set()
    for cell in cells:
        wanted = cell.dataset, cell.model
        if not cell.incompatible and wanted not in built and not parse_model(cell.model).plain:
            _compare(cell.model, build_dataset(cell.dataset.name, cell.dataset.arguments()))
            built.add(wanted)


def within_data(cells: Sequence[Cell], filters: Filters) -> tuple[list[Cell], list[str]]:
    """The cells, those impossible that need more than the user's data sets have.

    Data sets that ship with the project are not touched: it costs time, and their files may be missing on
    this machine without a fault of the user's.

    Args:
        cells: of a matrix.
        filters: what the user chose by name.

    Returns:
        The cells, and a line on what was read of each data set.

    Raises:
        UsageError: a data set cannot be used.
    """
    chosen = {parse_named("dataset", text)[0] for text in filters.datasets}
    known: dict[tuple[Variant, int], Held] = {}
    found, lines = [], dict[Variant, str]()
    for cell in cells:
        if cell.incompatible or not _lies_here(cell.dataset, chosen):
            found.append(cell)
            continue
        data, seed = cell.dataset, cell.seed if terms(cell.channel).by_class else cells[0].seed
        if (data, seed) not in known:
            known[data, seed], line = _read(data, seed)
            lines.setdefault(data, line)
        found.append(replace(cell, incompatible=unmet(cell, known[data, seed])))
    return found, [*lines.values()]


def _lies_here(data: Variant, chosen: set[str]) -> bool:
    """Whether it is made of files of the user's, or of files that the user says are there."""
    places = [key for key, item in dataset_card(data.name).parameters.items() if item.path]
    return bool(places) and (data.name in chosen or any(data.arguments()[key] for key in places))


def _read(data: Variant, seed: int) -> tuple[Held, str]:
    try:
        made = build_dataset(data.name, data.arguments())
        held = Held.of(made, made.splits(seed=seed))
        return held, f"{data.label}: {'; '.join(filter(None, (made.reading(), held.images)))}"
    except UsageError:
        raise
    except BenchError as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        raise UsageError(
            f"dataset {data.label}: reading it raises {type(error).__name__}: {error}; "
            f"bench check '{data.label}' tells more"
        ) from error


def _compare(model: str, data: Dataset) -> None:
    from bench.models.compare import compare_named

    compare_named(model, num_classes=data.num_classes, image_shape=data.image_shape)
