"""What two sets of results say of each other on the same images.

Every entry (an attack against a defense in one group) is compared by its paired differences: their mean with
a bootstrap interval over clusters (release x seed), and Wilcoxon's signed-rank test on the means of the
clusters, corrected by Holm over all entries of the comparison. Better or worse is said only where both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from bench.api.errors import UsageError, unknown
from bench.channels import terms
from bench.channels.shared.terms import METRICS, NEAREST, SHARES, direction
from bench.report.frames import ATTACK, GROUP, IMAGE, ROW, read_results
from bench.report.statistics import Interval, exact, paired_difference
from bench.report.statistics.bootstrap import Floats

LEVEL = 0.05
Verdict = Literal["better", "worse", "indistinguishable", "identical"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One entry in both sets.

    Attributes:
        keys: which entry, column by column.
        first: mean of the metric in the first set, over the paired images that have it in both.
        second: the same of the second set.
        change: second minus first, with its 95 % interval.
        p: of Wilcoxon's test; 1 where there is no difference at all.
        adjusted: after Holm's correction over the whole comparison.
        verdict: how the second set reconstructs against the first.
    """

    keys: dict[str, object]
    first: float
    second: float
    change: Interval
    p: float
    adjusted: float
    verdict: Verdict

    @property
    def title(self) -> str:
        """One line."""
        words = [f"{value:g}" if isinstance(value, float) else str(value) for value in self.keys.values()]
        return " · ".join(word for word in words if word != "nan")


@dataclass(frozen=True)
class Comparison:
    """All entries that both sets have, and what could not be compared.

    Attributes:
        differences: sorted by keys.
        metric: what was compared.
        first_only: images of the first set without a partner.
        second_only: images of the second set without a partner.
        problems: what could not be read, a sentence each.
    """

    differences: tuple[Difference, ...]
    metric: str
    first_only: int
    second_only: int
    problems: tuple[str, ...]

    @property
    def nearest(self) -> bool:
        """Whether the metric is that to the nearest private image in some entry, as on channel ``model``."""
        return self.metric in NEAREST and any(
            terms(str(item.keys["channel"])).nearest for item in self.differences
        )

    def count(self, verdict: Verdict) -> int:
        """How many entries have this verdict."""
        return sum(item.verdict == verdict for item in self.differences)


def compare_folders(first: Path, second: Path, *, metric: str = "lpips") -> Comparison:
    """Compares every entry of one results folder with the same entry of another.

    Args:
        first: a results folder.
        second: another one, such as that of an edited attack.
        metric: one of the metrics of the tables.

    Raises:
        UsageError: there is no such metric, or the folders share no image.
    """
    one, two = read_results(first), read_results(second)
    problems = [f"{first}: {text}" for text in one.problems] + [f"{second}: {text}" for text in two.problems]
    return _compare(
        one.images, two.images, [*GROUP, *ROW, *ATTACK], metric, problems, (str(first), str(second))
    )


def compare_entries(folder: Path, first: str, second: str, *, metric: str = "lpips") -> Comparison:
    """Compares two attacks, or two defenses, of one folder wherever both met the same opponent.

    Args:
        folder: the results folder.
        first: ``dlg``, ``dlg/naive``, ``noise`` or ``noise=0.01``, as the tables call it.
        second: another one of the same kind.
        metric: as for :func:`compare_folders`.

    Raises:
        UsageError: the folder has no such attack or defense, or the two never met the same opponent.
    """
    results = read_results(folder)
    for kind, marks in (("attack", ["adversary"]), ("defense", ["strength"])):
        picked = [_pick(results.images, kind, marks[0], text) for text in (first, second)]
        if all(len(images) for images, _ in picked):
            gone = {kind, *(marks if any(marked for _, marked in picked) else [])}
            by = [name for name in [*GROUP, *ROW, *ATTACK] if name not in gone]
            return _compare(picked[0][0], picked[1][0], by, metric, results.problems, (first, second))
    known = {name for kind in ("attack", "defense") for name in results.images[kind].unique()}
    missing = next((text for text in (first, second) if _word(text) not in known), None)
    if missing is None:
        raise UsageError(f"{first} and {second}: compare two attacks or two defenses, each with its results")
    raise unknown("attack or defense", missing, known, where=str(folder))


