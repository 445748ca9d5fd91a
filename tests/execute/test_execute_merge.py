"""Folders of several machines become one, and a folder loses what is not its matrix's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.api.errors import UsageError
from bench.execute.folder.matrix_status import clean, strangers
from bench.execute.folder.merge import merge
from bench.records.outcome import Outcome
from bench.records.results import Results
from bench.records.rows import digest
from bench.report.write import write_report
from tests.world import World, build_world

TABLES = ("images.csv.gz", "leaderboard.csv", "leaderboard.json", "leaderboard.md", "leaderboard.tex")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same matrix whole in ``out``, and in two shards in ``0`` and ``1``; with a failure and an n/a."""
    world = build_world(tmp_path_factory.mktemp("merge") / "world")
    world.matrix("guess", "raise", "impossible", seeds="[0, 1]")
    for shard, out in ((None, "out"), ("0/2", "0"), ("1/2", "1")):
        options = {} if shard is None else {"shard": shard}
        result = world.run(out=str(world.root / out), **options)
        assert result.returncode == 1, result.stdout + result.stderr
    return world


@pytest.fixture
def copy(parts: World, tmp_path: Path) -> World:
    return World(Path(shutil.copytree(parts.root, tmp_path / "copy")))


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "locks"))


def _tables(folder: Path) -> dict[str, bytes]:
    write_report(folder, final=False)
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_shards_put_together_are_the_whole(copy: World) -> None:
    sources = [copy.root / "0", copy.root / "1"]
    before = {path: path.read_bytes() for source in sources for path in source.rglob("*") if path.is_file()}
    result = merge(sources, copy.root / "merged")
    assert (result.added, result.replaced, result.kept, result.differing) == (12, 0, 0, ())
    assert _tables(copy.root / "merged") == _tables(copy.out)
    sheets = {path.name: path.read_bytes() for path in copy.out.glob("sheets/*")}
    assert sheets == {path.name: path.read_bytes() for path in copy.root.glob("merged/sheets/*")}
    assert not (copy.root / "merged/records/.rows").exists()
    assert {path: path.read_bytes() for path in before} == before, "the sources stay as they are"
    again = merge(sources, copy.root / "merged")
    assert (again.added, again.replaced, again.kept) == (0, 0, 12)


def test_a_result_wins_over_a_failure_and_the_newer_over_the_older(copy: World) -> None:
    (copy.root / "1").rename(copy.root / "old")
    done = next(p for p in (copy.root / "old/records").glob("*.json") if '"done"' in p.read_text())
    record = json.loads(done.read_text())
    record |= {"status": "failed", "reason": "long ago"}
    record["provenance"]["finished"] = "2999-01-01T00:00:00+00:00"
    done.write_text(json.dumps(record))
    rows = Results(copy.root / "old")
    assert len(list(rows.outcomes())) == 5, "its two rows are not those of a failure: it does not count"
    result = merge([copy.root / "old", copy.out], copy.root / "merged")
    assert (result.added, result.replaced) == (12, 0)
    assert _tables(copy.root / "merged") == _tables(copy.out)

    newer = json.loads((copy.out / "records" / done.name).read_text())
    newer["provenance"]["finished"] = "2999-01-01T00:00:00+00:00"
    (copy.out / "records" / done.name).write_text(json.dumps(newer))
    assert merge([copy.out], copy.root / "merged").replaced == 1


def test_two_machines_that_disagree_are_named(copy: World) -> None:
    first = next(o for o in Results(copy.root / "0").outcomes() if o.record.status == "done")
    folder = copy.root / "other"
    row = list(first.rows[0])
    row[13] = "1.23456"
    rows = (tuple(row), *first.rows[1:])
    record = first.record.model_copy(update={"rows_sha256": digest(rows)})
    Results(folder).commit(Outcome(record, rows))
    result = merge([copy.root / "0", folder], copy.root / "merged")
    assert len(result.differing) == 1
    assert "toy" in result.differing[0]


def test_what_cannot_be_merged_is_refused_before_anything_is_written(copy: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty"):
        merge([copy.root / "0", tmp_path / "empty"], tmp_path / "merged")
    copy.matrix("guess", releases="3", seeds="[0]")
    assert copy.run(out=str(copy.root / "rich")).returncode == 0
    with pytest.raises(UsageError, match="releases"):
        merge([copy.out, copy.root / "rich"], tmp_path / "merged")
    assert not (tmp_path / "merged/records").exists()


def test_clean_takes_out_what_is_not_in_the_matrix(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.plugins import discover

    monkeypatch.setenv("BENCH_PLUGIN_PATH", str(copy.root / "plugins"))
    discover.cache_clear()
    path = str(copy.matrix("guess", "impossible", seeds="[0, 1]"))
    gone = strangers(path, copy.out)
    assert len(gone) == 4 and all("act=raise" in title for title in gone.values())
    assert len(copy.records()) == 12, "asking changes nothing"
    assert clean(path, copy.out) == 4
    assert len(copy.records()) == 8
    assert not any("act=raise" in row for row in copy.rows())
    assert len(list(copy.out.glob("sheets/*.png"))) == 4
    assert clean(path, copy.out) == 0
    discover.cache_clear()
