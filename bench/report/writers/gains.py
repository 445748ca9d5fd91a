"""``gains.md``: a defended decision against a plain model, on attacked images and on rebuilt ones.

Only victims count whose details hold pairs of accuracies on the same images: ``NAME`` of the defense's
decision and ``plain_NAME`` of the undefended network. Folders without such victims have no such file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.api.cards import DefenseCard
from bench.plugins import discover
from bench.records.files import write_atomic
from bench.report.analysis.entries import Group, Row
from bench.report.analysis.utility import spread
from bench.report.frames import DONE, ROW
from bench.report.tallies import Spread
from bench.report.text import markdown, number, strength
from bench.report.text import spread as in_words
from bench.report.writers.table import markdown_table

FILE = "gains.md"
PLAIN = "plain_"
SOURCES = {
    "absent": "no map",
    "predicted": "guessed label",
    "true_label": "true label",
    "random_label": "random label",
    "wrong_map": "wrong label",
}
"""Who chooses what a map is made for, by the name of the accuracy; those of other names are shown by name."""
DEPLOYED = "predicted"
"""What a client can do who does not know the label."""
LEAK = "true_label"
SAME = 1.0
"""Points of accuracy that are no difference."""
VICTIM = ["dataset", "model", *ROW]
_INTRO = """# Gains: the defended decision against a plain model

A gain is the accuracy of the fused decision minus that of a plain model, in points: means of the seeds, with
their range. **Attacked images** are the private test images plus the defense's map; the plain model is the
undefended victim of the same seed and architecture, which never saw a map. A map points away from a label,
and whoever chooses that label chooses the gain: the client's own guess can be deployed; the true label is a
control that nobody has at inference, and so are random and wrong ones."""
_REBUILT = """## On rebuilt images

What attacks rebuilt of the releases, classified by a plain model: here the evaluator, trained on unchanged
images of others. The fused decision is that of the tables above, on test images, so these gains are
differences of two samples, not paired. Where attackers rebuild well nothing is gained; where they rebuild
badly a gain says that the image is destroyed, not that the decision is good."""


@dataclass(frozen=True)
class Gain:
    """One victim with maps for the label of one source, in per cent and points.

    Attributes:
        victim: defense and strength.
        source: name of the accuracy.
        fused: of the defended decision.
        plain: of the plain model on the same images.
        gain: fused minus plain, seed by seed.
    """

    victim: str
    source: str
    fused: Spread
    plain: Spread
    gain: Spread

    @property
    def name(self) -> str:
        """Where, for a sentence."""
        return f"{self.victim}, {SOURCES.get(self.source, self.source)}"


def write(directory: Path, cells: pd.DataFrame, groups: Sequence[Group]) -> None:
    """Writes ``gains.md``, or takes an old one away where no victim has what it needs."""
    text = render(cells, groups)
    if text:
        write_atomic(directory / FILE, text.encode())
    else:
        (directory / FILE).unlink(missing_ok=True)


def render(cells: pd.DataFrame, groups: Sequence[Group]) -> str:
    """The whole file; empty where no victim has a plain model beside it."""
    victims = _victims(cells)
    if victims.empty:
        return ""
    lines = [_INTRO]
    for (dataset, model), mine in victims.groupby(["dataset", "model"], sort=True):
        found = [gain for name, same in _by_victim(mine) for gain in _gains(name, same)]
        lines += ["", f"## On attacked images: {markdown(dataset)}, {markdown(model)}", ""]
        lines += [*_attacked(found), "", *_worth(mine), "", *_said(found, mine)]
    if rebuilt := markdown_table(_rebuilt(victims, groups), text=3):
        lines += ["", _REBUILT, "", *rebuilt]
    return "\n".join(lines) + "\n"


def _victims(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each victim with pairs of accuracies, these as columns; the attacks on it share it."""
    done = cells[cells["status"] == DONE].drop_duplicates([*VICTIM, "seed"]).sort_values(ROW)
    known = [any(name.startswith(PLAIN) for name in told) for told in done["details"]]
    paired = done.loc[np.array(known, dtype=bool)]
    told = pd.DataFrame(list(paired["details"]), index=paired.index).astype(float)
    names = [
        name if np.isnan(size) else f"{name} = {strength(size)}"
        for name, size in zip(paired["defense"], paired["strength"], strict=True)
    ]
    return paired[["dataset", "model", "defense_name", "seed"]].assign(victim=names).join(told)


