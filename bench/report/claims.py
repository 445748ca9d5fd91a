"""Published claims beside our numbers: what a card quotes, how it is measured here, and the verdict.

How a claim is measured stands in ``claims.toml`` beside the card, apart from it because no result depends on
it: one ``[[check]]`` per number that must hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.api.cards import AttackCard, DefenseCard, Kind, explain, read_toml
from bench.api.errors import BenchError, PluginError
from bench.plugins import discover
from bench.report.entries import Group, Row
from bench.report.statistics import Interval
from bench.report.terms import NEAREST
from bench.report.text import DIGITS, score

FILE = "claims.toml"
Metric = Literal[
    "psnr", "ssim", "lpips", "identified", "label_correct", "recognised", "recognised5", "feature_distance",
    "diversity", "success",
]  # fmt: skip
Verdict = Literal["reproduced", "not reproduced", "undecided", "not comparable"]
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


class Check(BaseModel):
    """How one claim of a card is measured, or why it cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: int = Field(ge=1)
    """Which claim of the card, counted from 1."""
    metric: Metric | None = None
    at_least: float | None = None
    at_most: float | None = None
    """Bounds of the metric, both included; rates are fractions."""
    channel: str = ""
    model: str = ""
    checkpoint: str = ""
    batch_size: int | None = None
    attack: str = ""
    """Label of the attack that measures a defense; empty is the worst case over all of them."""
    adversary: Literal["", "naive", "adaptive"] = ""
    """Whether attackers know the defense. Empty: the attack named ignores it; without a name, both kinds."""
    strength_at_least: float | None = None
    strength_at_most: float | None = None
    """Of the defense whose card this is."""
    note: str = ""
    """How our setting differs."""
    not_comparable: str = ""
    """Why nothing here measures the claim."""

    @model_validator(mode="after")
    def _measures_or_says_why(self) -> Check:
        bounded = self.at_least is not None or self.at_most is not None
        if bool(self.not_comparable) == (self.metric is not None):
            raise ValueError("give metric with at_least or at_most, or not_comparable")
        if self.metric is not None and not bounded:
            raise ValueError("metric needs at_least or at_most")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    check: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One claim in one setting.

    Attributes:
        kind: ``attack`` or ``defense``.
        plugin: its name.
        text: the claim.
        source: where it was published.
        setting: where we measured.
        measured: our numbers.
        verdict: see :data:`Verdict`.
        why: what the verdict rests on, or how the settings differ.
    """

    kind: str
    plugin: str
    text: str
    source: str
    setting: str
    measured: str
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class _Found:
    where: str
    value: Interval
    nearest: str = ""


def judge(groups: Sequence[Group]) -> list[Judged]:
    """Every claim of every installed attack and defense that these results speak of."""
    attacks = {entry.attack for group in groups for row in group.rows for entry in row.attacks}
    defenses = {row.defense for group in groups for row in group.rows}
    found: list[Judged] = []
    kinds: list[tuple[Kind, set[str]]] = [("attack", attacks), ("defense", defenses)]
    for kind, labels in kinds:
        names = {label.split("[")[0] for label in labels}
        for name, plugin in sorted(discover(kind).plugins.items()):
            if name in names and isinstance(plugin.card, AttackCard | DefenseCard):
                found += _plugin(kind, name, plugin.card, read_checks(plugin.folder), groups)
    return found


def read_checks(folder: Path) -> tuple[Check, ...]:
    """The checks of a plug-in; none without a file.

    Raises:
        PluginError: naming the file and every wrong field.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    try:
        return _File.model_validate(read_toml(path)).check
    except ValidationError as error:
        raise PluginError(explain(error, str(path))) from None


def _plugin(
    kind: str, name: str, card: AttackCard | DefenseCard, checks: tuple[Check, ...], groups: Sequence[Group]
) -> Iterator[Judged]:
    if beyond := [check.claim for check in checks if check.claim > len(card.claims)]:
        raise BenchError(f"{name}/{FILE}: claim: {beyond[0]}; the card has {len(card.claims)} claims")
    for number, claim in enumerate(card.claims, start=1):
        mine = [check for check in checks if check.claim == number]
        for check in mine or [Check(claim=number, not_comparable=f"no {FILE} says how to measure it")]:
            setting, measured, verdict, why = _judge(kind, name, check, groups)
            yield Judged(
                kind=kind, plugin=name, text=claim.text, source=claim.source, setting=setting,
                measured=measured, verdict=verdict, why=why,
            )  # fmt: skip


