"""One setting with a word: an undefended victim and a defense, five seeds of 15 releases each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.report.analysis.entries import Group
from bench.report.analysis.leaderboard import build
from bench.report.frames import read_results
from tests.report.conftest import JUDGING, FakeCards, Folder

FOUND, LOST, BLIND = 0.1, 0.4, 0.8
"""LPIPS of an image that is recovered, of one that is not, and of a guess."""


def undefended(folder: Folder, *, seeds: int = 5, releases: int = 15, **changes: Any) -> Folder:
    """Every image is recovered; a blind guess finds none."""
    for seed in range(seeds):
        common: dict[str, Any] = {"seed": seed, "accuracy": 0.95} | changes
        folder.add("strong", lpips=[FOUND] * releases, **common)
        folder.add("blind", lpips=BLIND + np.arange(releases) / 1000, **common)
    return folder


def defended(
    folder: Folder,
    *,
    share: float = 0.0,
    strength: float = 1.0,
    seeds: int = 5,
    releases: int = 15,
    lost: float = LOST,
    **changes: Any,
) -> Folder:
    """The defense ``noise``, from whose releases an adaptive attack recovers a share of the images."""
    for seed in range(seeds):
        hits = np.arange(releases) < round(share * releases)
        common: dict[str, Any] = {"seed": seed, "accuracy": 0.948, "adversary": "adaptive"} | changes
        folder.add("strong", "noise", strength, lpips=np.where(hits, FOUND, lost), **common)
    return folder


def judged(folder: Folder, directory: Path) -> tuple[Group, ...]:
    """The leaderboard, by a suite of two attacks."""
    cards = FakeCards()
    cards.judging = JUDGING
    return build(read_results(folder.write(directory)), cards)
