"""What was measured and how, in sentences generated from the records."""

from __future__ import annotations

import pandas as pd

from bench.report.entries import Group
from bench.report.frames import DONE, Results
from bench.report.statistics import RESAMPLES
from bench.report.text import shorten

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
    """The protocol as sentences of plain text; foreign text in them is not yet escaped."""
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
        "The worst case takes, image by image, the best reconstruction over all attacks that see the "
        "release, naive and adaptive, and averages over the images that all of them scored.",
        f"Brackets are 95 % percentile bootstrap intervals over clusters (release x seed, {RESAMPLES:,} "
        "resamples); for accuracy they are the range over seeds.",
        "PSNR is capped at 80 dB; success is the share of images with PSNR above 30 dB (MSE < 0.001).",
        "Accuracy is that of the attacked victims themselves; its loss is taken seed by seed against the "
        "undefended victim.",
    ]
    if any(group.rank == "ssim" for group in groups):
        reasons = _listed(cells.loc[cells["mean_lpips"].isna(), "lpips_status"])
        sentences.append(f"Where LPIPS is missing, SSIM decides instead (LPIPS: {shorten(reasons, 200)}).")
    versions = "; ".join(f"{name} {_listed(cells[name])}" for name in _VERSIONS)
    sentences.append(f"Versions: {versions}; commit {_commits(cells)}; device {_listed(cells['device'])}.")
    return sentences


def _commits(cells: pd.DataFrame) -> str:
    dirty = cells["dirty"].str.lower().isin(["true", "1"])
    names = cells["commit"].str[:10] + dirty.map({True: " with local changes", False: ""})
    return _listed(names.where(cells["commit"] != "", ""))