def _by_victim(victims: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each victim's seeds, in the order of the tables."""
    return ((str(name), seeds) for name, seeds in victims.groupby("victim", sort=False))


def _gains(victim: str, seeds: pd.DataFrame) -> Iterator[Gain]:
    """What one victim gains, source by source."""
    names = [name.removeprefix(PLAIN) for name in seeds.columns if name.startswith(PLAIN)]
    order = [*SOURCES, *sorted(set(names) - set(SOURCES))]
    for source in sorted(set(names) & set(seeds.columns), key=order.index):
        fused, plain = 100 * seeds[source], 100 * seeds[f"{PLAIN}{source}"]
        if (fused - plain).notna().any():
            yield Gain(victim, source, spread(fused), spread(plain), spread(fused - plain))


def _shown(value: Spread) -> str:
    """The mean, and the range where there is more than one seed."""
    return " ".join(in_words(value)) if value.seeds > 1 else number(value.mean, 1)


def _attacked(found: Sequence[Gain]) -> list[str]:
    records = (
        {
            "defense": markdown(item.victim),
            "map made for": markdown(SOURCES.get(item.source, item.source)),
            "fused decision %": _shown(item.fused),
            "plain model %": _shown(item.plain),
            "gain, points": _shown(item.gain),
        }
        for item in found
    )
    return markdown_table(records, text=2)


_WORTH = {
    "absent": "no map %",
    LEAK: "true label %",
    "wrong_map": "wrong label: says the true class %",
    "wrong_says_wrong": "wrong label: says the wrong class %",
    DEPLOYED: "guessed label %",
    "surrogate": "whoever guesses %",
}


def _worth(victims: pd.DataFrame) -> list[str]:
    """What the fused decision listens to."""
    known = {name: head for name, head in _WORTH.items() if name in victims.columns}
    table = markdown_table(
        {
            "defense": markdown(victim),
            **{head: number(100 * seeds[name].mean(), 1) for name, head in known.items()},
        }
        for victim, seeds in _by_victim(victims)
    )
    return ["What the fused decision listens to:", "", *table]


def _said(found: Sequence[Gain], victims: pd.DataFrame) -> Iterator[str]:
    """The verdict, in sentences that are computed."""
    lowest, highest = (pick(found, key=lambda item: item.gain.mean) for pick in (min, max))
    run = f"from {_points(lowest)} ({markdown(lowest.name)}) to {_points(highest)} ({markdown(highest.name)})"
    yield f"**Gains run {run}.**{_of_sizes(found, victims)}"
    if of_labels := _of_labels(victims):
        yield ""
        yield of_labels


def _points(item: Gain) -> str:
    return f"{number(item.gain.mean, 1)} points"


def _of_sizes(found: Sequence[Gain], victims: pd.DataFrame) -> str:
    """Which published gains the strength can be chosen for, by a client that guesses the label."""
    mine = [item for item in found if item.source == DEPLOYED]
    wanted = sorted({value for name in victims["defense_name"].unique() for value in published(str(name))})
    if not mine or not wanted:
        return ""
    largest = max(mine, key=lambda item: item.gain.mean)
    inside = [f"{value:g}" for value in wanted if 0 <= value <= largest.gain.mean]
    nearest = "; ".join(f"{value:g}: {_nearest(value, mine)}" for value in wanted)
    choice = (
        f"{', '.join(inside)} of the published ones among them" if inside else "none of the published ones"
    )
    return (
        " With guessed labels the strength decides: at zero the attacked image is the image, and both models "
        f"see the same; at {markdown(largest.victim)} the gain is {_points(largest)}. Sizes between these "
        f"are a choice of the strength, {choice}. Nearest to the published ones, read as points: {nearest}."
    )


def _nearest(value: float, found: Sequence[Gain]) -> str:
    item = min(found, key=lambda one: abs(one.gain.mean - value))
    return f"{_points(item)} at {markdown(item.victim)}"


def _of_labels(victims: pd.DataFrame) -> str:
    """Whether a map is a label in disguise, row by row."""
    needed = {"wrong_says_wrong", "wrong_map", LEAK, DEPLOYED, "surrogate"}
    if not needed <= set(victims.columns):
        return ""
    means = {victim: seeds[list(needed)].mean() for victim, seeds in _by_victim(victims)}
    follow = [name for name, of in means.items() if of["wrong_says_wrong"] > of["wrong_map"]]
    if not follow:
        return (
            "No decision follows a wrong map more often than the image: these gains are not the map's label."
        )
    apart = max(abs(100 * (means[name][DEPLOYED] - means[name]["surrogate"])) for name in follow)
    told = min(100 * means[name][LEAK] for name in follow)
    others = [name for name in means if name not in follow]
    close = "is" if apart < SAME else "is not"
    return (
        f"What they are worth: in {markdown('; '.join(follow))} the decision follows a wrong map more often "
        f"than the image, and a map for the true label makes it right in at least {number(told, 1)} %: "
        "**the map is the label**, and a gain there compares one who was told with one who was misled. With "
        f"guessed labels the accuracy {close} that of whoever guesses (at most {number(apart, 1)} points "
        "apart)." + (f" Not so in {markdown('; '.join(others))}." if others else "")
    )


def published(defense: str) -> tuple[float, ...]:
    """The per cents of a card's claim of gains, in points."""
    plugin = discover("defense").plugins.get(defense)
    claims = plugin.card.claims if plugin and isinstance(plugin.card, DefenseCard) else ()
    text = " ".join(claim.text for claim in claims if "gains" in claim.text)
    return tuple(float(value) for value in re.findall(r"(\d+(?:\.\d+)?) %", text))


def _rebuilt(victims: pd.DataFrame, groups: Sequence[Group]) -> Iterator[dict[str, str]]:
    """For each attack that sees the release, what a plain model makes of its images."""
    for group in groups:
        here = victims[(victims["dataset"] == group.dataset) & (victims["model"] == group.model)]
        for row in group.rows:
            fused = here[here["victim"] == row.name]
            if len(fused):
                yield from _of_attacks(group, row, fused)


def _of_attacks(group: Group, row: Row, fused: pd.DataFrame) -> Iterator[dict[str, str]]:
    for entry in row.attacks:
        seen = entry.scores["recognised"]
        if entry.floor or not entry.done or np.isnan(seen.mean):
            continue
        shares = {name: 100 * fused[name].mean() if name in fused else np.nan for name in (DEPLOYED, LEAK)}
        plain = 100 * seen.mean
        yield {
            "setting": markdown(group.title),
            "defense": markdown(row.name),
            "attack": markdown(entry.name),
            "images": str(seen.n_images),
            "plain model on rebuilt %": number(plain, 1),
            **{f"gain, {SOURCES[name]}": number(share - plain, 1) for name, share in shares.items()},
        }
