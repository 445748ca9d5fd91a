"""The leaderboard as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report.entries import LIMITS, SCORES, AttackEntry, Group, Place, Row, WorstCase
from bench.report.flags import LEGEND
from bench.report.frames import Results
from bench.report.protocol import caption
from bench.report.statistics import Interval, certainly_positive
from bench.report.summary import advantage
from bench.report.text import bounds, markdown, number, percent, score, shorten, strength

TITLE = "Leaderboard: what leaks at worst, and what the defense cost"
ARROWS = (
    "Arrows are the attacker's: **LPIPS ↓** lower means that more leaked, **PSNR, SSIM, identified ↑** "
    "higher means that more leaked. A good defense has a high worst-case LPIPS and a small accuracy loss."
)
_HEADS = {
    "psnr": "PSNR ↑ dB",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "identified": "identified ↑ %",
    "label_correct": "labels ↑ %",
    "recognised": "recognised ↑ %",
    "success": "success ↑ %",
}
_WORST = ["lpips", "ssim", "psnr", "identified"]


def render(results: Results, groups: tuple[Group, ...]) -> str:
    """The whole page."""
    lines = [f"# {TITLE}", ""]
    lines += [" ".join(markdown(sentence) for sentence in caption(results, groups)), ""]
    for problem in results.problems:
        lines.append(f"> **Not used:** {markdown(shorten(problem, 300))}")
        lines.append("")
    if not any(entry.done for group in groups for row in group.rows for entry in row.attacks):
        return "\n".join([*lines, "**No cell is done yet.**", *_not_done(groups), ""])
    lines += [ARROWS, "", "## At a glance", "", *_glance(groups)]
    for group in groups:
        lines += ["", *_section(group)]
    return "\n".join(lines).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1) -> list[str]:
    """A Markdown table of escaped cells; the first ``text`` columns are left-aligned, the others right."""
    rule = ["---" if i < text else "--:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in [head, rule, *rows]]


def defense(row: Row) -> str:
    """A defense and its strength, escaped."""
    suffix = "" if row.strength != row.strength else f" = {strength(row.strength)}"
    return markdown(row.defense) + suffix


def _glance(groups: tuple[Group, ...]) -> list[str]:
    lines: list[str] = []
    for limit in LIMITS:
        points = f"{limit:g} point{'s' if limit > 1 else ''}"
        lines += [f"**The least leak for at most {points} of accuracy:**", ""]
        head = ["group", "undefended", "leaks least", "worst case", "accuracy loss", "strongest attack",
                "gain on undefended", "lead on the next"]  # fmt: skip
        lines += [*table(head, [_glance_row(group, limit) for group in groups], text=len(head)), ""]
    measures = sorted({group.rank.upper() for group in groups})
    lines.append(
        f"Worst case, undefended, gain and lead are in {' or '.join(measures)}; gain and lead are paired "
        "differences on the same images, positive when the defense leaks less, **bold** when it certainly "
        "does: their interval lies above zero."
    )
    return lines


def _glance_row(group: Group, limit: float) -> list[str]:
    base = group.baseline
    undefended = score(group.rank, base.worst.scores[group.rank]) if base and base.worst else "n/a"
    places = group.places[limit]
    if not places:
        return [markdown(group.title), undefended, "none is that cheap", *["–"] * 5]
    best = places[0]
    return [
        markdown(group.title),
        undefended,
        f"**{defense(best.row)}** {_flags(best.row)}".rstrip()
        + (f" (tied with {_tied(places)})" if best.last > 1 else ""),
        score(group.rank, best.worst.scores[group.rank]),
        number(best.row.loss.mean, 1),
        markdown(best.worst.strongest),
        _advantage(best.worst, base.worst if base else None, group),
        _advantage(best.worst, places[1].worst if len(places) > 1 else None, group),
    ]


def _tied(places: Sequence[Place]) -> str:
    return ", ".join(defense(place.row) for place in places[1:] if place.first == 1) or "others"


def _advantage(own: WorstCase, other: WorstCase | None, group: Group) -> str:
    if other is None:
        return "–"
    value = advantage(own, other, group)
    text = score(group.rank, value)
    return f"**{text}**" if certainly_positive(value) else text


def _section(group: Group) -> list[str]:
    head = [
        "defense", "strength", "accuracy %", "loss, points",
        *(f"worst {_HEADS[name]}" if i == 0 else _HEADS[name] for i, name in enumerate(_WORST)),
        "normalised leakage", "strongest attack", "releases/images", "flags",
    ]  # fmt: skip
    used = {flag for row in group.rows for flag in row.flags}
    used |= {flag for row in group.rows for entry in row.attacks for flag in entry.flags}
    lines = [f"## {markdown(group.title)}", "", *_places(group), ""]
    lines += [*table(head, map(_defense_row, group.rows), text=2), ""]
    lines += ["★ Pareto-optimal: no other ranked row has both more accuracy and less leakage."]
    lines += _normalised_note(group)
    lines += ["", "<details>", "<summary>All attacks, one by one</summary>", ""]
    lines += [*_attacks(group), "", "</details>"]
    legend = [f"- `{flag}`: {sentence}." for flag, sentence in LEGEND.items() if flag in used]
    return [*lines, *(["", "Flags:", "", *legend] if legend else [])]


def _normalised_note(group: Group) -> list[str]:
    if all(row.normalised != row.normalised for row in group.rows):
        return []
    return [
        "Normalised leakage: 0 is the floor (an attack that never sees the release), 1 the undefended "
        "victim; the worst of many attacks can lie a little above 0 by chance alone."
    ]


def _places(group: Group) -> list[str]:
    measure = f"worst-case {_HEADS[group.rank]}"
    head = ["allowed loss", "rank", "defense", "loss, points", measure, "strongest attack", "flags"]
    rows = []
    for limit in LIMITS:
        for place in group.places[limit]:
            loss = number(place.row.loss.mean, 1)
            value = score(group.rank, place.worst.scores[group.rank])
            cells = [defense(place.row), loss, value, markdown(place.worst.strongest), _flags(place.row)]
            rows.append([f"≤ {limit:g}", place.rank, *cells])
    return table(head, rows, text=3) if rows else ["No defense costs 5 points of accuracy or less."]


def _defense_row(row: Row) -> list[str]:
    name = ("★ " if row.pareto else "") + markdown(row.defense)
    accuracy = f"{percent(row.utility.mean)} {bounds(100 * row.utility.low, 100 * row.utility.high, 1)}"
    head = [name, strength(row.strength), accuracy if row.utility.seeds else "n/a", number(row.loss.mean, 1)]
    if row.worst is None:
        return [*head, *["n/a"] * 5, "–", "0", _flags(row)]
    scores = [score(name, row.worst.scores[name]) for name in _WORST]
    lead = row.worst.scores["psnr"]
    return [
        *head,
        *scores,
        number(row.normalised, 2),
        markdown(row.worst.strongest),
        counts(lead),
        _flags(row),
    ]


def _flags(item: Row | AttackEntry) -> str:
    return " ".join(f"`{flag}`" for flag in item.flags)


def counts(value: Interval) -> str:
    """Releases and images behind a number, and how many images have no value."""
    missing = f" ({value.n_missing} missing)" if value.n_missing else ""
    return f"{value.n_clusters}/{value.n_images}{missing}"


def _attacks(group: Group) -> list[str]:
    names = ["lpips", "ssim", "psnr", *SCORES[3:]]
    counted = ["releases/images", "evaluations", "failures", "flags"]
    head = ["defense", "attack", *(_HEADS[name] for name in names), *counted]
    rows = [[defense(row), *_attack_row(entry, names)] for row in group.rows for entry in row.attacks]
    return table(head, rows, text=2)


def _attack_row(entry: AttackEntry, names: Sequence[str]) -> list[str]:
    name = markdown(entry.name) + (" (floor)" if entry.floor else "")
    flags = _flags(entry)
    why = failures(entry)
    if not entry.done:
        return [name, markdown(why), *["–"] * (len(names) + 1), str(_failed(entry)), flags]
    scores = [score(metric, entry.scores[metric]) for metric in names]
    evaluations = number(entry.evaluations, 0)
    return [name, *scores, counts(entry.scores["psnr"]), evaluations, markdown(why) or "0", flags]


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


def _not_done(groups: tuple[Group, ...]) -> list[str]:
    items = [(group, row, entry) for group in groups for row in group.rows for entry in row.attacks]
    if not items:
        return []
    head = ["group", "defense", "attack", "state"]
    rows = [[markdown(g.title), defense(r), markdown(e.name), markdown(failures(e))] for g, r, e in items]
    return ["", *table(head, rows, text=4)]
