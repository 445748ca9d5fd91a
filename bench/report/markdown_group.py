"""One group of the leaderboard as Markdown: who leaks least, every defense, every attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report.entries import HYPERVOLUME_LIMIT, LIMITS, SCORES, AttackEntry, Group, Row
from bench.report.flags import LEGEND
from bench.report.statistics import Interval
from bench.report.text import bounds, interval, markdown, number, percent, score, shorten, strength

HEADS = {
    "psnr": "PSNR ↑ dB",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "identified": "identified ↑ %",
    "label_correct": "labels ↑ %",
    "recognised": "recognised ↑ %",
    "success": "success ↑ %",
}
_WORST = ["lpips", "ssim", "psnr", "identified"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1) -> list[str]:
    """A Markdown table of escaped cells; the first ``text`` columns are left-aligned, the others right."""
    rule = ["---" if i < text else "--:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in [head, rule, *rows]]


def defense(row: Row) -> str:
    """A defense and its strength, escaped."""
    suffix = "" if row.strength != row.strength else f" = {strength(row.strength)}"
    return markdown(row.defense) + suffix


def section(group: Group) -> list[str]:
    """Heading, places, defenses, attacks and the flags in use."""
    head = [
        "defense", "strength", "accuracy %", "loss, points",
        *(f"worst {HEADS[name]}" if i == 0 else HEADS[name] for i, name in enumerate(_WORST)),
        "normalised leakage", "strongest attack", "releases/images", "cells done", "badge", "flags",
    ]  # fmt: skip
    used = {flag for row in group.rows for flag in row.flags}
    used |= {flag for row in group.rows for entry in row.attacks for flag in entry.flags}
    lines = [f"## {markdown(group.title)}", "", *_places(group), ""]
    lines += [*table(head, map(_defense_row, group.rows), text=2), ""]
    lines += ["★ Pareto-optimal: no other ranked row has both more accuracy and less leakage."]
    lines += _normalised_note(group)
    lines += ["", *_areas(group), "", *_attack_places(group)]
    lines += ["", "<details>", "<summary>All attacks, one by one</summary>", ""]
    lines += [*_attacks(group), "", "</details>"]
    legend = [f"- `{flag}`: {sentence}." for flag, sentence in LEGEND.items() if flag in used]
    return [*lines, *(["", "Flags:", "", *legend] if legend else [])]


def _normalised_note(group: Group) -> list[str]:
    if all(row.normalised.mean != row.normalised.mean for row in group.rows):
        return []
    return [
        "Normalised leakage: 0 is the floor (an attack that never sees the release), 1 the undefended "
        "victim; the worst of many attacks can lie a little above 0 by chance alone."
    ]


def _areas(group: Group) -> list[str]:
    """Defenses by their hypervolume, the best first."""
    if not group.areas:
        return []
    ordered = sorted(group.areas.items(), key=lambda item: (-item[1].mean, item[0]))
    gain = "LPIPS" if group.rank == "lpips" else "1 - SSIM"
    head = ["defense, all strengths", f"hypervolume, {gain}"]
    rows = [[markdown(name), interval(area, 3)] for name, area in ordered]
    limit = f"{HYPERVOLUME_LIMIT:g} points"
    note = (
        f"Hypervolume with the reference point ({limit} of accuracy loss, {gain} 0) per point: the "
        f"worst-case {gain} to be had on average when a loss of 0 to {limit} is allowed."
    )
    return [*table(head, rows), "", note]


def _attack_places(group: Group) -> list[str]:
    """Attacks by their mean leakage on complete blocks."""
    if not group.attacks:
        return ["No defense was stood by every attack, so the attacks have no ranks."]
    head = ["rank", "tie groups", "attack", f"mean {HEADS[group.rank]}"]
    rows = [
        [
            place.standing.rank,
            place.standing.letters,
            markdown(place.name) + (" (floor)" if place.floor else ""),
            score(group.rank, place.leak),
        ]
        for place in group.attacks
    ]
    note = (
        f"Attacks over the {group.attacks[0].blocks} defense rows that every one of them was tried on; "
        "attacks that share a letter cannot be told apart."
    )
    return [*table(head, rows, text=3), "", note]


def _places(group: Group) -> list[str]:
    measure = f"worst-case {HEADS[group.rank]}"
    head = ["allowed loss", "rank", "tie groups", "defense", "loss, points", measure, "strongest attack",
            "flags"]  # fmt: skip
    rows = []
    for limit in LIMITS:
        for place in group.places[limit]:
            loss = number(place.row.loss.mean, 1)
            value = score(group.rank, place.worst.scores[group.rank])
            cells = [defense(place.row), loss, value, markdown(place.worst.strongest), flags(place.row)]
            rows.append([f"≤ {limit:g}", place.standing.rank, place.standing.letters, *cells])
    return table(head, rows, text=4) if rows else ["No defense costs 5 points of accuracy or less."]


def _defense_row(row: Row) -> list[str]:
    name = ("★ " if row.pareto else "") + markdown(row.defense)
    accuracy = f"{percent(row.utility.mean)} {bounds(100 * row.utility.low, 100 * row.utility.high, 1)}"
    head = [name, strength(row.strength), accuracy if row.utility.seeds else "n/a", number(row.loss.mean, 1)]
    if row.worst is None:
        return [*head, *["n/a"] * 5, "–", "0", row.coverage.text, row.badge, flags(row)]
    scores = [score(name, row.worst.scores[name]) for name in _WORST]
    lead = row.worst.scores["psnr"]
    return [
        *head,
        *scores,
        interval(row.normalised, 2),
        markdown(row.worst.strongest),
        counts(lead),
        row.coverage.text,
        row.badge,
        flags(row),
    ]


def flags(item: Row | AttackEntry) -> str:
    """Codes of the flags as code."""
    return " ".join(f"`{flag}`" for flag in item.flags)


def counts(value: Interval) -> str:
    """Releases and images behind a number, and how many images have no value."""
    missing = f" ({value.n_missing} missing)" if value.n_missing else ""
    return f"{value.n_clusters}/{value.n_images}{missing}"


def _attacks(group: Group) -> list[str]:
    names = ["lpips", "ssim", "psnr", *SCORES[3:]]
    counted = ["releases/images", "evaluations", "failures", "flags"]
    head = ["defense", "attack", *(HEADS[name] for name in names), *counted]
    rows = [[defense(row), *_attack_row(entry, names)] for row in group.rows for entry in row.attacks]
    return table(head, rows, text=2)


def _attack_row(entry: AttackEntry, names: Sequence[str]) -> list[str]:
    name = markdown(entry.name) + (" (floor)" if entry.floor else "")
    why = failures(entry)
    if not entry.done:
        return [name, markdown(why), *["–"] * (len(names) + 1), str(_failed(entry)), flags(entry)]
    scores = [score(metric, entry.scores[metric]) for metric in names]
    evaluations = number(entry.evaluations, 0)
    return [name, *scores, counts(entry.scores["psnr"]), evaluations, markdown(why) or "0", flags(entry)]


def _failed(entry: AttackEntry) -> int:
    return sum(f.cells for f in entry.failures if f.status != "incompatible")


def failures(entry: AttackEntry) -> str:
    """``n/a (reason)`` and ``failed (2): reason``, not yet escaped."""
    words = []
    for item in entry.failures:
        reason = shorten(item.reason) or "no reason given"
        incompatible = item.status == "incompatible"
        words.append(f"n/a ({reason})" if incompatible else f"{item.status} ({item.cells}): {reason}")
    return "; ".join(words)
