"""Deliberately broken plug-ins: each is caught, by the right promise, in words that lead to the fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.check.findings import Checklist, Verdict
from bench.check.place import at
from bench.check.run import check

HERE = Path(__file__).parent / "broken"
FAULTS: dict[str, dict[str, str]] = {
    "attacks/peeks_at_labels": {"observation": r"reads observation\.labels, which its card does not declare"},
    "attacks/sees_the_images": {"observation": r"reads observation\.images: no attacker sees that"},
    "attacks/opens_a_file": {"observation": r"opens .*mnist.*, at import or while it attacks"},
    "attacks/opens_at_import": {"observation": r"opens .*mnist.*, at import or while it attacks"},
    "attacks/remembers_a_file": {"observation": r"opens .*mnist.*, at import or while it attacks"},
    "attacks/overspends": {"budget": r"spends 20 evaluations on a release of a budget of 1"},
    "attacks/miscounts": {"budget": r"reports 3 evaluations of 3 releases, but evaluated .* 6 times"},
    "attacks/copies_the_victim": {"budget": r"reports 3 evaluations of 3 releases, but evaluated .* 6 times"},
    "attacks/global_chance": {
        "determinism": r"images differ between two runs with the same seed",
        "randomness": r"draws from the global random state of torch",
    },
    "attacks/mixes_victims": {
        "batching": r"release 0 of 3 is rebuilt otherwise alone",
        "useless": r"a neighbour whose release is all",
    },
    "attacks/wrong_unit": {"range": r"1 % of the grey values exceed 128: images must be in \[0, 1\]"},
    "attacks/wrong_shape": {"shapes": r"images has shape \(3, 1, 32, 32\), expected \(3, 1, 1, 32, 32\)"},
    "attacks/stays_on_the_cpu": {"device": r"returns images on the CPU, the observation is elsewhere"},
    "attacks/misses_its_floor": {"floor": r"reaches \d+\.\d dB PSNR .* its card promises 45 dB"},
    "attacks/steals_from_memory": {"floor": r"reaches \d+\.\d dB PSNR .* its card promises 45 dB"},
    "attacks/opens_a_file_later": {"decoys": r"4 of 4 reconstructions show private images .*\(80\.0 dB\)"},
    "attacks/counts_nothing": {"budget": r"reports 2 evaluations of a release, of which none was seen"},
    "attacks/refuses_nothing": {"incompatible": r"B = 2: works, though max_batch_size in the card"},
    "attacks/asks_the_harness": {"imports": r"attack\.py, line \d+, imports bench\.plugins"},
    "attacks/helper_asks": {"imports": r"^parts/helper\.py, line 3, imports bench\.cells\.stages$"},
    "attacks/other_defaults": {"constructor": r"steps is 20 in attack\.py and 10 in card\.toml"},
    "attacks/mixes_classes": {"batching": r"class 0 of 3 is rebuilt otherwise alone"},
    "attacks/forgets_the_batch": {
        "shapes": r"images has shape \(3, 1, 32, 32\), expected \(3, 1, 1, 32, 32\)"
    },
    "attacks/borrows_a_generator": {
        "observation": r"reads observation\.generator, which its card does not declare"
    },
    "attacks/hides_slopes": {
        "budget": r"reports 3 evaluations of 3 classes, but evaluated the victim's gradients 6 times"
    },
    "attacks/split_wrong_unit": {"range": r"1 % of the grey values exceed 200: images must be in \[0, 1\]"},
    "attacks/split_borrows_images": {
        "observation": r"reads observation\.auxiliary, which its card does not declare"
    },
    "attacks/split_mixes_victims": {
        "batching": r"release 0 of 3 is rebuilt otherwise alone",
        "useless": r"a neighbour whose release is all",
    },
    "attacks/split_stays_on_the_cpu": {"device": r"returns images on the CPU, the observation is elsewhere"},
    "attacks/split_miscounts": {"budget": r"reports 1 evaluations of 1 releases, but took slopes .* 2 times"},
    "attacks/split_label_scores": {"shapes": r"labels are torch\.float32"},
    "attacks/torn_card": {
        "card": rf"^{HERE}/attacks/torn_card/card\.toml: authors: Field required\n"
        rf"{HERE}/attacks/torn_card/card\.toml: year: Input should be a valid integer, .*$"
    },
    "defenses/does_nothing": {"changes": r"with its default parameters the release is the undefended one"},
    "defenses/trains_as_usual": {
        "changes": r"with its default parameters the owner trains the undefended classifier"
    },
    "defenses/mixes_clients": {
        "clients": r"what client 0 computes changes what the others send",
        "crowd": r"among 3 clients one sends something else than alone",
    },
    "defenses/changes_in_place": {"shapes": r"gradients: changes its argument in place"},
    "defenses/hides_itself": {"view": r"view\(\) returns None, but the card says adaptive_view = true"},
    "defenses/clean_in_a_crowd": {"crowd": r"changes depends on others: [\d.]+ of 1, .* 0 of 32"},
    "defenses/tires": {"utility": r"in the last round of a training it changes nothing of what leaves"},
    "defenses/divides_by_zero": {"utility": r"the weights are not finite after \d+ rounds"},
    "defenses/global_noise": {
        "determinism": r"two runs with the same generator differ",
        "randomness": r"draws from the global random state of torch",
    },
    "datasets/overlapping": {"disjoint": r"private_train and auxiliary share 100 images"},
    "datasets/unscaled": {"range": r"grey values from .* to 25\d.*, expected \[0, 1\]"},
    "datasets/sorted_by_class": {"range": r"private_train: 1 of 2 classes occur"},
    "datasets/other_bytes": {"shapes": r"other_bytes: sha256 is [0-9a-f]{64}, the card says 0{64}"},
    "datasets/too_few": {"shapes": r"too_few: the source holds 40 images, 250 are the least"},
}


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
    assert (item.verdict, item.message) == (Verdict.BROKEN, "raises ZeroDivisionError: division by zero")
    assert re.fullmatch(r"look at attack\.py, line \d+: images = torch\.full.*", item.fix)
