"""What the user brings is built once before anything is queued: a mistake is one message, not a hundred."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.api.errors import BenchError, UsageError
from bench.matrix.cells import Cell, Variant
from bench.matrix.filters import Filters, parse_named
from bench.models.spec import parse_model
from bench.plugins import build_dataset, dataset_card

if TYPE_CHECKING:
    from bench.api.dataset import Dataset


def build_user_inputs(cells: Iterable[Cell], filters: Filters) -> None:
    """Builds every network, and reads every data set, that the user named.

    What ships with the project is not touched: it costs time, and its files may be missing on this machine
    without a fault of the user's.

    Args:
        cells: those that are to be measured.
        filters: what the user chose by name.

    Raises:
        UsageError: a network or a data set cannot be used.
    """
    chosen = {parse_named("dataset", text)[0] for text in filters.datasets}
    read: set[Variant] = set()
    built: set[tuple[Variant, str]] = set()
    for cell in cells:
        if cell.incompatible:
            continue
        data = cell.dataset
        if data not in read and _lies_here(data, chosen):
            _read(data, cell.seed)
            read.add(data)
        if (data, cell.model) not in built and not parse_model(cell.model).plain:
            _build(cell.model, _made(data))
            built.add((data, cell.model))


def _lies_here(data: Variant, chosen: set[str]) -> bool:
    """Whether it is made of files of the user's, or of files that the user says are there."""
    places = [key for key, item in dataset_card(data.name).parameters.items() if item.path]
    return bool(places) and (data.name in chosen or any(data.arguments()[key] for key in places))


def _made(data: Variant) -> Dataset:
    return build_dataset(data.name, data.arguments())


def _read(data: Variant, seed: int) -> None:
    try:
        _made(data).splits(seed=seed)
    except UsageError:
        raise
    except BenchError as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        raise UsageError(
            f"dataset {data.label}: reading it raises {type(error).__name__}: {error}; "
            f"bench check '{data.label}' tells more"
        ) from error


def _build(model: str, data: Dataset) -> None:
    from bench.models.build import build_model

    build_model(model, num_classes=data.num_classes, image_shape=data.image_shape)
