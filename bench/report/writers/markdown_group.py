"""One group of the leaderboard as Markdown: who leaks least, every defense, every attack."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bench.report.analysis.entries import HYPERVOLUME_LIMIT, LIMITS, NO_SCORES, AttackEntry, Group, Place, Row
from bench.report.analysis.flags import legend
from bench.report.findings.cross import NOTE as CROSS
from bench.report.findings.cross import cross
from bench.report.findings.recovered import DROP, IDENTIFIABLE, UNION, bounded, percent, recovered, share
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.statistics import Interval
from bench.report.text import interval, loss, markdown, number, score, shorten, spread, strength
from bench.report.writers.table import markdown_lines, markdown_table

NORMALISED = "normalised leakage"
SINGLE = "largest share of one image"
OF_ATTACKS = (
    "One attack's normalised leakage is 0 at its own prior, the strongest attack here that searches the same "
    "kind of generator, or none, and never sees the release, and 1 where it leaks as much as the same attack "
    "from the undefended victim."
)


def defense(row: Row) -> str:
    """A defense and its strength, escaped."""
    suffix = "" if row.strength != row.strength else f" = {strength(row.strength)}"
    return markdown(row.defense) + suffix


def section(group: Group) -> list[str]:
    """Heading, places, defenses, attacks and the flags in use."""
    used = {flag for row in group.rows for flag in row.flags}
    used |= {flag for row in group.rows for entry in row.attacks for flag in entry.flags}
    lines = [f"## {markdown(group.title)}", "", f"{markdown(group.headline)}.".capitalize(), ""]
    lines += [*crossed(group), *_places(group), ""]
    lines += [*markdown_table((_defense(group, row) for row in group.rows), text=2), ""]
    lines += ["★ Pareto-optimal: no other ranked row has both more accuracy and less leakage."]
    known = any(row.normalised.mean == row.normalised.mean for row in group.rows)
    lines += [group.terms.scale] if known else []
    lines += ["", *_areas(group), "", *_attack_places(group)]
    lines += ["", "<details>", "<summary>All attacks, one by one</summary>", ""]
    attacks = (_attack(group, row, entry) for row in group.rows for entry in row.attacks)
    lines += [*markdown_table(attacks, text=2), "", OF_ATTACKS, "", "</details>"]
    sentences = [f"- `{flag}`: {sentence}." for flag, sentence in legend([group]).items() if flag in used]
    return [*lines, *(["", "Flags:", "", *sentences] if sentences else [])]


def crossed(group: Group) -> list[str]:
    """Every attack against every defense, and what the numbers are; nothing where no attack is done."""
    head, rows = cross(group)
    if not rows:
        return []
    lines = markdown_lines([*map(markdown, head)], [[markdown(row[0]), *row[1:]] for row in rows])
    return [*lines, "", f"{group.terms.measured}. {CROSS}", ""]


def _areas(group: Group) -> list[str]:
    """Defenses by their hypervolume, the best first."""
    if not group.areas:
        return []
    ordered = sorted(group.areas.items(), key=lambda item: (-item[1].mean, item[0]))
    gain, limit = group.terms.guarded(group.rank), f"{HYPERVOLUME_LIMIT:g} points"
    table = markdown_table(
        {"defense, all strengths": markdown(name), f"hypervolume, {gain}": interval(area, 3)}
        for name, area in ordered
    )
    note = (
        f"Hypervolume with the reference point ({limit} of accuracy loss, {gain} 0) per point: the "
        f"worst-case {gain} to be had on average when a loss of 0 to {limit} is allowed."
    )
    return [*table, "", note]


def _attack_places(group: Group) -> list[str]:
    """Attacks by their mean leakage on complete blocks."""
    if not group.attacks:
        return ["No defense was stood by every attack, so the attacks have no ranks."]
    table = markdown_table(
        (
            {
                "rank": place.standing.rank,
                "tie groups": place.standing.letters,
                "attack": markdown(place.name) + (f" ({group.terms.floor})" if place.floor else ""),
                f"mean {group.terms.heads[group.rank]}": score(group.rank, place.leak),
            }
            for place in group.attacks
        ),
        text=3,
    )
    note = (
        f"Attacks over the {group.attacks[0].blocks} defense rows that every one of them was tried on; "
        "attacks that share a letter cannot be told apart."
    )
    return [*table, "", note]


def _places(group: Group) -> list[str]:
    records = [_place(group, limit, place) for limit in LIMITS for place in group.places[limit]]
    nobody = f"Defenses that cost {max(LIMITS):g} points of accuracy or less: {group.nobody}."
    return markdown_table(records, text=4) or [nobody]


def _place(group: Group, limit: float, place: Place) -> dict[str, object]:
    row = place.row
    return {
        "allowed loss": f"≤ {limit:g}",
        "rank": place.standing.rank,
        "tie groups": place.standing.letters,
        "defense": defense(row),
        "loss, points": loss(row.loss),
        "verdict": row.verdict.word.value if row.verdict.word else "–",
        RECOVERED: recovered(row, group),
        "strongest attack": markdown(row.strongest.name if row.strongest else "–"),
        "flags": flags(row.headline),
    }


def _defense(group: Group, row: Row) -> dict[str, object]:
    words, found = group.terms, row.verdict
    scores = row.worst.scores if row.worst else NO_SCORES
    return {
        "defense": ("★ " if row.pareto else "") + markdown(row.defense),
        "strength": strength(row.strength),
        "accuracy %": " ".join(spread(row.utility.scaled(100))).strip(),
        "loss, points": loss(row.loss),
        "verdict": markdown(found.shown),
        RECOVERED: share(row, group),
        DROP: "–" if row.baseline else percent(found.drop),
        UNION: percent(found.union),
        **({IDENTIFIABLE: percent(found.identifiable)} if bounded(group) else {}),
        **{words.heads[name]: score(name, scores[name]) for name in words.worst},
        NORMALISED: interval(row.normalised, 2),
        "strongest attack": markdown(row.strongest.name if row.worst and row.strongest else "–"),
        words.counted: counts(scores["psnr"]) if row.worst else "0",
        "cells done": row.coverage.text,
        "badge": row.badge,
        "flags": flags(row.headline if row.worst else row.flags),
    }


def _attack(group: Group, row: Row, entry: AttackEntry) -> dict[str, object]:
    words, why = group.terms, markdown(failures(entry))
    blanks = [why, *["–"] * (len(words.metrics) - 1)]
    cells = [score(name, entry.scores[name]) for name in words.metrics] if entry.done else blanks
    return {
        "defense": defense(row),
        "attack": markdown(entry.name) + (f" ({words.floor})" if entry.floor else ""),
        **{words.heads[name]: cell for name, cell in zip(words.metrics, cells, strict=True)},
        NORMALISED: "–" if entry.floor or not entry.done else interval(entry.normalised, 2),
        words.counted: counts(entry.scores["psnr"]) if entry.done else "–",
        "evaluations": number(entry.evaluations, 0) if entry.done else "–",
        **({SINGLE: single(entry)} if active(group) else {}),
        "failures": (why or "0") if entry.done else str(failed(entry)),
        "flags": flags(entry.flags),
    }


def active(group: Group) -> bool:
    """Whether an attack here is that of a malicious server, which clients may see."""
    return any(not math.isnan(entry.shares[0]) for row in group.rows for entry in row.attacks)


def single(entry: AttackEntry) -> str:
    """The largest share of one image, and that under an honest server."""
    attacked, honest = entry.shares
    return "–" if math.isnan(attacked) else f"{number(attacked, 2)} (honest {number(honest, 2)})"


def flags(codes: Iterable[str]) -> str:
    """Codes of the flags as code."""
    return " ".join(f"`{flag}`" for flag in codes)


def counts(value: Interval) -> str:
    """Releases and images behind a number, and how many images have no value."""
    missing = f" ({value.n_missing} missing)" if value.n_missing else ""
    return f"{value.n_clusters}/{value.n_images}{missing}"


def failed(entry: AttackEntry) -> int:
    """How many cells gave no result; those that cannot be are none."""
    return sum(f.cells for f in entry.failures if f.status != "incompatible")


def failures(entry: AttackEntry) -> str:
    """``n/a (reason)`` and ``failed (2): reason``, not yet escaped."""
    words = []
    for item in entry.failures:
        reason = shorten(item.reason) or "no reason given"
        incompatible = item.status == "incompatible"
        words.append(f"n/a ({reason})" if incompatible else f"{item.status} ({item.cells}): {reason}")
    return "; ".join(words)
