"""What a record would have this machine load: somebody's code or files, which only the user may name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.api.cards import Kind
from bench.matrix.cells import Cell, Variant
from bench.models.names import ALIASES, MODELS
from bench.plugins import FOLDERS, find
from bench.search_path import working_folder


def untrusted(cell: Cell, trusted: Collection[str]) -> list[str]:
    """What a cell names that is neither part of this project or an installed plug-in nor trusted.

    A plug-in that lies in the working folder alone is not installed: whoever looks at a folder from elsewhere
    may be standing in it.

    Nothing is imported or opened to find out.

    Args:
        cell: from a record, which anybody may have written.
        trusted: networks, plug-ins and paths that the user has named, as records spell them.

    Raises:
        UsageError: a plug-in is not installed.
    """
    return [text for text in _foreign(cell) if text not in trusted]


def _foreign(cell: Cell) -> Iterator[str]:
    head, _, options = ALIASES.get(cell.model, cell.model).partition("[")
    if head.strip() not in MODELS or "weights" in options:
        yield cell.model
    plugins: dict[Kind, Variant] = {"dataset": cell.dataset, "defense": cell.defense, "attack": cell.attack}
    for kind, variant in plugins.items():
        plugin = find(kind, variant.name)
        if plugin.folder.parent == working_folder(FOLDERS[kind]):
            yield variant.name
        card = plugin.card
        for name, value in variant.parameters:
            parameter = card.parameters.get(name)
            if parameter is not None and parameter.path and value != parameter.default:
                yield str(value)
