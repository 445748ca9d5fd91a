"""The claims table once more: what was measured, and whether that is what a paper says."""

from __future__ import annotations

import math
import re

from tests.report.recompute import FORMATS, Folder, share, shown

METRICS = {
    "PSNR, dB": "psnr",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "images recovered, %": "identified",
    "labels recovered, %": "label_correct",
    "recognised, %": "recognised",
    "among the evaluator's first five, %": "recognised5",
    "feature distance": "feature_distance",
    "diversity": "diversity",
    "PSNR above 30 dB, %": "success",
}
PLACE = r"(?P<channel>\w+), (?P<dataset>\S+) (?P<model>\S+) (?P<checkpoint>\w+), B = (?P<batch>\d+)"
ATTACK = re.compile(rf"(?P<by>\S+) on (?P<row>.+), {PLACE}")
WORST = re.compile(
    rf"(?P<row>.+), {PLACE}, worst case.* over (?P<count>\d+) attacks(?P<naive> that ignore it)?"
)


def claim(folder: Folder, measured: str, setting: str, why: str) -> tuple[str, str]:
    """What the table must say was measured, and the verdict that follows."""
    word = measured.rpartition(": ")[0]
    metric = METRICS[word.removeprefix("nearest-private ")]
    found = []
    for part in setting.split("; "):
        alone = ATTACK.fullmatch(part)
        match = alone or WORST.fullmatch(part)
        assert match is not None, part
        group = "|".join(match[name] for name in ("channel", "dataset", "model", "checkpoint", "batch"))
        if alone:
            images = folder.attack(group, match["row"], alone["by"])
        else:
            images = folder.worst(group, match["row"], bool(match["naive"]))
            assert folder.seeing(group, match["row"], bool(match["naive"])) == int(match["count"])
        found.append(share(images[metric], group, metric))
    text = f"{word}: " + "; ".join(shown(numbers, metric) for numbers in found)
    return text, _verdict([(low, high) for _, low, high in found], FORMATS.get(metric, (100, 0))[0], why)


def _verdict(ends: list[tuple[float, float]], scale: float, why: str) -> str:
    asked = why.split(";")[0]
    least, most = (re.search(rf"{word} (\S+)", asked) for word in ("at least", "at most"))
    low = float(least[1]) / scale - 1e-9 if least else -math.inf
    high = float(most[1]) / scale + 1e-9 if most else math.inf
    if any(end < low or start > high for start, end in ends):
        return "not reproduced"
    return "reproduced" if all(low <= start and end <= high for start, end in ends) else "undecided"
