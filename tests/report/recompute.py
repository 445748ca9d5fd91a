"""Every number of the page once more, from ``images.csv.gz`` and ``cells.csv``, with pandas and NumPy alone.

Nothing of ``bench`` is imported: this is what a reader writes who trusts nobody. It follows the recipe that
the page prints.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache, wraps
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GROUP = ["channel", "dataset", "model", "checkpoint", "batch_size"]
VICTIM = ["channel", "dataset", "model", "batch_size"]
PLACE = ["seed", "release", "image"]
FORMATS = {"psnr": (1, 1), "ssim": (1, 3), "lpips": (1, 3)}
Numbers = tuple[float, float, float]


class Marked(HTMLParser):
    """Collects what carries ``data-k``: all data attributes of it and its ancestors, and its text."""

    VOID = frozenset({"meta", "link", "input", "img", "br", "wbr", "path", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str], str]] = []
        self.unmarked: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._text: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        data = {key: value or "" for key, value in attrs}
        self._open.append((tag, data))
        if "data-k" in data:
            self._text.append([])
        elif tag == "td" and "n" in data.get("class", "").split():
            self.unmarked.append(str(data))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Elements of an SVG that close themselves."""

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        name, data = self._open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}>"
        if "data-k" in data:
            merged: dict[str, str] = {}
            for _, attributes in self._open:
                merged |= {key[5:]: value for key, value in attributes.items() if key.startswith("data-")}
            merged |= {key[5:]: value for key, value in data.items() if key.startswith("data-")}
            text = " ".join("".join(self._text.pop()).replace("\xa0", " ").split())
            self.found.append((merged, text.removesuffix("!")))

    def handle_data(self, data: str) -> None:
        if self._text and self._open and self._open[-1][0] not in ("script", "style"):
            self._text[-1].append(data)


