"""One group of the leaderboard as Markdown: who leaks least, every defense, every attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.channels.shared.terms import Terms
from bench.report.analysis.entries import HYPERVOLUME_LIMIT, LIMITS, AttackEntry, Group, Row
from bench.report.analysis.flags import legend
from bench.report.findings.cross import NOTE as CROSS
from bench.report.findings.cross import cross
from bench.report.findings.recovered import DROP, IDENTIFIABLE, UNION, bounded, percent, recovered, share
from bench.report.findings.recovered import HEAD as RECOVERED
from bench.report.statistics import Interval
from bench.report.text import interval, loss, markdown, number, score, shorten, spread, strength

NORMALISED = "normalised leakage"
OF_ATTACKS = (
    "One attack's normalised leakage is 0 at its own prior, the strongest attack here that searches the same "
    "kind of generator, or none, and never sees the release, and 1 where it leaks as much as the same attack "
    "from the undefended victim."
)


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
    words = group.terms
    head = [
        "defense", "strength", "accuracy %", "loss, points", "verdict", RECOVERED, DROP, UNION,
        *([IDENTIFIABLE] if bounded(group) else []), *(words.heads[name] for name in words.worst),
        NORMALISED, "strongest attack", words.counted, "cells done", "badge", "flags",
    ]  # fmt: skip
    used = {flag for row in group.rows for flag in row.flags}
    used |= {flag for row in group.rows for entry in row.attacks for flag in entry.flags}
    lines = [f"## {markdown(group.title)}", "", f"{markdown(group.headline)}.".capitalize(), ""]
    lines += [*crossed(group), *_places(group), ""]
    lines += [*table(head, (_defense_row(group, row) for row in group.rows), text=2), ""]
    lines += ["★ Pareto-optimal: no other ranked row has both more accuracy and less leakage."]
    lines += _normalised_note(group)
    lines += ["", *_areas(group), "", *_attack_places(group)]
    lines += ["", "<details>", "<summary>All attacks, one by one</summary>", ""]
    lines += [*_attacks(group), "", OF_ATTACKS, "", "</details>"]
    sentences = [f"- `{flag}`: {sentence}." for flag, sentence in legend([group]).items() if flag in used]
    return [*lines, *(["", "Flags:", "", *sentences] if sentences else [])]


def crossed(group: Group) -> list[str]:
    """Every attack against every defense, and what the numbers are; nothing where no attack is done."""
    head, rows = cross(group)
    if not rows:
        return []
    measured = "Recognised by the evaluator" if group.terms.by_class else "Images recovered"
    lines = table([markdown(name) for name in head], [[markdown(row[0]), *row[1:]] for row in rows])
    return [*lines, "", f"{measured}. {CROSS}", ""]


def _normalised_note(group: Group) -> list[str]:
    if all(row.normalised.mean != row.normalised.mean for row in group.rows):
        return []
    if group.terms.by_class:
        return [
            f"Normalised leakage, by {group.terms.name(group.rank)}: 0 is the best of as many controls as "
            "the row has attacks, 1 the undefended victim."
        ]
    return [
        "LPIPS, SSIM and PSNR are of the best reconstruction of each image by any attack. Normalised "
        "leakage: 0 is the best of as many blind guesses as the row has attacks, 1 the undefended victim."
    ]


def _areas(group: Group) -> list[str]:
    """Defenses by their hypervolume, the best first."""
    if not group.areas:
        return []
    ordered = sorted(group.areas.items(), key=lambda item: (-item[1].mean, item[0]))
    gain = group.terms.guarded(group.rank)
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
    head = ["rank", "tie groups", "attack", f"mean {group.terms.heads[group.rank]}"]
    rows = [
        [
            place.standing.rank,
            place.standing.letters,
            markdown(place.name) + (f" ({group.terms.floor})" if place.floor else ""),
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
    head = ["allowed loss", "rank", "tie groups", "defense", "loss, points", "verdict", RECOVERED,
            "strongest attack", "flags"]  # fmt: skip
    rows = []
    for limit in LIMITS:
        for place in group.places[limit]:
            row = place.row
            cells = [
                defense(row),
                loss(row.loss),
                row.verdict.word.value if row.verdict.word else "–",
                recovered(row, group),
                markdown(row.strongest.name if row.strongest else "–"),
                flags(row.headline),
            ]
            rows.append([f"≤ {limit:g}", place.standing.rank, place.standing.letters, *cells])
    nobody = f"Defenses that cost {max(LIMITS):g} points of accuracy or less: {group.nobody}."
    return table(head, rows, text=4) if rows else [nobody]


def _defense_row(group: Group, row: Row) -> list[str]:
    name = ("★ " if row.pareto else "") + markdown(row.defense)
    accuracy = " ".join(spread(row.utility.scaled(100))).strip()
    found = row.verdict
    head = [name, strength(row.strength), accuracy, loss(row.loss), markdown(found.shown), share(row, group)]
    head += ["–" if row.baseline else percent(found.drop), percent(found.union)]
    head += [percent(found.identifiable)] if bounded(group) else []
    if row.worst is None:
        missing = ["n/a"] * (len(group.terms.worst) + 1)
        return [*head, *missing, "–", "0", row.coverage.text, row.badge, flags(row.flags)]
    lead = row.worst.scores["psnr"]
    return [
        *head,
        *(score(name, row.worst.scores[name]) for name in group.terms.worst),
        interval(row.normalised, 2),
        markdown(row.strongest.name if row.strongest else "–"),
        counts(lead),
        row.coverage.text,
        row.badge,
        flags(row.headline),
    ]


def flags(codes: Iterable[str]) -> str:
    """Codes of the flags as code."""
    return " ".join(f"`{flag}`" for flag in codes)


def counts(value: Interval) -> str:
    """Releases and images behind a number, and how many images have no value."""
    missing = f" ({value.n_missing} missing)" if value.n_missing else ""
    return f"{value.n_clusters}/{value.n_images}{missing}"


def _attacks(group: Group) -> list[str]:
    words = group.terms
    counted = [words.counted, "evaluations", "failures", "flags"]
    head = ["defense", "attack", *(words.heads[name] for name in words.metrics), NORMALISED, *counted]
    rows = [[defense(row), *_attack_row(entry, words)] for row in group.rows for entry in row.attacks]
    return table(head, rows, text=2)


def _attack_row(entry: AttackEntry, words: Terms) -> list[str]:
    name = markdown(entry.name) + (f" ({words.floor})" if entry.floor else "")
    why = failures(entry)
    if not entry.done:
        return [
            name,
            markdown(why),
            *["–"] * (len(words.metrics) + 2),
            str(failed(entry)),
            flags(entry.flags),
        ]
    scores = [score(metric, entry.scores[metric]) for metric in words.metrics]
    evaluations = number(entry.evaluations, 0)
    return [
        name,
        *scores,
        "–" if entry.floor else interval(entry.normalised, 2),
        counts(entry.scores["psnr"]),
        evaluations,
        markdown(why) or "0",
        flags(entry.flags),
    ]


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
