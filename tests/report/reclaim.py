"""The claims once more, from ``claims.toml``, ``images.csv.gz`` and ``cells.csv``.

Nothing of ``bench`` is imported: the files are read as TOML, every claim is measured with pandas, and judged
with the binomial's and Student's quantiles of scipy.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tests.report.recompute import SHARES, Folder, Numbers, hit_share, interval, shown

ROOT = Path(__file__).resolve().parents[2]
WORST = ["not reproduced", "undecided", "reproduced", "not comparable"]
Check = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """One check of one claim: what was found where, and the word for it."""

    text: str
    numbers: frozenset[tuple[str, str]]
    verdict: str


def read(kind: str, name: str) -> list[tuple[str, Check]]:
    """The text of each claim of a plug-in with each of its checks."""
    folder = ROOT / f"{kind}s" / name
    if not (folder / "claims.toml").is_file():
        return []
    card, file = (tomllib.loads((folder / f).read_text("utf-8")) for f in ("card.toml", "claims.toml"))
    return [(card["claims"][check["claim"] - 1]["text"], check) for check in file["check"]]


def rejudged(folder: Folder, kind: str, name: str) -> Counter[Claim]:
    """Every check of a plug-in, judged again."""
    found: Counter[Claim] = Counter()
    for text, check in read(kind, name):
        numbers = list(_numbers(folder, kind, name, check)) if "metric" in check else []
        word = _word(check, [(own, plain) for _, own, plain in numbers])
        told = frozenset((where, shown(own, check["metric"])) for where, own, _ in numbers)
        found[Claim(text, told, word)] += 1
    return found


def printed(claims: list[list[str]]) -> Counter[Claim]:
    """The same as a page prints it: text, source, measured, setting, verdict and why of each."""
    found: Counter[Claim] = Counter()
    for text, _, measured, setting, verdict, _ in claims:
        numbers = measured.rpartition(": ")[2].split("; ")
        pairs = [] if setting == "–" else list(zip(setting.split("; "), numbers, strict=True))
        found[Claim(text, frozenset(pairs), verdict)] += 1
    return found


def lost(folder: Folder) -> tuple[int, int]:
    """Published protections that do not survive, and those that were tested."""
    words: dict[tuple[str, str], set[str]] = {}
    for name in folder.cells["defense"].str.split("[").str[0].unique():
        for text, check in read("defense", str(name)):
            if check["about"] == "protection":
                numbers = [pair[1:] for pair in _numbers(folder, "defense", str(name), check)]
                words.setdefault((str(name), text), set()).add(_word(check, numbers))
    final = [min(found, key=WORST.index) for found in words.values()]
    return final.count("not reproduced"), len(final) - final.count("not comparable")


def headline(text: str) -> tuple[int, int]:
    """The two numbers of the headline on a page."""
    match = re.search(r"(\d+) of (\d+) published", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _numbers(folder: Folder, kind: str, name: str, check: Check) -> Iterator[tuple[str, Numbers, Numbers]]:
    """Where, what was measured there, and what the same attacker reaches without a defense."""
    if "metric" not in check:
        return
    for group, row in sorted(set(zip(folder.images["group"], folder.images["row"], strict=True))):
        if not _asked(folder, group, row, kind, name, check):
            continue
        naive = check.get("adversary") == "naive"
        if kind == "attack" or "attack" in check:
            attack = check.get("attack", name)
            by = f"{attack}/{check.get('adversary', 'naive')}"
            where, plain = f"{by} on {row}", f"{attack}/naive"
        else:
            by, attacks = _strongest(folder, group, row, check["metric"], naive)
            among = f"strongest of {attacks} attacks" if attacks > 1 else "the only attack"
            among += " among those that ignore it" if naive else ""
            where = f"{by}, {among}, on {row}"
            plain = _strongest(folder, group, folder.none, check["metric"], naive)[0]
        own = _measure(folder, group, row, by, check["metric"])
        if len(folder.attack(group, row, by)):
            channel, dataset, model, checkpoint, batch = group.split("|")
            place = f"{where}, {channel}, {dataset} {model} {checkpoint}, B = {batch}"
            yield place, own, _measure(folder, group, folder.none, plain, check["metric"])


def _asked(folder: Folder, group: str, row: str, kind: str, name: str, check: Check) -> bool:
    channel, _, model, checkpoint, batch = group.split("|")
    here = {"channel": channel, "model": model, "checkpoint": checkpoint, "batch_size": int(batch)}
    if any(check.get(key, value) != value for key, value in here.items()):
        return False
    if kind == "attack":
        return row == folder.none
    cells = folder.cells[folder.cells["row"] == row].iloc[0]
    low, high = check.get("strength_at_least", -math.inf), check.get("strength_at_most", math.inf)
    return cells["defense"].split("[")[0] == name and low <= cells["strength"] <= high


def _strongest(folder: Folder, group: str, row: str, metric: str, naive: bool) -> tuple[str, int]:
    mine = folder.images[(folder.images["group"] == group) & (folder.images["row"] == row)]
    mine = mine[~mine["attack"].str.split("[").str[0].isin(folder.floors)]
    by = (mine[mine["adversary"] == "naive"] if naive else mine).groupby("by")
    rank, sign = folder.rank(group)
    less = -1 if metric in ("lpips", "feature_distance") else 1
    table = pd.DataFrame({"hit": -less * by[metric].mean(), "leak": -sign * by[rank].mean(), "n": by.size()})
    table = table[table["hit"].notna()]
    if table.empty:
        return "", 0
    full = table[table["n"] == table["n"].max()].reset_index()
    return str(full.sort_values(["hit", "leak", "by"]).iloc[0]["by"]), len(table)


def _measure(folder: Folder, group: str, row: str, by: str, metric: str) -> Numbers:
    values = folder.attack(group, row, by)[metric]
    return hit_share(values) if metric in SHARES else interval(values, group)


def _word(check: Check, numbers: list[tuple[Numbers, Numbers]]) -> str:
    if not numbers:
        return "not comparable"
    wider = check.get("tolerance", 0.0) + 1e-9
    low, high = check.get("at_least", -math.inf) - wider, check.get("at_most", math.inf) + wider
    if any(end < low or start > high for (_, start, end), _ in numbers):
        return "not reproduced"
    inside = all(low <= start and end <= high for (_, start, end), _ in numbers)
    works = all(end < low or start > high for _, (_, start, end) in numbers)
    return "reproduced" if inside and (works or check["about"] != "protection") else "undecided"
