"""Whether a row of the leaderboard says anything about its defense."""

from __future__ import annotations

from bench.api.errors import UsageError
from bench.plugins import dataset_card
from bench.report.entries import Group, Row
from bench.report.evidence import LEAST_RELEASES, releases

BELOW_FLOOR = "every attack ends below the floor"
UNCONVERGED = "the training of its victim had not converged"
UNDEFENDED_UNCONVERGED = "the training of the undefended victim had not converged"
NEAR_CHANCE = "the accuracy of its victim is near chance"
UNDEFENDED_NEAR_CHANCE = "the accuracy of the undefended victim is near chance"
FEW_RELEASES = f"fewer than {LEAST_RELEASES} releases"
MISSING_ATTACK = "an attack that others had to stand is missing"
NO_UNDEFENDED = "there is no undefended victim to compare with"
UNSCORED = "no image was scored by all of its attacks"
UNKNOWN_CLASSES = "how many classes there are is not known, so accuracy was not compared with chance"


def reasons(group: Group, row: Row) -> tuple[str, ...]:
    """Why a row counts for nothing; empty where it was tested.

    Args:
        group: the setting.
        row: a defense at one strength in it.
    """
    base = group.baseline
    found = {
        BELOW_FLOOR: "below-prior" in row.flags,
        UNCONVERGED: "unconverged" in row.flags,
        UNDEFENDED_UNCONVERGED: base is not None and "unconverged" in base.flags,
        NEAR_CHANCE: _near_chance(group, row),
        UNDEFENDED_NEAR_CHANCE: base is not None and _near_chance(group, base),
        UNSCORED: row.worst is None,
        FEW_RELEASES: row.worst is not None and releases(row) < LEAST_RELEASES,
        MISSING_ATTACK: not row.ranked,
        NO_UNDEFENDED: base is None or base.worst is None,
    }
    return tuple(reason for reason, holds in found.items() if holds)


def remarks(group: Group) -> tuple[str, ...]:
    """What could not be checked of the rows of a setting."""
    return () if classes(group) else (UNKNOWN_CLASSES,)


def classes(group: Group) -> int | None:
    """How many classes the data set has; None where its card does not say, as for a user's own images."""
    try:
        return dataset_card(group.dataset.partition("[")[0]).num_classes
    except UsageError:
        return None


def _near_chance(group: Group, row: Row) -> bool:
    """Whether the accuracy lies below halfway from chance to 1; an unknown number is no reason."""
    count = classes(group)
    return count is not None and row.utility.mean < (1 + 1 / count) / 2
