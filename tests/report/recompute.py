"""Every number of the page once more, from ``images.csv.gz`` and ``cells.csv``, with pandas and quantiles.

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
from scipy import stats

GROUP = ["channel", "dataset", "model", "checkpoint", "batch_size"]
VICTIM = ["channel", "dataset", "model", "batch_size"]
PLACE = ["seed", "release", "image"]
FORMATS = {"psnr": (1, 1), "ssim": (1, 3), "lpips": (1, 3), "feature_distance": (1, 2), "diversity": (1, 2)}
SHARES = {"identified", "label_correct", "recognised", "recognised5", "success"}
ANSWERS = {
    *("answer-recovered", "answer-drop", "answer-word", "answer-identifiable"),
    *("undefended-recovered", "cost", "lead"),
}
"""What the cards of the answers say."""
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


def exact(numbers: Numbers, values: pd.Series, reach: tuple[float, float] = (0, 1)) -> Numbers:
    """Clopper and Pearson's ends of a share, or of a difference of shares, that never varies."""
    mean, low, high = numbers
    if low != high:
        return numbers
    known = values.dropna().index
    n = len({(seed, release) for seed, release, *_ in known})
    other = 1 - 0.025 ** (1 / n)
    return mean, mean + other * (reach[0] - mean), mean + other * (reach[1] - mean)


def share(values: pd.Series, key: str, metric: str) -> Numbers:
    """The interval of a metric's mean; exact where it is a share that never varies."""
    found = interval(values, key)
    return exact(found, values) if metric in SHARES else found


def number(value: float, digits: int) -> str:
    if math.isnan(value):
        return "n/a"
    text = f"{round(value, 9):.{digits}f}"  # halves are where they are, in whatever order one sums
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def shown(numbers: Numbers, metric: str = "", digits: int | None = None) -> str:
    scale, places = FORMATS.get(metric, (100, 0)) if digits is None else (1, digits)
    if math.isnan(numbers[0]):
        return "n/a"
    mean, low, high = (number(scale * value, places) for value in numbers)
    return f"{mean} [n/a]" if "n/a" in (low, high) else f"{mean} [{low}, {high}]"


def gained(numbers: Numbers, metric: str) -> str:
    """A difference, with the decimals that it takes to see that a certain one is not zero."""
    scale, places = FORMATS.get(metric, (100, 0))
    near = scale * (numbers[1] if numbers[1] > 0 else -numbers[2] if numbers[2] < 0 else math.inf)
    more = next((extra for extra in range(6) if float(number(near, places + extra)) > 0), 6)
    scaled = tuple(scale * value for value in numbers)
    return shown((scaled[0], scaled[1], scaled[2]), digits=places + more)


def counted(images: pd.DataFrame) -> str:
    """Releases and images behind a number, and the images without one."""
    known = images["psnr"].dropna()
    missing = len(images) - len(known)
    releases = known.groupby(level=["seed", "release"]).ngroups
    return f"{releases}/{len(known)}" + (f" ({missing} missing)" if missing else "")


def limits(share: float, count: int) -> Numbers:
    """Clopper and Pearson's interval of a share of releases, by the binomial's own quantile."""
    hits = share * count
    low = 0.0 if hits <= 1e-9 else float(stats.beta.ppf(0.025, hits, count - hits + 1))
    high = 1.0 if count - hits <= 1e-9 else float(stats.beta.ppf(0.975, hits + 1, count - hits))
    return share, low, high


def over_seeds(values: pd.Series) -> tuple[float, float]:
    """The t interval over the means of the seeds."""
    means = values.groupby(level="seed").mean()
    if len(means) < 2:
        return math.nan, math.nan
    reach = float(stats.t.ppf(0.975, len(means) - 1)) * float(means.sem())
    return float(means.mean()) - reach, float(means.mean()) + reach


def farther(exact_ends: tuple[float, float], values: pd.Series, least: float) -> tuple[float, float]:
    low, high = over_seeds(values)
    ends = np.fmin(exact_ends[0], low), np.fmax(exact_ends[1], high)
    return max(float(ends[0]), least), min(float(ends[1]), 1.0)


