"""What was measured and how, in sentences generated from the records."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd

from bench.report.analysis.entries import Group
from bench.report.analysis.verdict import INTERVAL
from bench.report.frames import DONE, Results
from bench.report.statistics import RESAMPLES
from bench.report.text import shorten

STRENGTHS = 3
"""Strengths that a defense should be tried at."""
FEW = 500
"""Images of a pool below which the level of chance is said."""
_VERSIONS = ["bench", "torch", "torchvision", "lpips", "numpy", "python"]


def _range(values: pd.Series[int]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _listed(values: pd.Series[str]) -> str:
    return ", ".join(sorted(value for value in values.unique() if value)) or "unknown"


def status_counts(cells: pd.DataFrame) -> str:
    """``120 done, 3 failed``; done first."""
    counts = cells["status"].value_counts().sort_index()
    ordered = sorted(counts.items(), key=lambda item: (item[0] != DONE, str(item[0])))
    names = {"incompatible": "n/a (incompatible)"}
    return ", ".join(f"{count:,} {names.get(str(status), status)}" for status, count in ordered)


def caption(results: Results, groups: tuple[Group, ...]) -> list[str]:
    """The protocol as sentences of plain text; untrusted text in them is not yet escaped."""
    cells = results.cells
    if cells.empty:
        return ["No record was found."]
    seeds = ", ".join(map(str, sorted(cells["seed"].unique())))
    less = results.repeats
    smaller = f" Smaller budgets, in figures alone: {len(less):,} cells: {status_counts(less)}."
    sentences = [
        f"{len(cells):,} cells: {status_counts(cells)}.{smaller if len(less) else ''}",
        f"Seeds {seeds}; {_range(cells['releases'])} releases per cell and seed; budget "
        f"{_range(cells['budget'])} gradient evaluations per release; {len(results.images):,} scored images.",
        "What is recovered is the strongest single attack's; worst-case LPIPS, SSIM and PSNR take, image by "
        "image, the best reconstruction over the attacks that ran in a setting and see the release, naive "
        "and adaptive, and average over the images that all of them scored.",
        f"{INTERVAL} All other brackets are 95 % percentile bootstrap intervals over clusters (release x "
        f"seed, {RESAMPLES:,} resamples); for accuracy they are the range over seeds.",
        "Of other shares, one that is 0 or 1 in every cluster has the exact binomial interval (Clopper and "
        "Pearson) over the clusters instead: 0 of 33 may be up to 11 %.",
        "PSNR is capped at 80 dB; success is the share of images with PSNR above 30 dB (MSE < 0.001).",
        "Accuracy is that of the attacked victims themselves; its loss is taken seed by seed against the "
        "undefended victim, and a defense is within a limit by the upper limit of that loss.",
    ]
    sentences += _pool(cells) + _few_strengths(groups)
    sentences += dict.fromkeys(note for group in groups for note in group.terms.notes)
    sentences += _enlarged(groups)
    if any(group.rank == "ssim" for group in groups):
        reasons = _listed(cells.loc[cells["mean_lpips"].isna(), "lpips_status"])
        sentences.append(f"Where LPIPS is missing, SSIM decides instead (LPIPS: {shorten(reasons, 200)}).")
    versions = "; ".join(f"{name} {_listed(cells[name])}" for name in _VERSIONS)
    sentences.append(f"Versions: {versions}; commit {_commits(cells)}; device {_listed(cells['device'])}.")
    return sentences


def _pool(cells: pd.DataFrame) -> list[str]:
    """Among how many images one is recovered, where the records name it."""
    known = cells["pool"].dropna()
    if known.empty:
        return []
    smallest = int(known.min())
    chance = f" By chance 1 in {smallest} is." if smallest < FEW else ""
    return [
        f"Recovered means the nearest of a pool of {_range(known)} private images, the original among "
        f"them.{chance}"
    ]


def _enlarged(groups: tuple[Group, ...]) -> list[str]:
    """Where images were too small for the network behind LPIPS."""
    found = {group.dataset: group.lpips_side for group in groups if group.lpips_side}
    return [
        f"LPIPS at {side} px: of images as small as those of {dataset} the network of LPIPS leaves nothing. "
        "For LPIPS, for matching and for the search of the nearest image all were enlarged alike, until the "
        f"shorter side had {side} pixels (bilinear, no antialiasing); SSIM and PSNR see them as they are."
        for dataset, side in sorted(found.items())
    ]


def _few_strengths(groups: tuple[Group, ...]) -> list[str]:
    """Where a curve over the strengths of a defense is not one."""
    found = []
    for group in groups:
        counts = Counter(row.defense for row in group.rows if not math.isnan(row.strength))
        few = [f"{name} ({count})" for name, count in counts.items() if count < STRENGTHS]
        found += [f"{group.title}: {', '.join(few)}"] if few else []
    if not found:
        return []
    return [
        f"Tried at fewer than {STRENGTHS} strengths, so that another one may protect more for its cost: "
        f"{'; '.join(found)}."
    ]


def _commits(cells: pd.DataFrame) -> str:
    dirty = cells["dirty"].str.lower().isin(["true", "1"])
    names = cells["commit"].str[:10] + dirty.map({True: " with local changes", False: ""})
    return _listed(names.where(cells["commit"] != "", ""))
