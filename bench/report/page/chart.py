"""The page's charts as SVG that follows its colours: what leaks against accuracy, and against effort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.report.entries import Group, Row
from bench.report.text import interval, percent, score

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 52
COLOURS = 8
"""How many series the style sheet knows, ``s0`` to ``s7``; more of them repeat."""


@dataclass(frozen=True)
class Point:
    """One row: its place in the picture, and what a pointer sees."""

    x: float
    y: float
    low: float
    high: float
    label: str
    pareto: bool


@dataclass(frozen=True)
class Series:
    """One defense over its strengths, or one attack over the defenses.

    Attributes:
        name: the defense or the attack.
        style: class of the style sheet.
        points: in the order of the tables.
        line: path of the curve; empty where points are not joined.
        band: path of the 95 % band; empty where there is none.
    """

    name: str
    style: str
    points: tuple[Point, ...]
    line: str
    band: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws."""

    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_name: str
    y_name: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class _Value:
    row: Row
    x: float
    y: float
    low: float
    high: float


def draw(group: Group) -> Chart | None:
    """The chart of a group; None if it has nothing to show.

    Leakage upwards, accuracy to the right: good defenses are at the bottom right.
    """
    values = [value for row in group.rows if (value := _value(row, group)) is not None]
    if not values:
        return None
    xs, x_ticks = _axis([value.x for value in values], _LEFT, WIDTH - _RIGHT)
    ends = [end for value in values for end in (value.low, value.high)]
    ys, y_ticks = _axis(ends, HEIGHT - _BOTTOM, _TOP)
    series = []
    number = 0
    for name, members in groupby(values, key=lambda value: value.row.defense):
        mine = list(members)
        baseline = mine[0].row.baseline
        style = "base" if baseline else f"s{number % COLOURS}"
        number += not baseline
        points = tuple(_point(value, group, xs, ys) for value in mine)
        series.append(Series(name, style, points, _line(points), _band(points)))
    y_name = f"worst-case leakage, {_measure(group)}  →"
    return Chart(tuple(series), x_ticks, y_ticks, "accuracy of the victim, %  →", y_name)


def draw_effort(group: Group) -> Chart | None:
    """Mean leakage against the evaluations that an attack spent: a point per attack and defense row."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for row in group.rows:
        for entry in row.attacks:
            value = entry.scores[group.rank]
            if entry.done and not math.isnan(value.mean) and not math.isnan(entry.evaluations):
                leak = 1 - value.mean if group.rank == "lpips" else value.mean
                text = f"{entry.name} on {row.name}: {group.rank.upper()} {score(group.rank, value)}"
                effort = f"{entry.evaluations:,.0f} evaluations per release"
                found.setdefault(entry.name, []).append((entry.evaluations, leak, f"{text}, {effort}"))
    if not found:
        return None
    every = [point for points in found.values() for point in points]
    most = max(point[0] for point in every)
    xs = _Scale(-0.15, math.log10(1 + most) + 0.1, _LEFT, WIDTH - _RIGHT)
    decades = [0, *(10**power for power in range(int(math.log10(1 + most)) + 1))]
    x_ticks = tuple(Tick(xs(math.log10(1 + at)), f"{at:,}") for at in decades)
    ys, y_ticks = _axis([leak for _, leak, _ in every], HEIGHT - _BOTTOM, _TOP)
    series = []
    for number, (name, points) in enumerate(sorted(found.items())):
        drawn = tuple(
            Point(xs(math.log10(1 + at)), ys(leak), ys(leak), ys(leak), text, False)
            for at, leak, text in points
        )
        series.append(Series(name, f"s{number % COLOURS}", drawn, "", ""))
    y_name = f"mean leakage, {_measure(group)}  →"
    return Chart(tuple(series), x_ticks, y_ticks, "gradient evaluations spent per release  →", y_name)


def _measure(group: Group) -> str:
    return "1 − LPIPS" if group.rank == "lpips" else "SSIM"


def _value(row: Row, group: Group) -> _Value | None:
    if row.worst is None or not row.utility.seeds or math.isnan(row.worst.scores[group.rank].mean):
        return None
    value = row.worst.scores[group.rank]
    mean, low, high = value.mean, value.low, value.high
    if math.isnan(low):
        low = high = mean
    if group.rank == "lpips":
        mean, low, high = 1 - mean, 1 - high, 1 - low
    return _Value(row, 100 * row.utility.mean, mean, low, high)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def _axis(values: Sequence[float], start: float, end: float) -> tuple[_Scale, tuple[Tick, ...]]:
    """A scale around the values, and ticks at round numbers inside it."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or max(abs(high) * 0.02, 0.01)
    low, high = low - margin, high + margin
    step = _step((high - low) / 5)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    scale = _Scale(low, high, start, end)
    return scale, tuple(Tick(scale(number * step), f"{number * step:.{digits}f}") for number in numbers)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _point(value: _Value, group: Group, xs: _Scale, ys: _Scale) -> Point:
    row = value.row
    assert row.worst is not None
    metric = group.rank
    label = (
        f"{row.name}: {percent(row.utility.mean)} % accuracy, worst-case {metric.upper()} "
        f"{score(metric, row.worst.scores[metric])}, normalised leakage {interval(row.normalised, 2)}"
    )
    return Point(xs(value.x), ys(value.y), ys(value.low), ys(value.high), label, row.pareto)


def _line(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{point.x} {point.y}" for point in points)


def _band(points: Sequence[Point]) -> str:
    if len(points) < 2:
        return ""
    ordered = sorted(points, key=lambda point: point.x)
    there = [f"{point.x} {point.high}" for point in ordered]
    back = [f"{point.x} {point.low}" for point in reversed(ordered)]
    return "M" + "L".join([*there, *back]) + "Z"