def releases(values: pd.Series) -> int:
    return values.groupby(level=["seed", "release"]).ngroups


def hit_share(values: pd.Series) -> Numbers:
    """A share of images that were recovered."""
    known = values.dropna().astype(float)
    if not len(known):
        return math.nan, math.nan, math.nan
    mean, *ends = limits(float(known.mean()), releases(known))
    return mean, *farther((ends[0], ends[1]), known, 0.0)


def hit_drop(before: pd.Series, after: pd.Series) -> Numbers:
    """By how much a share falls on the same images."""
    change = (before.astype(float) - after.astype(float)).dropna()
    if not len(change):
        return math.nan, math.nan, math.nan
    count = releases(change)
    lost, gained = (limits(float((sign * change).clip(lower=0).mean()), count) for sign in (1, -1))
    mean = lost[0] - gained[0]
    low = mean - math.sqrt((lost[0] - lost[1]) ** 2 + (gained[2] - gained[0]) ** 2)
    high = mean + math.sqrt((lost[2] - lost[0]) ** 2 + (gained[0] - gained[1]) ** 2)
    return mean, *farther((low, high), change, -1.0)


def percents(numbers: Numbers) -> str:
    return shown((100 * numbers[0], 100 * numbers[1], 100 * numbers[2]), digits=0)


def upper(values: pd.Series) -> tuple[float, float]:
    """Mean and upper limit of a loss."""
    high = math.nan
    if len(values) > 1:
        high = float(values.mean()) + float(stats.t.ppf(0.975, len(values) - 1)) * float(values.sem())
    return float(values.mean()), high


