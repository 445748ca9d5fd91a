"""``bench check`` and ``bench new`` as a user meets them."""

from __future__ import annotations

import json
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.api import Channel
from bench.api.cards import Kind, read_card
from bench.check.place import at, look_again
from bench.check.run import check as run_check
from bench.check.run import promises
from bench.cli.main import main
from bench.plugins import FOLDERS
from bench.search_path import ENVIRONMENT_VARIABLE, channel_names
from tests.victims.test_victims_folder import photographs

BROKEN = Path(__file__).parents[1] / "check" / "broken"


def bench(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_a_checklist_names_every_promise_and_what_to_do() -> None:
    code, out, _ = bench("check", str(BROKEN / "attacks" / "other_defaults"))
    assert code == 1
    assert "  BROKEN   constructor  steps is 20 in attack.py and 10 in card.toml\n" in out
    assert "fix: give both the same default" in out
    assert "2 ok, 1 broken" in out


def test_json_is_for_other_programs() -> None:
    code, out, _ = bench(
        "check", "mnist5k", str(BROKEN / "datasets" / "unscaled"), "--json", "--without", "imports"
    )
    sound, broken = json.loads(out)
    assert code == 1
    assert (sound["sound"], broken["sound"]) == (True, False)
    assert [item["promise"] for item in sound["items"]] == [n for n in promises("dataset") if n != "imports"]
    assert {item["verdict"] for item in sound["items"]} == {"ok"}
    assert next(item for item in broken["items"] if item["verdict"] == "broken")["fix"]


def test_only_files_that_nobody_promised_are_skipped(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", 40)
    code, out, _ = bench("check", f"folder[path={root}]", "--without", "imports")
    assert code == 1 and "40 distinct images, 250 are the least" in out
    (root / "class0" / "torn.png").write_bytes(b"no image")
    code, out, _ = bench("check", f"folder[path={root}]", "--without", "imports")
    assert code == 1 and "torn.png cannot be read as an image" in out
    (tmp_path / "empty").mkdir()
    code, out, _ = bench("check", f"fashion_mnist[root={tmp_path / 'empty'}]", "--without", "imports")
    assert code == 1 and "there is neither" in out and "skipped" not in out
    (tmp_path / "empty" / "t10k-labels-idx1-ubyte").touch()
    code, out, _ = bench("check", f"fashion_mnist[root={tmp_path / 'empty'}]", "--without", "imports")
    assert code == 1 and "train-images-idx3-ubyte" in out


def test_absent_files_of_a_known_data_set_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("bench.datasets.fashion_mnist.dataset")
    monkeypatch.setattr(module, "DEBIAN", tmp_path)
    code, out, _ = bench("check", "fashion_mnist", "--without", "imports")
    assert code == 0 and "skipped  shapes       its files are not on this machine" in out


def test_usage_errors_have_exit_code_2() -> None:
    assert bench("check", "noisy")[0] == 2
    code, _, err = bench("check", "convnett")
    assert code == 2 and "did you mean 'convnet'" in err
    code, out, _ = bench("check", "noise[sgma=1]", "--without", "imports")
    assert code == 1 and "unknown parameter of defense noise 'sgma'; did you mean 'sigma'?" in out
    assert "fix:" not in out
    code, _, err = bench("check", "none", "--without", "flor")
    assert code == 2 and "unknown promise 'flor'" in err


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
    code, out, _ = bench("check", "one_net:sure")
    assert code == 0 and "note     scores    the scores of 8 digits are probabilities" in out
    code, out, _ = bench("check", "one_net:net")
    assert code == 0 and "10,250 parameters, scores 10 classes of 1x32x32 images" in out and "note" not in out
    code, out, _ = bench("check", "one_net:wide")
    assert code == 1 and "has no parameters" in out


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
    assert {item.promise for item in found.items if item.verdict == "note"} == {"card"}


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
    assert code == 2 and "use --channel smashed, and name both channels in card.toml" in err
    assert not list(tmp_path.iterdir())


def test_a_new_plugin_is_made_for_the_channel_that_was_asked_for(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("attack", "defense")
    for kind, channel in product(kinds, map(Channel, channel_names())):
        if (kind, channel) == ("defense", Channel.CLIENT_GRADIENTS):
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
    assert code == 2 and "is not empty" in err and kept.read_text() == "# mine"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "plug"))
    look_again()
    code, _, err = bench("new", "attack", "mine")
    assert code == 2 and "attack mine is there already" in err
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    look_again()


@pytest.mark.parametrize("name", ["9x", "my-attack", "Mine", "class", "_mine", "a.b"])
def test_a_name_must_be_one_that_python_can_import(name: str) -> None:
    code, _, err = bench("new", "attack", name)
    assert code == 2 and "write a name in small letters" in err


def test_a_plugin_is_written_into_the_checkout_only_from_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "inner").mkdir(parents=True)
    monkeypatch.setattr("bench.search_path.checkout", lambda: tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project" / "inner")
    assert bench("new", "defense", "mine")[0] == 0
    assert (tmp_path / "project" / "defenses" / "mine" / "card.toml").is_file()
