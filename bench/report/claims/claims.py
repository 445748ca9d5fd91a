"""Published claims beside our numbers: what a card quotes, what was measured here, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.api.cards import AttackCard, DefenseCard, Kind
from bench.api.errors import BenchError
from bench.channels.shared.terms import NEAREST
from bench.plugins import discover
from bench.report.analysis.entries import Group
from bench.report.claims.decision import Verdict, decide, reason
from bench.report.claims.file import FILE, About, Check, read_checks
from bench.report.claims.measured import Found, Images, find
from bench.report.text import score

WORDS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "identified": "images recovered, %",
    "label_correct": "labels recovered, %",
    "recognised": "recognised, %",
    "recognised5": "among the evaluator's first five, %",
    "feature_distance": "feature distance",
    "diversity": "diversity",
    "success": "PSNR above 30 dB, %",
}
ORDER: tuple[Verdict, ...] = ("not reproduced", "undecided", "reproduced", "not comparable")
"""What decides most first."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One claim in one setting.

    Attributes:
        kind: ``attack`` or ``defense``.
        plugin: its name.
        number: of the claim on its card, from 1.
        about: what is claimed, see :data:`bench.report.claims.file.About`; empty where no file says it.
        text: the claim.
        source: where it was published.
        setting: where we measured.
        measured: our numbers.
        verdict: see :data:`bench.report.claims.decision.Verdict`.
        why: what the verdict rests on, or how the settings differ.
    """

    kind: str
    plugin: str
    number: int
    about: About | None
    text: str
    source: str
    setting: str
    measured: str
    verdict: Verdict
    why: str

    @property
    def protection(self) -> bool:
        """Whether a defense is said to protect."""
        return self.about == "protection"

    @property
    def order(self) -> tuple[int, bool]:
        """By what it decides: protections that are refuted first."""
        return ORDER.index(self.verdict), not self.protection


def judge(groups: Sequence[Group], images: pd.DataFrame) -> list[Judged]:
    """Every claim of every installed attack and defense that these results speak of.

    Args:
        groups: the leaderboard.
        images: one row per image, see :class:`bench.report.frames.Results`.

    Returns:
        Refuted protections, other refuted claims, undecided, reproduced and not comparable ones; of each kind
        attacks before defenses, by name.

    Raises:
        PluginError: a ``claims.toml`` that cannot be read.
        BenchError: a check without its claim, or of an attack that is said to protect.
    """
    attacks = {entry.attack for group in groups for row in group.rows for entry in row.attacks}
    defenses = {row.defense for group in groups for row in group.rows}
    frames = {int(str(entry)): frame for entry, frame in images.groupby("entry")}
    found: list[Judged] = []
    kinds: list[tuple[Kind, set[str]]] = [("attack", attacks), ("defense", defenses)]
    for kind, labels in kinds:
        names = {label.split("[")[0] for label in labels}
        for name, plugin in sorted(discover(kind).plugins.items()):
            if name in names and isinstance(plugin.card, AttackCard | DefenseCard):
                checks = read_checks(plugin.folder)
                _refuse(kind, name, plugin.card, checks)
                found += _plugin(kind, name, plugin.card, checks, groups, frames)
    return sorted(found, key=lambda item: item.order)


def _refuse(kind: Kind, name: str, card: AttackCard | DefenseCard, checks: tuple[Check, ...]) -> None:
    if beyond := [check.claim for check in checks if check.claim > len(card.claims)]:
        raise BenchError(f"{name}/{FILE}: claim: {beyond[0]}; the card has {len(card.claims)} claims")
    if kind == "attack" and any(check.about == "protection" for check in checks):
        raise BenchError(f"{name}/{FILE}: about: protection; an attack protects nothing")


def _plugin(
    kind: Kind,
    name: str,
    card: AttackCard | DefenseCard,
    checks: tuple[Check, ...],
    groups: Sequence[Group],
    images: Images,
) -> Iterator[Judged]:
    for number, claim in enumerate(card.claims, start=1):
        mine = [check for check in checks if check.claim == number]
        for check in mine or (None,):
            setting, measured, verdict, why = judge_check(kind, name, check, groups, images)
            yield Judged(
                kind=kind, plugin=name, number=number, about=check.about if check else None, text=claim.text,
                source=claim.source, setting=setting, measured=measured, verdict=verdict, why=why,
            )  # fmt: skip


def judge_check(
    kind: Kind, name: str, check: Check | None, groups: Sequence[Group], images: Images
) -> tuple[str, str, Verdict, str]:
    """Setting, measured numbers, verdict and why, of one check of a plug-in; None where no file has one."""
    if check is None:
        return "–", "–", "not comparable", f"no {FILE} says how to measure it"
    if check.metric is None:
        return "–", "–", "not comparable", check.not_comparable
    found = find(kind, name, check, groups, images)
    if not found:
        return "–", "–", "not comparable", "these results hold no cell of this setting"
    protection = check.about == "protection"
    verdict = decide(found, check.bounds, protection=protection)
    why = reason(found, check.bounds, verdict, protection=protection)
    measured = "; ".join(score(check.metric, item.value) for item in found)
    parts = [f"asked for {check.asked}", why, check.note]
    setting = "; ".join(item.where for item in found)
    return setting, f"{_word(check.metric, found)}: {measured}", verdict, "; ".join(filter(None, parts))


def _word(metric: str, found: Sequence[Found]) -> str:
    """The metric; on channel ``model`` it may be that to the nearest private image."""
    return (found[0].nearest if metric in NEAREST else "") + WORDS[metric]