def spread(values: pd.Series) -> str:
    """Mean and range of the seeds; one seed has no range."""
    ends = (values.min(), values.max()) if len(values) > 1 else (math.nan, math.nan)
    return shown((values.mean(), *ends), digits=1)


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
        floor: names of the attacks that never see a release, apart by blanks.
        none: name of the defense that is none.
        suites: by channel, the names of the attacks that a row owes.
        bound: names of what chooses from a list of candidates, apart by blanks.
        naive_only: names of the attacks without an adaptive form, apart by blanks.
        single: names of the attacks that are made for releases of one image, apart by blanks.
        classes: of every data set.
    """

    def __init__(
        self,
        directory: Path,
        *,
        floor: str,
        none: str,
        suites: dict[str, list[str]] | None = None,
        bound: str = "",
        naive_only: str = "",
        single: str = "",
        classes: int | None = 10,
    ) -> None:
        self.floors, self.none = floor.split(), none
        self.suites, self.bound, self.naive_only = suites or {}, bound.split(), naive_only.split()
        self.single, self.classes = single.split(), classes
        images = pd.read_csv(directory / "images.csv.gz")
        question = [*GROUP, "attack", "adversary", "defense", "strength", "seed"]
        largest = images.groupby(question, dropna=False)["budget"].transform("max")
        images = images[(images["budget"] == largest) & (images["status"] == "done")]
        everything = self._named(images.copy())
        chosen = everything["attack"].str.split("[").str[0].isin(self.bound)
        self.images, self.chosen = everything[~chosen].copy(), everything[chosen]
        self.images["success"] = (self.images["psnr"] > 30).where(self.images["psnr"].notna())
        cells = self._named(pd.read_csv(directory / "cells.csv"))
        cells = cells.assign(name=cells["attack"].str.split("[").str[0])
        self.cells = cells[~cells["name"].isin(self.bound)]
        if "generator_kind" not in self.cells:  # nobody searched one
            self.cells["generator_kind"] = ""
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

    @staticmethod
    def rank(group: str) -> tuple[str, int]:
        """The metric that ranks a setting, and 1 where a larger value leaks more, else -1."""
        return ("recognised", 1) if group.startswith("model|") else ("lpips", -1)

    def _blind(self, images: pd.DataFrame) -> pd.Series:
        return images["attack"].str.split("[").str[0].isin(self.floors)

    @cached
    def guesses(self, group: str) -> list[pd.DataFrame]:
        """Each attack that never sees a release once, on the undefended row where it was tried there.

        Further draws of a guess come after all other guesses.
        """
        mine = self.images[(self.images["group"] == group) & self._blind(self.images)]
        found = []
        for name, frame in mine.groupby("attack", sort=True):
            rows = sorted(frame["row"].unique(), key=lambda row: (row != self.none, row))
            place = rows[0] != self.none, "[draw=" in str(name) or ",draw=" in str(name)
            found.append((place, frame[frame["row"] == rows[0]].set_index(PLACE).sort_index()))
        return [frame for _, frame in sorted(found, key=lambda item: item[0])]

    @cached
    def strongest_floor(self, group: str, row: str) -> pd.DataFrame:
        """The images of the strongest attack among those that never see the release."""
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        metric, sign = self.rank(group)
        means = sign * mine[self._blind(mine)].groupby("by")[metric].mean()
        if len(means):
            return self.attack(group, row, str(means.idxmax()))
        return max(self.guesses(group), key=lambda frame: sign * float(frame[metric].mean()))

    @cached
    def fair_floor(self, group: str, row: str) -> pd.Series:
        """The best of as many blind guesses as the row has attacks."""
        metric, sign = self.rank(group)
        guesses = self.guesses(group)[: max(1, self.seeing(group, row, False))]
        best = pd.concat([sign * frame[metric] for frame in guesses], axis=1).max(axis=1)
        return sign * best

    @staticmethod
    def hit(group: str) -> str:
        """The column that says whether an image was recovered."""
        return "recognised" if group.startswith("model|") else "identified"

    @cached
    def strongest(self, group: str, row: str, naive: bool = False) -> str:
        """The one attack that recovers most; of equal ones that which leaks more."""
        metric, sign = self.rank(group)
        seeing = self._seeing(group, row, naive).groupby("by")
        hits, leak = seeing[self.hit(group)].sum(), seeing[metric].mean()
        table = pd.DataFrame({"hit": -hits, "images": -seeing.size(), "leak": -sign * leak}).reset_index()
        return str(table.sort_values(["hit", "images", "leak", "by"]).iloc[0]["by"])

    def hits(self, group: str, row: str, naive: bool = False) -> pd.Series:
        return self.attack(group, row, self.strongest(group, row, naive))[self.hit(group)]

    @cached
    def control(self, group: str) -> float:
        """What the strongest control reaches by chance; only where classes are rebuilt."""
        if not group.startswith("model|"):
            return 0.0
        owed = self.suites.get(group.split("|")[0])
        guesses = self.guesses(group)[: len(owed) if owed else None]
        return max((float(frame["recognised"].mean()) for frame in guesses), default=0.0)

    def net(self, group: str, numbers: Numbers) -> Numbers:
        chance = self.control(group)
        if not chance:
            return numbers
        mean, low, high = (max((value - chance) / (1 - chance), 0.0) for value in numbers)
        return mean, low, high

    def recovered(self, group: str, row: str, naive: bool = False) -> Numbers:
        return self.net(group, hit_share(self.hits(group, row, naive)))

    def counted(self, group: str, row: str) -> str:
        """``25 of 33``, or the net share of classes."""
        if group.startswith("model|"):
            return f"{percents(self.recovered(group, row)).split(' ')[0]} %"
        known = self.hits(group, row).dropna()
        return f"{int(known.sum())} of {len(known)}"

    def union(self, group: str, row: str) -> Numbers:
        table = self._seeing(group, row, False).pivot(index=PLACE, columns="by", values=self.hit(group))
        return self.net(group, hit_share(table.dropna().max(axis=1)))

    @cached
    def drop(self, group: str, row: str) -> Numbers:
        mean, low, high = hit_drop(self.hits(group, self.none), self.hits(group, row))
        span = 1 - self.control(group)
        return mean / span, low / span, high / span

    def identifiable(self, group: str, row: str) -> Numbers:
        mine = self.chosen[(self.chosen["group"] == group) & (self.chosen["row"] == row)]
        found = [hit_share(frame.set_index(PLACE)["identified"]) for _, frame in mine.groupby("by")]
        return max(found, default=(math.nan, math.nan, math.nan))

    @cached
    def missing(self, group: str, row: str) -> set[str]:
        """Attacks of the suite that the row owes and was not attacked by on every seed."""
        cells = self.cells[self.cells["group"] == group]
        seeds = set(cells["seed"])
        met = cells[cells["status"].isin(["done", "incompatible"])]
        lacking = set()
        for name in self.suites.get(group.split("|")[0], []):
            if name in self.single and group.split("|")[-1] != "1":
                continue
            blind = name in self.floors
            by = "naive" if blind or name in self.naive_only or row == self.none else "adaptive"
            mine = met[(met["name"] == name) & (met["adversary"] == by)]
            mine = mine if blind else mine[mine["row"] == row]
            if not seeds <= set(mine["seed"]):
                lacking.add(name)
        return lacking

    @cached
    def below_floor(self, group: str, row: str) -> bool:
        """Whether every attack is certainly worse than the strongest blind guess."""
        metric, sign = self.rank(group)
        floor = self.strongest_floor(group, row)[metric]

        def certainly(by: str) -> bool:
            values = sign * (floor - self.attack(group, row, by)[metric])
            found = interval(values, group)
            return (exact(found, values, (-1, 1)) if metric in SHARES else found)[1] > 0

        return all(certainly(str(by)) for by in self._seeing(group, row, False)["by"].unique())

    @cached
    def word(self, group: str, row: str) -> str:
        """The word for a row, by the rule that the page prints."""
        if row == self.none:
            return "–"
        hits, channel = self.hits(group, row), group.split("|")[0]
        by_class = channel == "model"
        few = releases(hits.dropna()) < (50 if by_class else 72)
        few = few or hits.index.get_level_values("seed").nunique() < 5
        victims = self.cells[self.cells["group"].str.split("|").str[:1].str[0].eq(channel)]
        trained = victims.groupby(["group", "row"])["converged"].min()
        unconverged = any(not bool(trained.get((group, name), True)) for name in (row, self.none))
        chance = (1 + 1 / self.classes) / 2 if self.classes else 0.0
        owed = self.suites.get(channel)
        guesses = self.guesses(group)[: len(owed) if owed else None]
        if not guesses:
            return "not tested"
        tables = [frame[self.hit(group)] for frame in guesses]
        blind = pd.concat(tables, axis=1).max(axis=1)
        if by_class:
            blind = max(tables, key=lambda table: float(table.mean()))
        lead = hit_drop(self.hits(group, self.none), blind)
        untested = [
            few,
            unconverged,
            owed is None,
            bool(self.missing(group, row)),
            lead[1] <= 0.3,
            float(self.accuracies(group, self.none).mean()) < chance,
            self.below_floor(group, row),
        ]
        if any(untested):
            return "not tested"
        if self.recovered(group, row)[2] <= 0.1:
            return "hides"
        if self.drop(group, row)[1] > 0.1:
            return "reduces"
        return "does not protect" if self.drop(group, row)[2] < 0.1 else "undecided"

    @cached
    def admitted(self, group: str, row: str, limit: float) -> bool:
        mean, high = upper(self.losses(group, row))
        own = 100 * self.accuracies(group, self.none)
        bound = max(limit, math.sqrt(2) * (upper(own)[1] - upper(own)[0]) if len(own) > 1 else limit)
        return (mean if math.isnan(high) else high) <= bound + 1e-9

    def prior(self, dataset: str, kind: str, column: str) -> str:
        """Mean and range of one column over the generators of a data set, each counted once."""
        cells = self.cells[(self.cells["dataset"] == dataset) & (self.cells["generator_kind"] == kind)]
        values = cells.drop_duplicates(["seed", "generator_key"])[column].dropna()
        numbers = values.mean(), values.min(), values.max()
        if column.startswith("generator_confident"):
            return shown(numbers)
        return shown(numbers, digits=1 if column == "generator_classes" else 2)

    @cached
    def attack(self, group: str, row: str, by: str) -> pd.DataFrame:
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        return mine[mine["by"] == by].set_index(PLACE).sort_index()

    def _seeing(self, group: str, row: str, naive: bool) -> pd.DataFrame:
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        seeing = mine[~self._blind(mine)]
        return seeing[seeing["adversary"] == "naive"] if naive else seeing

    def seeing(self, group: str, row: str, naive: bool) -> int:
        """How many attacks saw a row's releases."""
        return self._seeing(group, row, naive)["by"].nunique()

    @cached
    def worst(self, group: str, row: str, naive: bool = False) -> pd.DataFrame:
        seeing = self._seeing(group, row, naive)
        counts = seeing.groupby(PLACE)["by"].transform("nunique")
        block = seeing[counts == seeing["by"].nunique()]
        metric, sign = self.rank(group)
        order = ["leak", "feature_distance"] if metric == "recognised" else ["leak"]
        block = block.assign(leak=-sign * block[metric])
        best = block.sort_values([*PLACE, *order, "attack", "adversary"]).drop_duplicates(PLACE)
        return best.set_index(PLACE).sort_index()

    @cached
    def accuracies(self, group: str, row: str) -> pd.Series:
        victim = self.cells.loc[self.cells["group"] == group, "victim"].iloc[0]
        mine = self.cells[(self.cells["victim"] == victim) & (self.cells["row"] == row)]
        return mine.dropna(subset=["utility"]).groupby("seed")["utility"].mean()

    def told(self, group: str, row: str, by: str) -> dict[str, str]:
        """What a drawer says beside the scores."""
        accuracies = 100 * self.accuracies(group, row)
        cells = self.cells[(self.cells["group"] == group) & (self.cells["row"] == row)]
        cells = cells[(cells["by"] == by) & (cells["status"] == "done")]
        spent, budget = cells["evaluations_mean"].median(), int(cells["budget"].max())
        return {
            "images": counted(self.attack(group, row, by)),
            "evaluations": f"{spent:,.0f} of {budget:,}",
            "accuracy": f"{number(accuracies.mean(), 1)} %, a loss of {lost(self.losses(group, row))} points",
        }

    @cached
    def losses(self, group: str, row: str) -> pd.Series:
        return (100 * (self.accuracies(group, self.none) - self.accuracies(group, row))).dropna()

    def loss(self, group: str, row: str) -> float:
        return float(self.losses(group, row).mean())

    @cached
    def rows(self, group: str) -> list[str]:
        return sorted(self.images.loc[self.images["group"] == group, "row"].unique())

    @cached
    def ranked(self, group: str, row: str) -> bool:
        """Whether a row met every attack that it owes; without a suite, that worked on another row."""
        if group.split("|")[0] in self.suites:
            return not self.missing(group, row)
        cells = self.cells[(self.cells["group"] == group) & ~self._blind(self.cells)]
        settled = cells[(cells["row"] == row) & cells["status"].isin(["done", "incompatible"])]
        return set(cells.loc[cells["status"] == "done", "by"]) <= set(settled["by"])

    @cached
    def ranking(self, group: str, limit: float) -> list[str]:
        """Per defense its best admitted strength, the best protected first."""
        metric, sign = self.rank(group)
        order = ["hides", "reduces", "undecided", "does not protect", "not tested"]

        def key(row: str) -> tuple[Any, ...]:
            share = float(self.hits(group, row).mean())
            leak = sign * float(self.worst(group, row)[metric].mean())
            defense, _, strength = row.partition(" = ")
            return order.index(self.word(group, row)), share, leak, defense, float(strength or "nan")

        rows = [
            row
            for row in self.rows(group)
            if row != self.none and self.ranked(group, row) and self.admitted(group, row, limit)
        ]
        best: dict[str, str] = {}
        for row in sorted(rows, key=key):
            best.setdefault(row.split(" = ")[0], row)
        return list(best.values())

    @cached
    def difference(self, group: str, first: str, second: str) -> Numbers:
        """How many more the second one lets be recovered."""
        return hit_drop(self.hits(group, second), self.hits(group, first))

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
        """The mean of every attack over the complete rows, per image."""
        mine = self.images[self.images["group"] == group]
        table = mine.pivot(index=PLACE, columns=["row", "by"], values=self.rank(group)[0])
        attacks = mine["by"].nunique()
        complete = [row for row in self.rows(group) if table[row].shape[1] == attacks]
        table = table[complete].dropna()
        return table.T.groupby(level="by").mean().T

    def area(self, group: str, defense: str) -> Numbers:
        rows = [row for row in self.rows(group) if row.split(" = ")[0] == defense]
        metric, sign = self.rank(group)
        gains = [self.worst(group, row)[metric] for row in rows]
        gains = [1 - gain if sign > 0 else gain for gain in gains]
        table = pd.concat(gains, axis=1, keys=rows).dropna()
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
        found = staircase(table.mean().to_numpy()), float(low), float(high)
        ends = 0.0, staircase(np.ones(len(rows)))
        return exact(found, table[rows[0]], ends) if metric in SHARES else found

    def generator(self, group: str, row: str, by: str) -> str:
        """The kind of generator that an attack searched; empty if none."""
        cells = self.cells[(self.cells["group"] == group) & (self.cells["row"] == row)]
        kinds = cells.loc[(cells["by"] == by) & (cells["status"] == "done"), "generator_kind"]
        return str(kinds.fillna("").iloc[0]) if len(kinds) else ""

    @cached
    def own_floor(self, group: str, row: str, kind: str) -> pd.DataFrame | None:
        """The images of the strongest floor that knows the same prior."""
        mine = self.images[(self.images["group"] == group) & (self.images["row"] == row)]
        metric, sign = self.rank(group)
        means = sign * mine[self._blind(mine)].groupby("by")[metric].mean()
        same = means[[self.generator(group, row, str(by)) == kind for by in means.index]]
        if len(same) or row == self.none:
            return self.attack(group, row, str(same.idxmax())) if len(same) else None
        return self.own_floor(group, self.none, kind)

    def normalised_attack(self, group: str, row: str, by: str) -> str:
        """Between the attack's own prior and the same attack, there naive, on the undefended victim."""
        attack = by.rsplit("/", 1)[0]
        if attack.split("[")[0] in self.floors:
            return "–"
        floor = self.own_floor(group, row, self.generator(group, row, by))
        ceiling = self.attack(group, self.none, f"{attack}/naive")
        if floor is None or not len(ceiling):
            return "n/a"
        own, metric = self.attack(group, row, by), self.rank(group)[0]
        numbers = self.between(group, own[metric], floor[metric], ceiling[metric], row == self.none)
        return shown(numbers, digits=2)

    def normalised(self, group: str, row: str) -> Numbers:
        metric, _ = self.rank(group)
        floor = self.fair_floor(group, row)
        own, ceiling = self.worst(group, row)[metric], self.worst(group, self.none)[metric]
        return self.between(group, own, floor, ceiling, row == self.none)

    def between(
        self, group: str, own: pd.Series, floor: pd.Series, ceiling: pd.Series, same: bool
    ) -> Numbers:
        """(own - floor) / (ceiling - floor); ``same`` where own and ceiling are one and the same."""
        metric, sign = self.rank(group)
        table = pd.concat(
            [own, floor, ceiling], axis=1, keys=["own", "floor", "ceiling"], join="inner"
        ).dropna()
        span = sign * (table["ceiling"] - table["floor"])
        if not len(table) or span.mean() <= 1e-3:
            return math.nan, math.nan, math.nan
        if interval(span, group)[1] <= 0:
            return math.nan, math.nan, math.nan
        found = interval(sign * (table["own"] - table["floor"]), group, span)
        if metric not in SHARES or same:
            return found
        return exact(found, span, (found[0] - 1 / span.mean(), found[0] + 1 / span.mean()))


