"""``bench check`` and ``bench new`` as a user meets them."""

from __future__ import annotations

import json
import re
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

from bench.api import Channel
from bench.api.cards import Kind, read_card
from bench.check.findings import Verdict
from bench.check.place import at, look_again
from bench.check.run import check as run_check
from bench.check.run import promises
from bench.plugins import FOLDERS
from bench.search_path import ENVIRONMENT_VARIABLE, channel_names
from tests.check.faults import broken
from tests.victims.test_victims_folder import photographs
from tests.world import bench as run_command


def bench(*arguments: object) -> tuple[int, str, str]:
    done = run_command(*arguments)
    return done.exit_code, done.stdout, done.stderr


def checked(*arguments: str, code: int = 1) -> dict[str, dict[str, str]]:
    """The checklist of one plug-in by its promises."""
    found, out, err = bench("check", *arguments, "--json")
    assert found == code, out + err
    (checklist,) = json.loads(out)
    return {item["promise"]: item for item in checklist["items"]}


def said(*arguments: str, code: int = 1) -> str:
    """All that a checklist without its imports found."""
    items = checked(*arguments, "--without", "imports", code=code).values()
    return "\n".join(item["message"] for item in items if item["verdict"] == Verdict.BROKEN)


def test_a_checklist_names_every_promise_and_what_to_do(tmp_path: Path) -> None:
    folder = str(broken(tmp_path, "attacks/other_defaults"))
    items = checked(folder)
    assert items["constructor"]["verdict"] == Verdict.BROKEN
    code, out, _ = bench("check", folder)
    assert code == 1
    assert all(name in out and item["message"] in out and item["fix"] in out for name, item in items.items())


def test_json_is_for_other_programs(tmp_path: Path) -> None:
    folder = str(broken(tmp_path, "datasets/unscaled"))
    code, out, _ = bench("check", "mnist5k", folder, "--json", "--without", "imports")
    sound, unsound = json.loads(out)
    assert code == 1
    assert (sound["sound"], unsound["sound"]) == (True, False)
    assert [item["promise"] for item in sound["items"]] == [n for n in promises("dataset") if n != "imports"]
    assert {item["verdict"] for item in sound["items"]} == {"ok"}
    assert next(item for item in unsound["items"] if item["verdict"] == "broken")["fix"]