@lru_cache
def draws(key: str, clusters: int) -> np.ndarray:
    """The recipe's resamples as multiplicities."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, clusters, (2000, clusters))
    return np.stack([np.bincount(row, minlength=clusters) for row in drawn]).astype(float)


def interval(values: pd.Series, key: str, weights: pd.Series | None = None) -> Numbers:
    """Mean (or ratio of means) and bounds; the index holds seed and release."""
    values = values.astype(float)
    known = values.notna() & (True if weights is None else weights.notna())
    if not known.any():
        return math.nan, math.nan, math.nan
    by = [values.index.get_level_values("seed"), values.index.get_level_values("release")]
    top = values.where(known).groupby(by).sum()
    below = known.astype(float) if weights is None else weights.where(known)
    bottom = below.groupby(by).sum()
    mean = float(top.sum() / bottom.sum())
    if int(known.groupby(by).any().sum()) < 2:
        return mean, math.nan, math.nan
    if weights is None and values[known].nunique() == 1:
        return (float(values[known].iloc[0]),) * 3
    multiplicities = draws(key, len(top))
    with np.errstate(invalid="ignore", divide="ignore"):
        sampled = (multiplicities @ top.to_numpy()) / (multiplicities @ bottom.to_numpy())
    low, high = np.quantile(sampled[np.isfinite(sampled)], [0.025, 0.975])
    return mean, float(low), float(high)


def number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "n/a"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def shown(numbers: Numbers, metric: str = "", digits: int | None = None) -> str:
    scale, places = FORMATS.get(metric, (100, 0)) if digits is None else (1, digits)
    if math.isnan(numbers[0]):
        return "n/a"
    mean, low, high = (number(scale * value, places) for value in numbers)
    return f"{mean} [n/a]" if "n/a" in (low, high) else f"{mean} [{low}, {high}]"


def cached(method: Any) -> Any:
    """Remembers what a method of one folder returned; tables are asked for the same things very often."""

    @wraps(method)
    def call(self: Any, *arguments: Any) -> Any:
        key = (method.__name__, *arguments)
        if key not in self.memory:
            self.memory[key] = method(self, *arguments)
        return self.memory[key]

    return call


class Folder:
    """A results folder as a sceptic reads it.

    Args:
        directory: the folder.
        floor: name of the attack that never sees a release.
        none: name of the defense that is none.
    """

    def __init__(self, directory: Path, *, floor: str, none: str) -> None:
        self.floor, self.none = floor, none
        images = pd.read_csv(directory / "images.csv.gz")
        question = [*GROUP, "attack", "adversary", "defense", "strength", "seed"]
        largest = images.groupby(question, dropna=False)["budget"].transform("max")
        images = images[(images["budget"] == largest) & (images["status"] == "done")]
        self.images = self._named(images.copy())
        self.images["success"] = (self.images["psnr"] > 30).where(self.images["psnr"].notna())
        self.cells = self._named(pd.read_csv(directory / "cells.csv"))
        self.memory: dict[tuple[Any, ...], Any] = {}

    @staticmethod
    def _named(frame: pd.DataFrame) -> pd.DataFrame:
        strength = frame["strength"].map(lambda value: "" if pd.isna(value) else f" = {value:g}")
        return frame.assign(
            group=frame[GROUP].astype(str).agg("|".join, axis=1),
            victim=frame[VICTIM].astype(str).agg("|".join, axis=1),
            row=frame["defense"] + strength,
            by=frame["attack"] + "/" + frame["adversary"],
        )

    @cached
    def attack(self, group: str, row: str, by: str) -> pd.DataFrame:
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        return mine[mine["by"] == by].set_index(PLACE).sort_index()

    @cached
    def worst(self, group: str, row: str) -> pd.DataFrame:
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        seeing = mine[mine["attack"] != self.floor]
        counts = seeing.groupby(PLACE)["by"].transform("nunique")
        block = seeing[counts == seeing["by"].nunique()]
        best = block.sort_values([*PLACE, "lpips", "attack", "adversary"]).drop_duplicates(PLACE)
        return best.set_index(PLACE).sort_index()

    @cached
    def accuracies(self, group: str, row: str) -> pd.Series:
        victim = self.cells.loc[self.cells["group"] == group, "victim"].iloc[0]
        mine = self.cells[(self.cells["victim"] == victim) & (self.cells["row"] == row)]
        return mine.dropna(subset=["utility"]).groupby("seed")["utility"].mean()

    @cached
    def loss(self, group: str, row: str) -> float:
        return float(
            (100 * (self.accuracies(group, self.none) - self.accuracies(group, row))).dropna().mean()
        )

    @cached
    def rows(self, group: str) -> list[str]:
        return sorted(self.images.loc[self.images["group"] == group, "row"].unique())

    @cached
    def ranking(self, group: str, limit: float) -> list[str]:
        """Per defense its best affordable strength, the least leak first."""
        best: dict[str, tuple[float, str]] = {}
        for row in self.rows(group):
            defense = row.split(" = ")[0]
            value = float(self.worst(group, row)["lpips"].mean())
            if row != self.none and self.loss(group, row) <= limit + 1e-9:
                best[defense] = max(best.get(defense, (-1.0, "")), (value, row))
        ordered = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))
        return [row for _, (_, row) in ordered]

    @cached
    def difference(self, group: str, first: str, second: str) -> Numbers:
        values = self.worst(group, first)["lpips"] - self.worst(group, second)["lpips"]
        return interval(values, group)

    def ranks(self, names: list[str], difference: Callable[[str, str], Numbers]) -> dict[str, str]:
        ahead, behind = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for first, second in combinations(names, 2):
            _, low, high = difference(first, second)
            if low > 0 or high < 0:
                winner, loser = (first, second) if low > 0 else (second, first)
                ahead[loser] += 1
                behind[winner] += 1
        found = {}
        for name in names:
            first, last = 1 + ahead[name], len(names) - behind[name]
            found[name] = str(first) if first == last else f"{first}–{last}"
        return found

    @cached
    def blocks(self, group: str) -> pd.DataFrame:
        """Mean LPIPS of every attack over the complete rows, per image."""
        mine = self.images[self.images["group"] == group]
        table = mine.pivot(index=PLACE, columns=["row", "by"], values="lpips")
        attacks = mine["by"].nunique()
        complete = [row for row in self.rows(group) if table[row].shape[1] == attacks]
        table = table[complete].dropna()
        return table.T.groupby(level="by").mean().T

    def area(self, group: str, defense: str) -> Numbers:
        rows = [row for row in self.rows(group) if row.split(" = ")[0] == defense]
        table = pd.concat([self.worst(group, row)["lpips"] for row in rows], axis=1, keys=rows).dropna()
        costs = [self.loss(group, row) for row in rows]
        order = np.argsort(costs)

        def staircase(means: np.ndarray) -> float:
            total, best = 0.0, 0.0
            ends = [*(min(max(costs[i], 0.0), 10.0) for i in order), 10.0]
            for position, i in enumerate(order):
                best = max(best, means[i])
                total += best * (ends[position + 1] - ends[position])
            return total / 10.0

        clusters = table.groupby(level=["seed", "release"])
        sums, counts = clusters.sum().to_numpy(), clusters.size().to_numpy()
        drawn = draws(group, len(sums))
        means = (drawn @ sums) / (drawn @ counts)[:, None]
        low, high = np.quantile([staircase(row) for row in means], [0.025, 0.975])
        return staircase(table.mean().to_numpy()), float(low), float(high)

    def normalised(self, group: str, row: str) -> Numbers:
        floor = self.attack(group, row, f"{self.floor}/naive")["lpips"]
        own, ceiling = self.worst(group, row)["lpips"], self.worst(group, self.none)["lpips"]
        table = pd.concat(
            [own, floor, ceiling], axis=1, keys=["own", "floor", "ceiling"], join="inner"
        ).dropna()
        span = table["floor"] - table["ceiling"]
        if not len(table) or span.mean() <= 1e-3:
            return math.nan, math.nan, math.nan
        if interval(span, group)[1] <= 0:
            return math.nan, math.nan, math.nan
        return interval(table["floor"] - table["own"], group, span)


def value(folder: Folder, at: dict[str, Any]) -> str:
    """What the page must say at a place that it marked."""
    kind = at["k"]
    group, _, row = at.get("row", "").rpartition("|") if "row" in at else (at.get("group", ""), "", "")
    if kind in ("answer", "undefended", "gain", "cost", "lead"):
        return _answer(folder, at["group"], float(at["limit"]), kind)
    if kind == "utility":
        known = 100 * folder.accuracies(group, row)
        return shown((known.mean(), known.min(), known.max()), digits=1)
    if kind == "loss":
        return number(folder.loss(group, row), 1)
    if kind == "rank":
        names = folder.ranking(group, float(at["limit"]))
        ranks = folder.ranks(names, lambda a, b: folder.difference(group, a, b))
        return ranks.get(row, "–")
    if kind in ("leak", "attack-rank"):
        table = folder.blocks(group)
        if kind == "leak":
            return shown(interval(table[at["attack"]], group), "lpips")
        names = sorted(table.columns, key=lambda name: float(table[name].mean()))
        return folder.ranks(names, lambda a, b: interval(table[b] - table[a], group))[at["attack"]]
    if kind == "area":
        return shown(folder.area(group, at["defense"]), digits=3)
    if kind == "normalised":
        return shown(folder.normalised(group, row), digits=2)
    if kind == "cells":
        return _coverage(folder, group, row)
    images = folder.attack(group, row, at["attack"]) if "attack" in at else folder.worst(group, row)
    if kind == "counts":
        known = images["psnr"].dropna()
        missing = len(images) - len(known)
        releases = known.groupby(level=["seed", "release"]).ngroups
        return f"{releases}/{len(known)}" + (f" ({missing} missing)" if missing else "")
    if kind == "evaluations":
        cells = folder.cells[(folder.cells["group"] == group) & (folder.cells["row"] == row)]
        cells = cells[(cells["by"] == at["attack"]) & (cells["status"] == "done")]
        return number(float(cells["evaluations_mean"].median()), 0)
    if kind.endswith("-mean"):
        return shown(interval(images[kind[:-5]], group), kind[:-5]).split(" ")[0]
    return shown(interval(images[kind], group), kind)


def _answer(folder: Folder, group: str, limit: float, kind: str) -> str:
    names = folder.ranking(group, limit)
    if kind == "undefended":
        return shown(interval(folder.worst(group, folder.none)["lpips"], group), "lpips")
    if kind == "answer":
        return shown(interval(folder.worst(group, names[0])["lpips"], group), "lpips")
    if kind == "cost":
        return number(folder.loss(group, names[0]), 1)
    other = folder.none if kind == "gain" else names[1]
    return shown(folder.difference(group, names[0], other), "lpips")


def _coverage(folder: Folder, group: str, row: str) -> str:
    everything = folder.cells[folder.cells["group"] == group]
    asked = len(everything[["attack", "adversary", "seed"]].drop_duplicates())
    status = everything.loc[everything["row"] == row, "status"]
    unable = int((status == "incompatible").sum())
    text = f"{int((status == 'done').sum())}/{asked - unable}"
    return text + (f" (+{unable} n/a)" if unable else "")
