"""The page's charts as SVG that follows its colours: what leaks against accuracy, and against effort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.channels.shared.terms import leakage, whole_range
from bench.report.analysis.entries import Group, Row
from bench.report.findings.effort import Curve, Spent
from bench.report.findings.recovered import recovered
from bench.report.text import interval, mean, percent, score

WIDTH, HEIGHT = 640, 420
_RIGHT, _TOP, _BOTTOM = WIDTH - 14, 38, HEIGHT - 62
_DIGIT = 12.5
"""Units that a digit is wide where the screen, and with it the picture, is smallest."""
_LEAST_LEAK, _LEAST_ACCURACY = 0.005, 0.5
"""The shortest stretch that an axis shows: what is closer together needs no further decimals."""
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
    left: float
    right: float = _RIGHT
    top: float = _TOP
    bottom: float = _BOTTOM
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
    ends = [end for value in values for end in (value.low, value.high)]
    ys, y_ticks = _axis([*ends, *whole_range(group.rank)], _BOTTOM, _TOP, _LEAST_LEAK)
    left = _left(y_ticks)
    xs, x_ticks = _axis([value.x for value in values], left, _RIGHT, _LEAST_ACCURACY)
    series = []
    number = 0
    for name, members in groupby(values, key=lambda value: value.row.defense):
        mine = list(members)
        baseline = mine[0].row.baseline
        style = "base" if baseline else f"s{number % COLOURS}"
        number += not baseline
        points = tuple(_point(value, group, xs, ys) for value in mine)
        series.append(Series(name, style, points, _line(points), _band(points)))
    y_name = f"{_y_name(group, 'worst-case')}  →"
    return Chart(tuple(series), x_ticks, y_ticks, "accuracy of the victim, %  →", y_name, left)


def draw_effort(group: Group, drawn: Sequence[Curve]) -> Chart | None:
    """Mean leakage against the evaluations that were spent of several budgets; None if there is one alone."""
    if not drawn:
        return None
    every = [point for curve in drawn for point in curve.points]
    ys, y_ticks = _axis([point.leak for point in every], _BOTTOM, _TOP, _LEAST_LEAK)
    left = _left(y_ticks)
    most = math.log10(1 + max(point.evaluations for point in every))
    xs = _Scale(-0.15, most + 0.1, left, _RIGHT)
    x_ticks = tuple(
        Tick(xs(math.log10(1 + at)), f"{at:,}") for at in [0, *(10**p for p in range(int(most) + 1))]
    )
    series = []
    for number, curve in enumerate(drawn):
        points = tuple(_spent(curve.name, point, group, xs, ys) for point in curve.points)
        series.append(Series(curve.name, f"s{number % COLOURS}", points, _line(points), ""))
    x_name = f"gradient evaluations spent per {group.terms.per}  →"
    return Chart(tuple(series), x_ticks, y_ticks, x_name, f"{_y_name(group, 'mean')}  →", left)


def _spent(name: str, point: Spent, group: Group, xs: _Scale, ys: _Scale) -> Point:
    measured = f"{group.terms.printed(group.rank)} {mean(group.rank, leakage(group.rank, point.leak))}"
    effort = f"{point.evaluations:,.0f} of {point.budget:,} evaluations per {group.terms.per}"
    label = f"{name}: {measured} with {effort}"
    y = ys(point.leak)
    return Point(xs(math.log10(1 + point.evaluations)), y, y, y, label, False)


def _y_name(group: Group, kind: str) -> str:
    """Short enough for a small screen."""
    leaked = group.terms.leaked(group.rank, "−")
    return f"{kind} {leaked}" if group.terms.by_class else f"{kind} leakage, {leaked}"


def _value(row: Row, group: Group) -> _Value | None:
    if row.worst is None or not row.utility.seeds or math.isnan(row.worst.scores[group.rank].mean):
        return None
    value = row.worst.scores[group.rank]
    ends = [value.mean] * 2 if math.isnan(value.low) else [value.low, value.high]
    low, high = sorted(leakage(group.rank, end) for end in ends)
    return _Value(row, 100 * row.utility.mean, leakage(group.rank, value.mean), low, high)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def _left(ticks: Sequence[Tick]) -> float:
    """Where the plot begins, so that its longest label has room."""
    return 14 + _DIGIT * max((len(tick.text) for tick in ticks), default=0)


def _axis(values: Sequence[float], start: float, end: float, least: float) -> tuple[_Scale, tuple[Tick, ...]]:
    """A scale around the values, and ticks at round numbers inside it."""
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), (least - (high - low)) / 2)
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
        f"{row.name}: {percent(row.utility.mean)} % accuracy, worst-case {group.terms.printed(metric)} "
        f"{score(metric, row.worst.scores[metric])}, normalised leakage {interval(row.normalised, 2)}"
    )
    if not group.terms.by_class:
        label += f", images recovered {recovered(row, group)}"
    return Point(xs(value.x), ys(value.y), ys(value.low), ys(value.high), label, row.pareto)


def _line(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{point.x} {point.y}" for point in points)


def _band(points: Sequence[Point]) -> str:
    if len(points) < 2:
        return ""
    # In the order of the line: more strength may cost less, and a band by accuracy would leave its line.
    there = [f"{point.x} {point.high}" for point in points]
    back = [f"{point.x} {point.low}" for point in reversed(points)]
    return "M" + "L".join([*there, *back]) + "Z"
