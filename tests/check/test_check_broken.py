"""Deliberately broken plug-ins: each is caught, by the right promise, with what leads to the fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.check.findings import Checklist, Verdict
from bench.check.place import at
from bench.check.run import check

HERE = Path(__file__).parent / "broken"
FAULTS: dict[str, dict[str, str]] = {
    "attacks/peeks_at_labels": {"observation": r"observation\.labels"},
    "attacks/sees_the_images": {"observation": r"observation\.images"},
    "attacks/opens_a_file": {"observation": "mnist"},
    "attacks/opens_at_import": {"observation": "mnist"},
    "attacks/remembers_a_file": {"observation": "mnist"},
    "attacks/overspends": {"budget": r"\b20 .*\b1\b"},
    "attacks/miscounts": {"budget": r"\b3 .*\b6\b"},
    "attacks/copies_the_victim": {"budget": r"\b3 .*\b6\b"},
    "attacks/global_chance": {"determinism": "images", "randomness": "torch"},
    "attacks/mixes_victims": {"batching": "release 0 of 3", "useless": "neighbour"},
    "attacks/wrong_unit": {"range": r"\b1 %.*\b128\b"},
    "attacks/wrong_shape": {"shapes": r"\(3, 1, 32, 32\).*\(3, 1, 1, 32, 32\)"},
    "attacks/stays_on_the_cpu": {"device": "images"},
    "attacks/misses_its_floor": {"floor": r"\d+\.\d dB.*\b45 dB"},
    "attacks/steals_from_memory": {"floor": r"\d+\.\d dB.*\b45 dB"},
    "attacks/opens_a_file_later": {"decoys": r"4 of 4.*80\.0 dB"},
    "attacks/counts_nothing": {"budget": r"\b2 "},
    "attacks/refuses_nothing": {"incompatible": "B = 2.*max_batch_size"},
    "attacks/asks_the_harness": {"imports": r"attack\.py.*\d.*bench\.plugins"},
    "attacks/helper_asks": {"imports": r"parts/helper\.py.*\b3\b.*bench\.cells\.stages"},
    "attacks/other_defaults": {"constructor": r"steps.*\b20\b.*attack\.py.*\b10\b.*card\.toml"},
    "attacks/mixes_classes": {"batching": "class 0 of 3"},
    "attacks/forgets_the_batch": {"shapes": r"\(3, 1, 32, 32\).*\(3, 1, 1, 32, 32\)"},
    "attacks/borrows_a_generator": {"observation": r"observation\.generator"},
    "attacks/hides_slopes": {"budget": r"\b3 .*\b6\b"},
    "attacks/split_wrong_unit": {"range": r"\b1 %.*\b200\b"},
    "attacks/split_borrows_images": {"observation": r"observation\.auxiliary"},
    "attacks/split_mixes_victims": {"batching": "release 0 of 3", "useless": "neighbour"},
    "attacks/split_stays_on_the_cpu": {"device": "images"},
    "attacks/split_miscounts": {"budget": r"\b1 .*\b2\b"},
    "attacks/split_label_scores": {"shapes": r"labels.*torch\.float32"},
    "attacks/torn_card": {"card": rf"{HERE}/attacks/torn_card/card\.toml: authors: .*\n.*card\.toml: year: "},
    "defenses/does_nothing": {"changes": ""},
    "defenses/trains_as_usual": {"changes": "owner"},
    "defenses/mixes_clients": {"clients": "client 0", "crowd": r"\b3 "},
    "defenses/changes_in_place": {"shapes": "gradients"},
    "defenses/hides_itself": {"view": r"None.*adaptive_view"},
    "defenses/clean_in_a_crowd": {"crowd": r"of 1\b.*\b0 of 32"},
    "defenses/tires": {"utility": ""},
    "defenses/divides_by_zero": {"utility": r"finite.*\d"},
    "defenses/global_noise": {"determinism": "", "randomness": "torch"},
    "datasets/overlapping": {"disjoint": r"private_train.*auxiliary.*\b100\b"},
    "datasets/unscaled": {"range": r"\b25\d.*\[0, 1\]"},
    "datasets/sorted_by_class": {"range": r"private_train.*\b1 .*\b2\b"},
    "datasets/other_bytes": {"shapes": r"[0-9a-f]{64}.*0{64}"},
    "datasets/too_few": {"shapes": r"\b40\b.*\b250\b"},
}
"""For each: the promises that it breaks, and what each finding names."""


def checked(name: str) -> Checklist:
    # A fresh process takes seconds: it is tried where the fault is in the imports.
    without = () if "imports" in FAULTS[name] else ("imports",)
    with at(HERE / name) as subject:
        return check(subject, without=without)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_by_the_promise_that_it_breaks_and_by_no_other(name: str) -> None:
    found = checked(name)
    assert {item.promise for item in found.broken} == set(FAULTS[name]), found.to_text()
    for item in found.broken:
        assert re.search(FAULTS[name][item.promise], item.message), item.message
        assert item.fix, "says what to do"
    assert not found.sound


def test_every_broken_plugin_has_its_fault_written_down() -> None:
    folders = {f"{path.parent.parent.name}/{path.parent.name}" for path in HERE.glob("*/*/card.toml")}
    assert folders == set(FAULTS)


def test_what_a_plugin_raises_is_told_with_the_line_that_raised_it(tmp_path: Path) -> None:
    folder = tmp_path / "attacks" / "divides"
    folder.mkdir(parents=True)
    source = HERE / "attacks" / "wrong_unit"
    (folder / "card.toml").write_text((source / "card.toml").read_text())
    code = (source / "attack.py").read_text().replace("128.0", "1 / (budget - budget)")
    (folder / "attack.py").write_text(code)
    with at(folder) as subject:
        found = check(subject, without=("imports", "floor"))
    item = next(item for item in found.items if item.promise == "shapes")
    assert item.verdict is Verdict.BROKEN and "ZeroDivisionError" in item.message
    assert re.search(r"attack\.py.*\d.*images = torch\.full", item.fix)