def _word(text: str) -> str:
    """The label without adversary and strength; a label may itself hold ``[parameter=value]``."""
    head, bracket, tail = text.partition("]")
    for sign in "/=":
        tail, head = (tail.split(sign)[0], head) if bracket else (tail, head.split(sign)[0])
    return head + bracket + tail


def _pick(images: pd.DataFrame, kind: str, mark: str, text: str) -> tuple[pd.DataFrame, bool]:
    """The images of one attack or defense, and whether its adversary or strength was named."""
    name = _word(text)
    rest = text[len(name) :]
    found = images[images[kind] == name]
    if not rest:
        return found, False
    if mark == "adversary":
        return found[(found[mark] == rest[1:]) & (rest[0] == "/")], True
    try:
        strength = float(rest[1:])
    except ValueError:
        return found[:0], True
    return found[(found[mark] == strength) & (rest[0] == "=")], True


def _compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    by: list[str],
    metric: str,
    problems: Sequence[str],
    names: tuple[str, str],
) -> Comparison:
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    columns = [*by, *IMAGE, metric]
    both = first[columns].merge(second[columns], on=[*by, *IMAGE], suffixes=("_a", "_b"), how="inner")
    if both.empty:
        raise UsageError(f"{names[0]} and {names[1]} share no image: nothing can be compared")
    if both.duplicated([*by, *IMAGE]).any():
        raise UsageError(
            f"{names[0]} and {names[1]}: an image is there several times; name the strength (noise=0.01)"
        )
    found = [
        _difference(dict(zip(by, key, strict=True)), group, metric)
        for key, group in both.groupby(by, dropna=False, sort=True)
    ]
    found = [item for item in found if item.change.n_images]
    adjusted = holm([item.p for item in found])
    judged = tuple(
        replace(item, adjusted=p, verdict=_verdict(item, p, metric))
        for item, p in zip(found, adjusted, strict=True)
    )
    return Comparison(judged, metric, len(first) - len(both), len(second) - len(both), tuple(problems))


def _difference(keys: dict[str, object], group: pd.DataFrame, metric: str) -> Difference:
    a = group[f"{metric}_a"].to_numpy(dtype=np.float64)
    b = group[f"{metric}_b"].to_numpy(dtype=np.float64)
    clusters = (group["seed"].astype(str) + "/" + group["release"].astype(str)).to_numpy()
    change = paired_difference(b, a, clusters, key=f"compare|{keys}|{metric}")
    both = np.isfinite(a) & np.isfinite(b)
    change = exact(change, -1.0) if metric in SHARES else change
    return Difference(
        keys=keys,
        first=float(a[both].mean()) if both.any() else float("nan"),
        second=float(b[both].mean()) if both.any() else float("nan"),
        change=change,
        p=signed_rank(pd.Series(b - a)[both].groupby(clusters[both]).mean().to_numpy()),
        adjusted=1.0,
        verdict="identical" if np.array_equal(a[both], b[both]) else "indistinguishable",
    )


def signed_rank(differences: Floats) -> float:
    """The two-sided p value of Wilcoxon's signed-rank test; 1 where no difference is other than zero."""
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that may be compared with one level for all."""
    order = np.argsort(values, kind="stable")
    adjusted, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _verdict(item: Difference, p: float, metric: str) -> Verdict:
    change = item.change
    if item.verdict == "identical":
        return "identical"
    if p >= LEVEL or not (change.low > 0 or change.high < 0):
        return "indistinguishable"
    return "better" if (change.mean < 0) == (direction(metric) < 0) else "worse"
