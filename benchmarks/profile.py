"""Where a published run spent its time, by stage, read from its records."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks.setting import table

FOLDER = Path("results/full")


def spent(folder: Path) -> dict[tuple[str, str], list[float]]:
    """Seconds of a worker for each result, by stage and what was computed; what cells share counts once."""
    from bench.records.results import Results

    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    seen: set[str] = set()
    for name, record in Results(folder).records().items():
        what = {
            "victim": f"{record.cell.model}, {record.cell.defense.label}",
            "generator": "" if record.generator is None else record.generator.kind,
            "reconstruction": record.cell.attack.name,
        }
        keys = record.stages.model_dump()
        for stage, seconds in record.seconds.model_dump().items():
            key = keys.get(stage) or f"{stage} {name}"
            if seconds and key not in seen:
                seen.add(key)
                found[stage, what.get(stage, "")].append(seconds)
    return dict(found)


def report() -> str:
    """A table of the stages, and one of what takes most in them."""
    found = spent(FOLDER)
    whole = sum(map(sum, found.values()))
    stages: dict[str, list[float]] = defaultdict(list)
    for (stage, _), seconds in found.items():
        stages[stage] += seconds
    largest = sorted((one for one in found.items() if one[0][1]), key=lambda one: -sum(one[1]))[:15]
    head = (
        f"Wall-clock seconds of a worker for what `{FOLDER}` holds, without its confirmation: {whole:,.0f}. "
        "What several cells share counts once, and what came from a cache as when it was computed."
    )
    parts = [
        table([_row(stage, seconds, whole) for stage, seconds in stages.items()]),
        "The fifteen largest:",
        table([_row(f"{stage}: {what}", seconds, whole) for (stage, what), seconds in largest]),
    ]
    return "\n\n".join([head, *parts])


def _row(what: str, seconds: list[float], whole: float) -> dict[str, str]:
    return {
        "": what,
        "results": f"{len(seconds):,}",
        "seconds": f"{sum(seconds):,.0f}",
        "each": f"{sum(seconds) / len(seconds):.1f}",
        "share": f"{sum(seconds) / whole:.0%}",
    }
