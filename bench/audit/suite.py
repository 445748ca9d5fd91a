"""What an audit runs: the matrix's attacks against one defense at several strengths, and against none."""

from __future__ import annotations

from collections.abc import Mapping

from bench.api.cards import Value
from bench.api.errors import UsageError
from bench.channels import of_classes
from bench.matrix import Filters, Matrix, expand
from bench.plugins import defense_card
from bench.report.analysis.entries import title
from bench.report.analysis.verdict import LEAST_CLASSES, LEAST_RELEASES, LEAST_SEEDS

_STEPS = (0.1, 1.0, 10.0)
"""Times the default, where a card gives no ``sweep``."""


def strengths(name: str) -> tuple[Value, ...]:
    """The strengths of a fair comparison: the card's ``sweep``, or a tenth, one and ten times the default.

    Args:
        name: of the defense.

    Returns:
        Values of the card's strength parameter; empty for a defense without one.
    """
    card = defense_card(name)
    if not card.strength:
        return ()
    parameter = card.parameters[card.strength]
    if parameter.sweep:
        return parameter.sweep
    if not isinstance(parameter.default, float):
        return (parameter.default,)
    steps = (parameter.default * step for step in _STEPS)
    return tuple(dict.fromkeys(value for value in steps if parameter.problem(value) is None))


def selection(name: str, values: tuple[Value, ...], baseline: str) -> tuple[str, ...]:
    """What ``-d`` would say: the undefended victim, and the defense at each strength."""
    swept = defense_card(name).strength
    own = tuple(f"{name}[{swept}={value}]" for value in values) or (name,)
    return (baseline, *own)


def undefended(matrix: Matrix) -> str:
    """The matrix's defense that is none: it has no parameters and nothing to adapt to.

    Raises:
        UsageError: the matrix has no such defense, so nothing can be compared with it.
    """
    names = [entry.name for block in matrix.block for entry in block.defenses]
    for name in dict.fromkeys(names):
        card = defense_card(name)
        if not card.adaptive_view and not card.parameters:
            return name
    raise UsageError(f"{matrix.where}: it has no undefended victim with which a defense could be compared")


def refuse_elsewhere(matrix: Matrix, name: str) -> None:
    """Refuses a matrix in which nothing of the defense's kind is attacked.

    Args:
        matrix: whose attacks an audit would run.
        name: of the defense.

    Raises:
        UsageError: none of the matrix's blocks is on a channel of the defense.
    """
    own = set(defense_card(name).channels)
    known = {block.channel for block in matrix.block}
    if not own & known:
        raise UsageError(
            f"{matrix.where}: {name} is made for the channel {' and '.join(sorted(own))}, and the matrix "
            f"attacks {', '.join(sorted(known))} only: choose another one with --matrix"
        )


def planned_releases(matrix: Matrix, filters: Filters) -> dict[str, dict[int, int]]:
    """How many releases would stand behind the rows of each setting.

    Args:
        matrix: what would run.
        filters: restrictions.

    Returns:
        By the setting's title, releases by seed.
    """
    planned: dict[str, dict[int, int]] = {}
    for cell in expand(matrix, filters):
        if not cell.incompatible:
            place = title(cell.channel, cell.dataset.label, cell.model, cell.checkpoint, cell.batch_size)
            mine = planned.setdefault(place, {})
            mine[cell.seed] = max(cell.releases, mine.get(cell.seed, 0))
    return planned


def too_small(planned: Mapping[str, Mapping[int, int]]) -> str:
    """A sentence where no word can come out, because too little would be measured; else empty.

    Args:
        planned: see :func:`planned_releases`.
    """
    few = {
        place: f"{sum(seeds.values())} of {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        for place, seeds in planned.items()
        if len(seeds) < LEAST_SEEDS or sum(seeds.values()) < _least(place)
    }
    if not few:
        return ""
    return (
        f"No word can come out: it takes {LEAST_SEEDS} seeds and {LEAST_RELEASES} releases behind each row "
        f"(on channel model {LEAST_CLASSES} classes x seeds), as 5 seeds x 15 releases give; planned are "
        f"{'; '.join(f'{size} in {place}' for place, size in few.items())}."
    )


def _least(place: str) -> int:
    return LEAST_CLASSES if of_classes(place) else LEAST_RELEASES