def value(folder: Folder, at: dict[str, Any]) -> str:
    """What the page must say at a place that it marked."""
    kind = at["k"]
    group, _, row = at.get("row", "").rpartition("|") if "row" in at else (at.get("group", ""), "", "")
    if kind in ANSWERS:
        return _answer(folder, at["group"], float(at["limit"]), kind)
    if kind == "utility":
        return spread(100 * folder.accuracies(group, row))
    if kind == "loss":
        return lost(folder.losses(group, row))
    if kind == "word":
        return folder.word(group, row)
    if kind == "recovered":
        numbers = percents(folder.recovered(group, row))
        return f"{numbers} %" if group.startswith("model|") else f"{folder.counted(group, row)} {numbers} %"
    if kind == "recovered-count":
        return folder.counted(group, row)
    if kind == "drop":
        return "–" if row == folder.none else percents(folder.drop(group, row))
    if kind in ("union", "identifiable"):
        numbers = folder.union(group, row) if kind == "union" else folder.identifiable(group, row)
        return "–" if kind == "identifiable" and group.startswith("model|") else percents(numbers)
    if kind == "rank":
        names = folder.ranking(group, float(at["limit"]))
        ranks = folder.ranks(names, lambda a, b: folder.difference(group, a, b))
        return ranks.get(row, "–")
    if kind == "none":  # a metric that the channel does not have
        return "–"
    if kind.startswith("generator_"):
        return folder.prior(at["dataset"], at["kind"], kind)
    if kind in ("leak", "attack-rank"):
        table, (metric, sign) = folder.blocks(group), folder.rank(group)
        if kind == "leak":
            return shown(share(table[at["attack"]], group, metric), metric)
        names = sorted(table.columns, key=lambda name: -sign * float(table[name].mean()))

        def ahead(first: str, second: str) -> Numbers:
            values = sign * (table[first] - table[second])
            found = interval(values, group)
            return exact(found, values, (-1, 1)) if metric in SHARES else found

        return folder.ranks(names, ahead)[at["attack"]]
    if kind == "area":
        return shown(folder.area(group, at["defense"]), digits=3)
    if kind == "normalised" and "attack" in at:
        return folder.normalised_attack(group, row, at["attack"])
    if kind == "normalised":
        return shown(folder.normalised(group, row), digits=2)
    if kind == "cells":
        return _coverage(folder, group, row)
    images = folder.attack(group, row, at["attack"]) if "attack" in at else folder.worst(group, row)
    if kind == "counts":
        return counted(images)
    if kind == "evaluations":
        cells = folder.cells[(folder.cells["group"] == group) & (folder.cells["row"] == row)]
        cells = cells[(cells["by"] == at["attack"]) & (cells["status"] == "done")]
        return number(float(cells["evaluations_mean"].median()), 0)
    if kind.endswith("-mean"):
        return shown(interval(images[kind[:-5]], group), kind[:-5]).split(" ")[0]
    return shown(share(images[kind], group, kind), kind)