def _judge(kind: str, name: str, check: Check, groups: Sequence[Group]) -> tuple[str, str, Verdict, str]:
    if check.metric is None:
        return "–", "–", "not comparable", check.not_comparable
    found = list(_attack(name, check, groups) if kind == "attack" else _defense(name, check, groups))
    setting = "; ".join(item.where for item in found)
    if not found:
        return "–", "–", "not comparable", "these results hold no cell of this setting"
    measured = "; ".join(score(check.metric, item.value) for item in found)
    why = _demand(check) + (f"; {check.note}" if check.note else "")
    return setting, f"{_word(check.metric, found)}: {measured}", _verdict(check, found), why


def _word(metric: str, found: Sequence[_Found]) -> str:
    """The metric; on channel ``model`` it may be that to the nearest private image."""
    return (found[0].nearest if metric in NEAREST else "") + WORDS[metric]


def _demand(check: Check) -> str:
    assert check.metric is not None
    scale = DIGITS.get(check.metric, (100.0, 0))[0]
    ends = [("at least", check.at_least), ("at most", check.at_most)]
    words = " and ".join(f"{word} {scale * end:g}" for word, end in ends if end is not None)
    return f"asked for {words}"


def _verdict(check: Check, found: Sequence[_Found]) -> Verdict:
    """Reproduced if every interval lies within the bounds, not reproduced if one lies wholly outside."""
    low = -float("inf") if check.at_least is None else check.at_least - 1e-9
    high = float("inf") if check.at_most is None else check.at_most + 1e-9
    if any(item.value.high < low or item.value.low > high for item in found):
        return "not reproduced"
    inside = all(low <= item.value.low and item.value.high <= high for item in found)
    return "reproduced" if inside else "undecided"


def _groups(check: Check, groups: Sequence[Group]) -> Iterator[Group]:
    for group in groups:
        channel = not check.channel or group.channel == check.channel
        model = not check.model or group.model == check.model
        checkpoint = not check.checkpoint or group.checkpoint == check.checkpoint
        batch = check.batch_size is None or group.batch_size == check.batch_size
        if channel and model and checkpoint and batch:
            yield group


def _attack(name: str, check: Check, groups: Sequence[Group]) -> Iterator[_Found]:
    """The attack on the undefended victims."""
    for group in _groups(check, groups):
        if group.baseline is not None:
            yield from _entry(group, group.baseline, name, check)


def _defense(name: str, check: Check, groups: Sequence[Group]) -> Iterator[_Found]:
    low = -float("inf") if check.strength_at_least is None else check.strength_at_least
    high = float("inf") if check.strength_at_most is None else check.strength_at_most
    for group in _groups(check, groups):
        for row in group.rows:
            if row.defense.split("[")[0] != name or not low <= row.strength <= high:
                continue
            if check.attack:
                yield from _entry(group, row, check.attack, check)
                continue
            worst = row.naive if check.adversary == "naive" else row.worst
            if worst is not None and check.metric is not None:
                who = "attacks that ignore it" if check.adversary == "naive" else "attacks"
                by = f" by {group.terms.name(group.rank)}" if group.terms.by_class else ""
                where = f"{row.name}, {_where(group)}, worst case{by} over {worst.attacks} {who}"
                yield _Found(where, worst.scores[check.metric], group.terms.nearest)


def _entry(group: Group, row: Row, attack: str, check: Check) -> Iterator[_Found]:
    for entry in row.attacks:
        if (entry.attack, entry.adversary) == (attack, check.adversary or "naive") and entry.done:
            assert check.metric is not None
            yield _Found(
                f"{entry.name} on {row.name}, {_where(group)}",
                entry.scores[check.metric],
                group.terms.nearest,
            )


def _where(group: Group) -> str:
    return f"{group.channel}, {group.dataset} {group.model} {group.checkpoint}, B = {group.batch_size}"
