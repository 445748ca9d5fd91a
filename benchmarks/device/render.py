"""``device.md``: the page, made of ``device.json`` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.device.book import INAPPLICABLE, MEASURED, Row, read

NAME = "device.md"
LABELS = {
    "device": "device",
    "device_memory_mb": "its memory, MiB",
    "driver": "driver",
    "cuda": "CUDA of torch",
    "cudnn": "cuDNN",
    "tf32": "TF32",
    "torch": "torch",
    "python": "Python",
    "processor": "processor",
    "cores": "cores",
    "memory_mb": "memory, MiB",
    "system": "system",
    "commit": "commit",
    "lpips_weights": "weights of LPIPS",
}
PAIRS = {
    "psnr": ("PSNR, dB", ".1f"),
    "lpips": ("LPIPS", ".4f"),
    "identified": ("identified", ".0%"),
    "accuracy": ("accuracy", ".1%"),
    "seconds": ("seconds", ".2f"),
}


def write(folder: Path) -> Path:
    """Writes the page of a folder that holds ``device.json``."""
    path = folder / NAME
    draft = folder / f".{NAME}"
    draft.write_text(page(read(folder)), encoding="utf-8")
    draft.replace(path)
    return path


def page(content: Row) -> str:
    """The whole page."""
    machine: Row = next(iter(content["environment"]), {})
    sections = [
        ("Machine", _machine(machine)),
        ("What was measured, and what was not", _stages(content)),
        ("Tests that need a GPU", _tests(content["tests"])),
        ("Speed", _speed(content["speed"])),
        ("The matrix `smoke`", _smoke(content)),
    ]
    body = [f"## {title}\n\n{text}\n" for title, text in sections]
    return "\n".join([f"# Measured on {machine.get('device', content['device'])}", "", _head(content), *body])


def _head(content: Row) -> str:
    ended = (
        f"ended at {content['finished']}" if content["finished"] else "it has not ended, or was ended early"
    )
    tried = (
        "\n\n**This is a trial of the script (`--quick`): its numbers mean nothing.**"
        if content["quick"]
        else ""
    )
    return (
        f"Written by `benchmarks/device.sh` from `device.json`: at most {content['minutes']:g} minutes on "
        f"`{content['device']}`, begun at {content['started']}, {ended}.{tried}\n"
    )


def table(rows: Iterable[dict[str, str]]) -> str:
    """Rows as a Markdown table; bars and line breaks in a text do not end its cell."""
    listed = [{k: _cell(v) for k, v in row.items()} for row in rows]
    if not listed:
        return "Nothing was measured here."
    lines = [list(listed[0]), ["---"] * len(listed[0]), *(list(row.values()) for row in listed)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def number(value: Any, form: str) -> str:
    """A number in that form, or ``–`` where there is none."""
    return "–" if value is None else format(value, form)


def outcome(row: Row) -> str:
    """The status in words, with the reason where there is one."""
    return f"{row['status']}: {row['reason']}" if row.get("reason") else str(row["status"])


def _machine(machine: Row) -> str:
    if machine.get("status") != MEASURED:
        return "Not known: the stage that describes the machine did not end."
    rows = [{"": label, "value": str(machine[name])} for name, label in LABELS.items() if machine.get(name)]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return f"{table(rows)}\n\nLibraries: {libraries}."


def _stages(content: Row) -> str:
    rows = [
        {
            "stage": row["key"],
            "outcome": outcome(row),
            "seconds": number(row.get("seconds"), ".0f"),
            "limit, s": number(row.get("limit"), ".0f"),
        }
        for row in content["stages"]
    ]
    counts = [
        ("tests", Counter(row["status"] for row in content["tests"])),
        ("speed", Counter(row["status"] for row in content["speed"])),
        *(
            (f"smoke on {name}", Counter(row[name]["status"] for row in content["smoke"] if name in row))
            for name in _sides(content)
        ),
    ]
    lines = [
        f"* {name}: {', '.join(f'{n} {status}' for status, n in counted.most_common()) or 'no rows'}"
        for name, counted in counts
    ]
    return "\n".join([table(rows), "", "Rows:", "", *lines])


def _tests(rows: list[Row]) -> str:
    if not rows:
        return "No test was collected."
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    shown = [
        {"test": f"`{row['key']}`", "outcome": outcome(row), "seconds": number(row.get("seconds"), ".1f")}
        for row in rows
    ]
    return f"{len(rows)} tests, {seconds:.0f} s in all.\n\n{table(shown)}"


def _speed(rows: list[Row]) -> str:
    intro = (
        "Undefended releases at round 0, one image each, with the deterministic settings of a worker of "
        "`bench run` and without TF32. Wall-clock seconds after a call to warm up, the GPU synchronised; the "
        "median of three turns where a turn is short. Evaluations of each victim are capped, for the engine "
        "and for the plain loop alike (`benchmarks/plain.py`: the published algorithm, one victim after "
        "another), so that PSNR and success say how far that budget gets, not what the attack reaches. "
        "Success: MSE below 1e-3. The generator of `ggl` was trained for seconds only."
    )
    loops = {(row["attack"], row["model"]): row for row in rows if row["way"] == "loop"}
    models = list(dict.fromkeys(row["model"] for row in rows))
    parts = [intro]
    for model in models:
        own = [row for row in rows if row["model"] == model and row["status"] != INAPPLICABLE]
        if own:
            shown = [_speed_row(row, loops.get((row["attack"], model), {})) for row in own]
            parts += [f"### `{model}`", table(shown)]
    reasons = {row["reason"]: None for row in rows if row["status"] == INAPPLICABLE}
    parts += ["Not applicable:", "\n".join(f"* {reason}" for reason in reasons)] if reasons else []
    return "\n\n".join(parts)


def _speed_row(row: Row, loop: Row) -> dict[str, str]:
    done = row["status"] == MEASURED
    each = row["seconds"] / row["victims"] if done else None
    rate = row["evaluations"] / row["seconds"] if done else None
    return {
        "attack": row["attack"],
        "way": "plain loop" if row["way"] == "loop" else f"engine, N = {row['victims']}",
        "outcome": outcome(row),
        "victims": str(row["victims"]),
        "budget": str(row["budget"]),
        "s per victim": number(each, ".3g"),
        "evaluations per s": number(rate, ",.0f"),
        "median PSNR, dB": number(row.get("psnr"), ".1f"),
        "success": number(row.get("success"), ".0%"),
        "peak GPU memory, MiB": number(row.get("peak_mb"), ",.0f"),
        "per evaluation, against the loop": _times(row, loop, "evaluations"),
        "per victim, against the loop": _times(row, loop, "victims"),
    }


def _times(row: Row, loop: Row, unit: str) -> str:
    """How many times less time a unit takes than in the plain loop."""
    if row["status"] != MEASURED or loop.get("status") != MEASURED:
        return "–"
    own, base = row["seconds"] / row[unit], loop["seconds"] / loop[unit]
    return f"{base / own:.3g}x"


def _sides(content: Row) -> list[str]:
    """The devices on which the smoke run was asked for."""
    return [name for name in ("cuda", "cpu") if any(name in row for row in content["smoke"])]


def _smoke(content: Row) -> str:
    rows, sides = content["smoke"], _sides(content)
    if not rows:
        return "Nothing was measured here."
    missing = "" if "cuda" in sides else "On CUDA it was not measured: no GPU was asked for. "
    intro = (
        f"{missing}Every device attacks the same images, but trains its own victims and generators: a GPU "
        "draws other numbers from a seed than a CPU, so that weights, batches and noise differ. Both ran at "
        "the same time. Seconds are those of the attack on all releases of a cell."
    )
    runs = [
        {
            "run": row["key"],
            "workers": str(row["workers"]),
            "cells recorded": f"{row['cells']} of {len(rows)}",
            "wall-clock, s": number(row["seconds"], ".0f"),
            "outcome": outcome(row),
        }
        for row in content["runs"]
    ]
    shown = [_smoke_row(row, sides) for row in rows if not _inapplicable(row, sides)]
    left_out = len(rows) - len(shown)
    note = (
        f"{left_out} more cells are not applicable, for reasons that the leaderboard gives."
        if left_out
        else ""
    )
    return "\n\n".join(part for part in (intro, table(runs), _gaps(rows), table(shown), note) if part)


def _inapplicable(row: Row, sides: list[str]) -> bool:
    return all(row[name]["status"] == INAPPLICABLE for name in sides)


def _gaps(rows: list[Row]) -> str:
    """How far both devices are apart on the cells that both measured."""
    both = [
        row for row in rows if all(row.get(name, {}).get("status") == MEASURED for name in ("cuda", "cpu"))
    ]
    if not both:
        return ""
    lines = []
    for name, (title, form) in PAIRS.items():
        pairs = [(row["cuda"][name], row["cpu"][name]) for row in both]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if not known:
            continue
        if name == "seconds":
            cuda, cpu = (sum(values) for values in zip(*known, strict=True))
            lines.append(f"* seconds: {cuda:.1f} in all on CUDA, {cpu:.1f} on the CPU ({_ratio(cpu, cuda)})")
            continue
        gaps = sorted(abs(a - b) for a, b in known)
        middle, largest = gaps[len(gaps) // 2], gaps[-1]
        lines.append(f"* {title}: median difference {middle:{form}}, largest {largest:{form}}")
    return "\n".join([f"On the {len(both)} cells that both devices measured:", "", *lines])


def _ratio(base: float, own: float) -> str:
    return f"{base / own:.3g}x" if own else "–"


def _smoke_row(row: Row, sides: list[str]) -> dict[str, str]:
    strength = "" if row["strength"] is None else f" = {row['strength']:g}"
    place = f"{row['channel']} · {row['model']} · {row['checkpoint']} · B = {row['batch_size']}"
    values = {
        f"{title}, {name}": number(row[name].get(key), form)
        for key, (title, form) in PAIRS.items()
        for name in sides
    }
    outcomes = {name: outcome(row[name]) for name in sides}
    same = set(outcomes.values())
    told = same.pop() if len(same) == 1 else "; ".join(f"{name} {text}" for name, text in outcomes.items())
    return {
        "place": place,
        "defense": f"{row['defense']}{strength}",
        "attack": f"{row['attack']}/{row['adversary']}",
        **values,
        "outcome": told,
    }