def _answer(folder: Folder, group: str, limit: float, kind: str) -> str:
    if kind == "undefended-recovered":
        return folder.counted(group, folder.none)
    ranked = folder.ranking(group, limit)
    if not ranked:  # none is certainly that cheap
        return "–"
    best, *others = ranked
    if kind == "answer-recovered":
        return folder.counted(group, best)
    if kind == "answer-drop":
        return percents(folder.drop(group, best))
    if kind == "answer-identifiable":
        return percents(folder.identifiable(group, best))
    if kind == "answer-word":
        return folder.word(group, best)
    if kind == "cost":
        return lost(folder.losses(group, best))
    return percents(folder.difference(group, best, others[0]))


def lost(values: pd.Series) -> str:
    """A loss with its upper limit."""
    mean, high = upper(values)
    return f"{number(mean, 1)} (≤ {number(high, 1)})"


def _coverage(folder: Folder, group: str, row: str) -> str:
    everything = folder.cells[folder.cells["group"] == group]
    mine = everything[everything["row"] == row]
    asked = len(mine[["attack", "adversary"]].drop_duplicates()) * everything["seed"].nunique()
    status = mine["status"]
    unable = int((status == "incompatible").sum())
    text = f"{int((status == 'done').sum())}/{asked - unable}"
    return text + (f" (+{unable} n/a)" if unable else "")