def test_only_files_that_nobody_promised_are_skipped(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", 40)
    assert re.search(r"\b40 .*\b100 ", said(f"folder[path={root}]"))
    photographs(root)
    (root / "class0" / "torn.png").write_bytes(b"no image")
    assert "torn.png" in said(f"folder[path={root}]")
    empty = tmp_path / "empty"
    empty.mkdir()
    items = checked(f"fashion_mnist[root={empty}]", "--without", "imports")
    assert Verdict.SKIPPED not in {item["verdict"] for item in items.values()}
    (empty / "t10k-labels-idx1-ubyte").touch()
    assert "train-images-idx3-ubyte" in said(f"fashion_mnist[root={empty}]")


def test_absent_files_of_a_known_data_set_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("bench.datasets.fashion_mnist.dataset")
    monkeypatch.setattr(module, "DEBIAN", tmp_path)
    items = checked("fashion_mnist", "--without", "imports", code=0)
    assert items["shapes"]["verdict"] == Verdict.SKIPPED


def test_usage_errors_have_exit_code_2() -> None:
    assert bench("check", "noisy")[0] == 2
    code, _, err = bench("check", "convnett")
    assert code == 2 and "'convnet'" in err
    assert re.search("'sgma'.*'sigma'", said("noise[sgma=1]"))
    code, _, err = bench("check", "none", "--without", "flor")
    assert code == 2 and "'flor'" in err


def test_a_model_is_tried_by_the_name_that_the_run_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one_net.py").write_text(
        "from torch import nn\n\ndef net(*, num_classes, image_shape):\n"
        "    c, h, w = image_shape\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, num_classes))\n"
        "\ndef wide(*, num_classes, image_shape):\n    return nn.Flatten()\n"
        "\ndef sure(*, num_classes, image_shape):\n"
        "    return nn.Sequential(net(num_classes=num_classes, image_shape=image_shape), nn.Softmax(1))\n"
    )
    assert checked("one_net:sure", code=0)["scores"]["verdict"] == Verdict.NOTE
    items = checked("one_net:net", code=0).values()
    assert {item["verdict"] for item in items} == {Verdict.OK}
    assert any({"10,250", "10", "1x32x32"} <= {*item["message"].split()} for item in items)
    wide = [item for item in checked("one_net:wide").values() if item["verdict"] == Verdict.BROKEN]
    assert any("one_net:wide" in item["message"] for item in wide)


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        *((kind, "gradients") for kind in FOLDERS),
        *(
            pytest.param(kind, channel, marks=pytest.mark.slow)
            for channel, kinds in (
                ("smashed", ("attack", "defense")),
                ("model", ("attack", "defense")),
                ("client_gradients", ("attack",)),
            )
            for kind in kinds
        ),
    ],
)
def test_a_new_plugin_keeps_its_contract_as_it_is(
    kind: str, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = bench("new", kind, "my_idea", "--author", "A. Person", "--channel", channel)
    folder = tmp_path / f"{kind}s" / "my_idea"
    assert code == 0
    assert f"bench check {kind}s/my_idea" in out and "BENCH_PLUGIN_PATH" not in out, "it is found from here"
    assert 30 <= len((folder / f"{kind}.py").read_text().splitlines()) <= 60
    assert "class MyIdea(" in (folder / f"{kind}.py").read_text()
    with at(folder) as subject:
        found = run_check(subject)
    assert found.sound, found.to_text()
    assert {item.promise for item in found.items if item.verdict is Verdict.NOTE} == {"card"}


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_lies_in_the_working_folder_is_found_by_its_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    look_again()
    assert bench("check", "my_idea")[0] == 2
    assert bench("new", kind, "my_idea")[0] == 0
    look_again()
    try:
        left_out = [option for name in promises(kind) if name != "card" for option in ("--without", name)]
        code, out, err = bench("check", "my_idea", *left_out)
        assert code == 0, out + err
        assert out.startswith(f"{kind} my_idea")
        assert "\nmy_idea " in bench("list", f"{kind}s")[1]
    finally:
        monkeypatch.undo()
        look_again()


def test_a_new_plugin_elsewhere_says_how_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = bench("new", "attack", "my_idea", "--path", "plug")
    assert code == 0 and f"export BENCH_PLUGIN_PATH={tmp_path / 'plug'}\n" in out


def test_a_defense_of_leaked_gradients_begins_with_the_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = bench("new", "defense", "mine", "--channel", "client_gradients")
    assert code == 2 and "--channel smashed" in err
    assert not list(tmp_path.iterdir())


def test_a_new_plugin_is_made_for_the_channel_that_was_asked_for(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("attack", "defense")
    for kind, channel in product(kinds, map(Channel, channel_names())):
        if channel == Channel.MALICIOUS or (kind, channel) == ("defense", Channel.CLIENT_GRADIENTS):
            continue
        name = f"my_{channel}"
        assert bench("new", kind, name, "--channel", str(channel), "--path", str(tmp_path))[0] == 0
        card = read_card(tmp_path / f"{kind}s" / name / "card.toml", kind)
        assert getattr(card, "channels", ()) == (channel,)


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", "attack", "mine", "--path", "plug")[0] == 0
    kept = Path("plug/attacks/mine/attack.py")
    kept.write_text("# mine")
    code, _, err = bench("new", "attack", "mine", "--path", "plug")
    assert code == 2 and "mine" in err and kept.read_text() == "# mine"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "plug"))
    look_again()
    code, _, err = bench("new", "attack", "mine")
    assert code == 2 and "attack mine" in err
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    look_again()


@pytest.mark.parametrize("name", ["9x", "my-attack", "Mine", "class", "_mine", "a.b"])
def test_a_name_must_be_one_that_python_can_import(name: str) -> None:
    assert bench("new", "attack", name)[0] == 2


def test_a_plugin_is_written_into_the_checkout_only_from_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "inner").mkdir(parents=True)
    monkeypatch.setattr("bench.search_path.checkout", lambda: tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project" / "inner")
    assert bench("new", "defense", "mine")[0] == 0
    assert (tmp_path / "project" / "defenses" / "mine" / "card.toml").is_file()
    monkeypatch.undo()
    look_again()


def test_there_is_no_template_of_a_malicious_server_but_an_example(tmp_path: Path) -> None:
    code, _, err = bench("new", "attack", "mine", "--channel", "malicious", "--path", str(tmp_path))
    assert (
        code == 2 and "attacks/imprint" in err and not (tmp_path / "attacks" / "mine" / "card.toml").exists()
    )
