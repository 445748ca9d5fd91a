"""The threat model of one attack on one defense, line by line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from bench.api.cards import AttackCard
from bench.channels import channel
from bench.channels.shared.contract import ChannelKind
from bench.models.weights import GENERATORS
from bench.report.analysis.entries import AttackEntry, Group, Row
from bench.report.text import number, percent


def threat_lines(
    group: Group, row: Row, entry: AttackEntry, cell: Mapping[str, Any], card: AttackCard | None
) -> list[list[str]]:
    """Names and values.

    Args:
        group: where.
        row: the defense.
        entry: the attack.
        cell: the record of its first cell.
        card: its card, if it is installed.
    """
    words = group.terms
    knows = "knows the defense and its parameters" if entry.adversary == "adaptive" else "ignores the defense"
    kind = channel(group.channel)
    observes = card.classifier_access.observes if card is not None and words.by_class else kind.observes
    lines = [
        ["observes", words.blind if entry.floor else observes],
        ["adversary", f"{entry.adversary}: {knows}"],
        [f"images per {words.unit}", _size(group, cell)],
        ["victim", f"{group.model}, {group.checkpoint} weights, trained under {row.name}"],
        ["budget", f"{int(cell['budget']):,} gradient evaluations per {words.per}"],
    ]
    if card is not None:
        lines += _owned(kind, entry, card)
    if cell["generator_kind"] or (card is not None and card.needs_generator):
        lines.append(["generator", _generator(cell)])
    return lines


def _size(group: Group, cell: Mapping[str, Any]) -> str:
    """B, and how many of its images have a label that another one has."""
    shared = float(cell.get("release_shared_labels", math.nan))
    if group.terms.by_class or math.isnan(shared):
        return str(group.batch_size)
    return f"{group.batch_size}; {percent(shared, 0)} % of them with the label of another"


def _owned(kind: ChannelKind, entry: AttackEntry, card: AttackCard) -> list[list[str]]:
    """What the attacker has beside the release."""
    images = card.needs_auxiliary or card.needs_generator
    if kind.terms.by_class:
        return [["auxiliary data", "images without labels" if images else "none"]]
    auxiliary = "other images of the same distribution" if images else "none"
    if entry.adversary == "adaptive" and not images:
        auxiliary = "none, but to undo a change of the clients' images if the defense makes one"
    given = "given: the server has them by the protocol, since it computes the loss"
    lines = [["private labels", given if card.needs_labels else "not given"], ["auxiliary data", auxiliary]]
    if card.access is None:
        return lines
    has = "of the client's half" if kind.needs_cut else "of the clients"
    return [*lines, [has, card.access.words]]


def _generator(cell: Mapping[str, Any]) -> str:
    """Which one, and how good it is."""
    kind = cell["generator_kind"] or json.loads(str(cell["attack_parameters"])).get("generator", "unknown")
    frechet, real = float(cell["generator_frechet"]), float(cell["generator_frechet_real"])
    sure, sure_real = float(cell["generator_confident"]), float(cell["generator_confident_real"])
    quality = ""
    if not math.isnan(frechet):
        quality = f"; Frechet distance {number(frechet, 2)} (real images {number(real, 2)})"
    if not math.isnan(sure):
        quality += f", the evaluator is sure of {percent(sure, 0)} % (real images {percent(sure_real, 0)} %)"
    foreign = GENERATORS.get(kind)
    trained = f"from elsewhere: {foreign.source}" if foreign else "trained on the auxiliary images"
    return f"{kind}, {trained}{quality}"
