"""Published results stay what they were: pinned to their commit, compared with what was published."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cache.keys import Identity
from bench.execute.folder import publication
from bench.execute.folder.publication import publish, withhold
from bench.matrix import Cell
from bench.records.files import write_atomic
from bench.records.outcome import Failure, Outcome, failed
from bench.records.publication import FILE, digest, pin, read_publication
from bench.records.record import Status
from bench.records.results import CONFIRMATION, Results
from tests.world import World, bench

COMMIT, OTHER = "a" * 40, "b" * 40
TITLE = ("tiny@1,", COMMIT[:10])


def recorded(
    world: World, cells: list[Cell], *commits: str, dirty: bool = False, out: Path | None = None
) -> Path:
    """A folder with a record of every cell, measured by these commits in turn."""
    results = Results(out or world.out)
    for number, cell in enumerate(cells):
        failure = Failure(status=Status.INCOMPATIBLE, reason="no toys")
        outcome = failed(cell, Identity("cpu").keys(cell), failure, device="cpu")
        at = {"commit": commits[number % len(commits)], "dirty": dirty}
        provenance = outcome.record.provenance.model_copy(update=at)
        results.commit(Outcome(outcome.record.model_copy(update={"provenance": provenance}), outcome.rows))
    results.fold()
    return world.root / "tiny.toml"


def test_a_published_folder_is_no_longer_compared_with_todays_code(world: World, cells: list[Cell]) -> None:
    matrix = recorded(world, cells, COMMIT)
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 0 and set(TITLE) <= {*result.stdout.split()}
    with (world.root / "plugins/attacks/toy/attack.py").open("a") as code:
        code.write("EDITED = 1\n")
    now = bench("status", world.out)
    assert now.exit_code == 0, now.output
    title, *rows = now.stdout.splitlines()
    assert set(TITLE) <= {*title.split()}
    counts = dict(row.split() for row in rows)
    assert (counts["n/a"], counts["stale"], counts["cells"]) == (str(len(cells)), "0", str(len(cells)))
    asked = bench("status", world.out, "--matrix", matrix, "--device", "cpu")
    against, *rows = asked.stdout.splitlines()
    assert against.startswith(title)
    assert dict(row.split() for row in rows)["stale"] == str(_of_the_toy(cells))


def _of_the_toy(cells: list[Cell]) -> int:
    """How many cells an edit of the attack toy makes stale."""
    return sum(cell.attack.name == "toy" for cell in cells)


@pytest.mark.parametrize("damage", ["record", "rows", "gone"])
def test_what_was_changed_since_is_not_what_was_published(
    damage: str, world: World, cells: list[Cell]
) -> None:
    matrix = recorded(world, cells, COMMIT)
    publish(world.out, str(matrix), device="cpu")
    path = sorted(world.out.glob("records/*.json"))[0]
    if damage == "record":
        path.write_text(path.read_text().replace("no toys", "some toys"))
    elif damage == "rows":
        (world.out / "images.csv.gz").unlink()
    else:
        path.unlink()
    found = read_publication(world.out)
    assert found is not None and not found.stands(world.out)
    result = bench("status", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.stdout.startswith(f"{found.title}, changed ")


def test_only_what_one_commit_has_measured_whole_is_published(
    world: World, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = recorded(world, cells, COMMIT, OTHER)
    monkeypatch.setattr("bench.execute.folder.publication.code_commit", lambda: ("c" * 40, False))
    assert publish(world.out, str(matrix), device="cpu").commit == "c" * 40, "no cell is stale: today's code"
    monkeypatch.setattr("bench.execute.folder.publication.code_commit", lambda: ("c" * 40, True))
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 2 and "commit" in result.stderr
    with (world.root / "plugins/attacks/toy/attack.py").open("a") as code:
        code.write("EDITED = 1\n")
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 2
    assert re.search(rf"\b2 commits.*\b{_of_the_toy(cells)} .*stale", result.stderr)
    recorded(world, cells, COMMIT, dirty=True)
    with (world.root / "plugins/attacks/toy/attack.py").open("a") as code:
        code.write("AGAIN = 1\n")
    assert bench("publish", world.out, "--matrix", matrix, "--device", "cpu").exit_code == 2

    recorded(world, cells, COMMIT)
    next(world.out.glob("records/*.json")).unlink()
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 2 and re.search(rf"\b1 of {len(cells)} .*tiny@1", result.stderr)


def test_the_fresh_seeds_are_published_with_the_rest(world: World, cells: list[Cell]) -> None:
    matrix = recorded(world, cells, COMMIT)
    before = publish(world.out, str(matrix), device="cpu")
    fresh = world.out / CONFIRMATION
    recorded(world, cells[:1], COMMIT, out=fresh)
    assert not before.stands(world.out)
    found = publish(world.out, str(matrix), device="cpu")
    assert found.commit == COMMIT and found.stands(world.out)
    next(fresh.glob("records/*.json")).unlink()
    assert not found.stands(world.out)
    recorded(world, cells[:1], OTHER, out=fresh)
    with (world.root / "plugins/attacks/toy/attack.py").open("a") as code:
        code.write("EDITED = 1\n")
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 2 and "2 commits" in result.stderr


def test_a_run_into_a_published_folder_says_so(world: World, cells: list[Cell]) -> None:
    assert cells, "the plug-ins of this world are found"
    world.matrix("guess", checkpoints='["initial"]')
    assert world.run().returncode == 0
    before = digest(world.out)
    found = pin(world.out, "tiny@1", COMMIT)
    assert found.sha256 == before
    again = world.run()
    assert "published" not in again.stdout + again.stderr, "nothing is measured"
    with (world.root / "plugins/attacks/toy/attack.py").open("a") as code:
        code.write("EDITED = 1\n")
    moved = world.run()
    assert found.title in moved.stdout + moved.stderr
    still = read_publication(world.out)
    assert still == found and not still.stands(world.out)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"commit": "main"}'])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    result = bench("status", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path / FILE}: ")


def test_what_is_published_here_stands() -> None:
    """Every folder of results/ holds what was published, and says at which commit."""
    folders = sorted(Path(__file__).parents[2].glob("results/*/records"))
    if not folders:
        pytest.skip("the sdist does not ship results")
    for folder in (path.parent for path in folders):
        found = read_publication(folder)
        assert found is not None and found.stands(folder), f"bench publish {folder}"
        commits = {
            json.loads(path.read_text())["provenance"]["commit"] for path in folder.glob("records/*.json")
        }
        assert commits == {found.commit}


def test_pictures_of_data_that_may_not_be_shown_are_not_published(
    world: World, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = recorded(world, cells, COMMIT)
    sheets = world.out / "sheets"
    sheets.mkdir(exist_ok=True)
    for cell in cells:
        (sheets / f"{cell.id}.png").write_bytes(b"picture")
    card = publication.dataset_card(cells[0].dataset.name)
    monkeypatch.setattr(publication, "dataset_card", lambda name: card.model_copy(update={"pictures": False}))
    result = bench("publish", world.out, "--matrix", matrix, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"{len(cells)} contact sheets" in result.stdout
    assert not list(sheets.glob("*.png"))
    found = read_publication(world.out)
    assert found is not None and found.stands(world.out)


def test_the_sheets_of_the_first_seed_alone_are_published(world: World, cells: list[Cell]) -> None:
    """Those that galleries show; the fresh seeds have none."""
    recorded(world, cells, COMMIT)
    fresh = [replace(cell, seed=cell.seed + 100) for cell in cells]
    recorded(world, fresh, COMMIT, out=world.out / CONFIRMATION)
    for folder, asked in ((world.out, cells), (world.out / CONFIRMATION, fresh)):
        for cell in asked:
            write_atomic(folder / "sheets" / f"{cell.id}.png", b"picture")
    first = {f"{cell.id}.png" for cell in cells if cell.seed == min(cell.seed for cell in cells)}
    assert len(first) < len(cells)
    assert withhold(world.out) == len(cells) - len(first) + len(fresh)
    assert {path.name for path in (world.out / "sheets").iterdir()} == first
    assert not list((world.out / CONFIRMATION / "sheets").iterdir())
    assert withhold(world.out) == 0
