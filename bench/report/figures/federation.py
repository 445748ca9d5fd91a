"""What was recovered along one axis of a federation, all else equal: B, passes of a client, clients.

Settings that differ in one of them alone are what a federation may choose at no cost of accuracy by noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from bench.api.card_parts import Value
from bench.api.errors import BenchError
from bench.channels import channel
from bench.models.names import FEDERATION, IMAGES_PER_ROUND
from bench.models.spec import ModelSpec, parse_model
from bench.report.analysis.entries import Group, Row
from bench.report.figures.looks import UNDEFENDED, looks
from bench.report.statistics import Interval

AXES = {
    "batch_size": "images of a client in a round (B)",
    "local_epochs": "passes of a client over its images before it sends (E)",
    "local_batch": "images of a local step",
    "local_rate": "learning rate of local steps",
    "clients": "clients that a round of the training averages",
}
"""What may differ, and its words."""
FEWEST = 2
"""Points of a curve."""


@dataclass(frozen=True)
class Line:
    """One defense along the axis.

    Attributes:
        name: defense and strength.
        defense: without its strength; empty where there is none.
        points: values of the axis, ascending, and the share of images that the strongest attack recovered.
    """

    name: str
    defense: str
    points: tuple[tuple[float, Interval], ...]


@dataclass(frozen=True)
class Curve:
    """All defenses along one axis.

    Attributes:
        axis: a key of :data:`AXES`.
        place: what all its settings have in common.
        lines: at least one.
    """

    axis: str
    place: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Setting:
    group: Group
    spec: ModelSpec
    values: Mapping[str, Value]

    @property
    def single(self) -> bool:
        """Clients take one step, which is the gradient, whatever the rate."""
        return self.values["local_epochs"] == 1 and self.values["local_batch"] == self.group.batch_size

    def at_rate(self, rate: Value) -> _Setting:
        """The same with a rate, which decides nothing where clients take one step."""
        return replace(self, values={**self.values, "local_rate": rate})

    def along(self, axis: str) -> float:
        """Where it stands on an axis."""
        return float(self.group.batch_size if axis == "batch_size" else self.values[axis])

    def title(self, axis: str) -> str:
        """All that it shares with the settings that differ from it along an axis alone.

        With other batches other numbers of them make a round and a step, unless these were chosen: along B it
        is the choices that are shared, elsewhere what they come to.
        """
        shared, size = self.spec.federation, ""
        if axis != "batch_size":
            plain, size = _resolved(self.spec, (), self.group.batch_size), f"B = {self.group.batch_size}"
            shared = tuple(
                (key, value) for key, value in self.values.items() if key != axis and value != plain[key]
            )
        name = replace(self.spec, federation=shared).name
        parts = (self.group.channel, self.group.dataset, name, self.group.checkpoint, size)
        return " · ".join(filter(None, parts))


def curves(groups: Sequence[Group]) -> tuple[Curve, ...]:
    """One for each axis and each family of settings that differ in it alone."""
    settings = [setting for group in groups if (setting := _setting(group)) is not None]
    return tuple(curve for axis in AXES for curve in _along(axis, settings))


def _setting(group: Group) -> _Setting | None:
    """A setting by its values; None where no federation trains it, or its network is not known here."""
    with suppress(BenchError):
        if channel(group.channel).federated:
            spec = parse_model(group.model)
            found = _Setting(group, spec, _resolved(spec, spec.federation, group.batch_size))
            return found.at_rate(FEDERATION["local_rate"].default) if found.single else found
    return None


def _resolved(spec: ModelSpec, chosen: Iterable[tuple[str, Value]], size: int) -> dict[str, Value]:
    """What choices of a network's federation come to where clients have so many images."""
    found = {key: item.default for key, item in FEDERATION.items()} | dict(chosen)
    images = int(dict(spec.schedule).get("images_per_round", IMAGES_PER_ROUND))
    found["local_batch"] = min(cast("int", found["local_batch"]) or size, size)
    found["clients"] = found["clients"] or max(1, images // size)
    return found


def _along(axis: str, settings: Sequence[_Setting]) -> Iterator[Curve]:
    families: dict[str, list[_Setting]] = defaultdict(list)
    rates = [setting.values["local_rate"] for setting in settings]
    for setting in settings:
        if setting.single and axis in ("local_batch", "local_rate"):
            continue
        alike = [setting]
        if setting.single and axis == "local_epochs":  # passes at any rate start from the one step
            alike = [setting.at_rate(rate) for rate in rates]
        for title in dict.fromkeys(one.title(axis) for one in alike):
            families[title].append(setting)
    for title, family in families.items():
        if lines := _lines(axis, family):
            yield Curve(axis, title, lines)


def _lines(axis: str, family: Sequence[_Setting]) -> tuple[Line, ...]:
    """Rows of one defense that met the same attacks: the strongest of others is no point of a curve."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], dict[float, Row]] = defaultdict(dict)
    for setting in family:
        for row in setting.group.rows:
            met = frozenset((entry.attack, entry.adversary) for entry in row.attacks if entry.done)
            if row.recovery is not None:
                found[row.name, met].setdefault(setting.along(axis), row)
    return tuple(
        Line(name, _defense(rows), tuple(sorted(_shares(rows), key=lambda pair: pair[0])))
        for (name, _), rows in found.items()
        if len(rows) >= FEWEST
    )


def _defense(rows: Mapping[float, Row]) -> str:
    first = next(iter(rows.values()))
    return "" if first.baseline else first.defense


def _shares(rows: Mapping[float, Row]) -> Iterator[tuple[float, Interval]]:
    for value, row in rows.items():
        assert row.recovery is not None
        yield value, row.recovery.share


def draw(curve: Curve, plain: Callable[[str], str]) -> Figure:
    """Recovered share in per cent against the axis, with 95 % intervals."""
    figure = Figure(figsize=(7.5, 4.5))
    axes = figure.add_axes((0.1, 0.12, 0.6, 0.78))
    known = looks(line.defense for line in curve.lines if line.defense)
    for line in curve.lines:
        look = known.get(line.defense, UNDEFENDED)
        x = [value for value, _ in line.points]
        y = np.array([100 * share.mean for _, share in line.points])
        ends = np.array([[100 * share.low, 100 * share.high] for _, share in line.points])
        ends = np.where(np.isnan(ends), y[:, None], ends)
        axes.errorbar(
            x, y, yerr=np.abs(ends.T - y), marker=look.shape, color=look.colour, linewidth=1, markersize=5,
            capsize=2, linestyle="-" if line.defense else "--", label=plain(line.name),
        )  # fmt: skip
    ticks = sorted({value for line in curve.lines for value, _ in line.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(-3, 103)
    axes.set_xlabel(AXES[curve.axis])
    axes.set_ylabel("images recovered by the strongest attack, %")
    axes.set_title(plain(curve.place), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7, frameon=False)
    return figure
