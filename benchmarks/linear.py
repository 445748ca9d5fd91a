"""What grows how: the cost of one evaluation against victims, batch, pixels and width, beside linear cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.setting import alternated, fresh, table, victims

FIGURE = Path(__file__).parent / "linear.svg"
BLUE, GREY = "#0072B2", "#777777"


@dataclass(frozen=True)
class Axis:
    """One quantity that grows while the others stay.

    Attributes:
        title: of the axis.
        unit: of its values.
        settings: ``model, N, B, side`` by value.
    """

    title: str
    unit: str
    settings: Mapping[int, tuple[str, int, int, int]]


_DEEP = "resnet8[norm=group,width={}]"
AXES = (
    Axis("victims", "N", {n: ("convnet", n, 1, 32) for n in (1, 2, 4, 8, 16, 32, 64, 128)}),
    Axis("batch", "images per release", {b: ("convnet", 8, b, 32) for b in (1, 2, 4, 8, 16)}),
    Axis("image", "pixels", {side**2: ("convnet", 8, 1, side) for side in (16, 32, 64, 128)}),
    Axis("width", "width of resnet8", {w: (_DEEP.format(w), 8, 1, 32) for w in (4, 8, 16, 32)}),
)


def cost(model: str, count: int, batch: int, side: int) -> float:
    """CPU seconds of one evaluation of the cosine distance and of its derivative, for all victims."""
    import torch

    from bench.engine import Cosine, Objective, Pixels, total_variation
    from bench.engine.parametrise import starts

    torch.set_num_threads(1)
    images = torch.rand(count, batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count * batch).remainder(10).view(count, batch)
    seen = victims(model, count, images=images, labels=labels)
    unknowns = Pixels.of(seen.observation, seen.labels)
    prior = ((1e-3, total_variation),)
    objective = Objective(seen.observation, unknowns, Cosine(), prior, alone=count == 1)
    point = starts(seen.observation.ids, unknowns.size, seed=0, like=seen.observation.reference)
    return alternated({"batch": lambda: objective(point)}, rounds=5)["batch"]


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Of the power by which the last step of an axis grows: 1 is linear."""
    return math.log(costs[-1] / costs[-2]) / math.log(values[-1] / values[-2])


def draw(measured: Sequence[tuple[Axis, Mapping[int, float]]], target: Path) -> None:
    """One panel an axis, both logarithmic; dashed is linear cost through the largest value."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "linear", "font.size": 8}):
        figure = Figure(figsize=(6.75, 2.0), layout="constrained")
        panels: Any = figure.subplots(1, len(measured))
        for panel, (axis, costs) in zip(panels, measured, strict=True):
            values, taken = [*costs], [1e3 * seconds for seconds in costs.values()]
            line = [taken[-1] * value / values[-1] for value in values]
            panel.loglog(values, line, "--", color=GREY, linewidth=1)
            panel.loglog(values, taken, "o-", color=BLUE, markersize=3, linewidth=1.2)
            panel.set_xlabel(axis.unit)
            panel.set_title(axis.title, fontsize=8)
        panels[0].set_ylabel("CPU ms an evaluation")
        figure.savefig(target, metadata={"Date": None})


def report() -> str:
    """A table of all axes, and the figure beside it."""
    measured = [
        (axis, {value: fresh(cost, *setting) for value, setting in axis.settings.items()}) for axis in AXES
    ]
    draw(measured, FIGURE)
    rows = []
    for axis, costs in measured:
        values, taken = [*costs], [*costs.values()]
        share = values[-1] / values[0]
        rows.append(
            {
                "axis": f"{axis.title}: {axis.unit}",
                "from": f"{values[0]:,}: {1e3 * taken[0]:,.1f} ms",
                "to": f"{values[-1]:,}: {1e3 * taken[-1]:,.1f} ms",
                "grows": f"{share:,.0f}x",
                "cost grows": f"{taken[-1] / taken[0]:,.1f}x",
                "last step, power": f"{exponent(values, taken):.2f}",
            }
        )
    head = (
        "One evaluation of the cosine distance with total variation on colour images. Where nothing else is "
        "said: `convnet`, eight victims, one image of 32 x 32 each. A power of 1 is linear; the work of a "
        "network grows with the square of its width."
    )
    return "\n".join([head, "", table(rows), "", f"![cost beside linear cost]({FIGURE.name})"])
