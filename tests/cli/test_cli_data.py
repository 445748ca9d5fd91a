"""Which data sets are here, and files that are fetched whole and right, or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result

from bench.cli import data
from bench.plugins import dataset_card, discover
from tests.api.plugin_folders import CODE, Folders
from tests.world import bench

CONTENT = {"one.bin": bytes(range(256)) * 9000, "two.bin": b"short"}
"""More than one block, and less."""
LOOKS = """
from pathlib import Path
from bench.api import BenchError, data_folder

class Mine(Dataset):
    def __init__(self, *, root="", half="upper"):
        self.root, self.half = root, half

    def place(self):
        return (data_folder() or Path("$BENCH_DATA")) / "below" / "one.bin"

    def missing(self):
        absent = [path for path in map(self.place().with_name, ["one.bin", "two.bin"]) if not path.is_file()]
        if self.half == "lower":
            return "nobody has the lower half"
        return f"there is no {absent[0]}" if absent else ""

    def check(self):
        if self.place().read_bytes()[:2] not in (b"\\0\\1", b"ok"):
            raise BenchError(f"{self.place()} is torn")
"""
READS = "def splits(self, *, seed):\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The official source: a folder of files."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def place(folders: Folders, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and a data set ``far`` that wants two files in it."""
    downloads: list[dict[str, Any]] = [
        {
            "url": (source / name).as_uri(),
            "md5": hashlib.md5(content).hexdigest(),
            "file": f"below/{name}",
            "when": {"half": "upper"},
        }
        for name, content in CONTENT.items()
    ]
    parameters = {
        "root": {"default": "", "path": True, "description": "a folder"},
        "half": {"default": "upper", "choices": ["upper", "lower"], "description": "which half"},
    }
    code = CODE["dataset"].replace("class Mine(Dataset):\n", LOOKS)
    code = code.replace(READS, f"{READS}        self.check()\n")
    folders.add("dataset", "far", {"downloads": downloads, "parameters": parameters}, code=code)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def server(source: Path) -> Iterator[str]:
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(source))) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def get(*arguments: str) -> Result:
    return bench("data", "get", *arguments)


def listed(*names: str) -> dict[str, list[str]]:
    result = bench("data", "list", *names)
    assert result.exit_code == 0, result.output
    rows = [re.split(" {2,}", line) for line in result.stdout.splitlines()]
    return {name: rest for name, *rest in rows}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("over", ["file", "http"])
def test_files_are_fetched_to_their_places(place: Path, server: str, over: str) -> None:
    result = get("far", *(["--mirror", f"{server}/"] if over == "http" else []))
    assert result.exit_code == 0, result.output
    assert {name: (place / "below" / name).read_bytes() for name in CONTENT} == CONTENT
    assert files(place) == {"below/one.bin", "below/two.bin"}
    again = get("far")
    assert again.exit_code == 0 and str(place / "below" / "one.bin") in again.stdout


def test_the_list_says_what_is_here_and_what_helps(place: Path) -> None:
    before = listed()
    assert before["far"][0] == "no" and before["far"][-1] == "bench data get far"
    assert before["dots"][0] == "yes" and before["dots"][1] == "CC0"
    get("far")
    here = listed("far", "far[half=lower]")
    assert here["far"][0] == "yes"
    assert here["far[half=lower]"][0] == "no" and here["far[half=lower]"][-1] == "nobody has the lower half"
    assert listed()["far"][-1] == str(place / "below" / "one.bin")


@pytest.mark.parametrize("over", ["file", "http"])
def test_another_file_is_not_kept(place: Path, source: Path, server: str, over: str) -> None:
    (source / "one.bin").write_bytes(CONTENT["one.bin"][:-1])
    result = get("far", *(["--mirror", server] if over == "http" else []))
    assert result.exit_code == 1
    assert hashlib.md5(CONTENT["one.bin"]).hexdigest() in result.stderr
    assert files(place) == set()


def test_an_absent_source_is_named_with_the_place(place: Path, source: Path, server: str) -> None:
    (source / "one.bin").unlink()
    for arguments in ([], ["--mirror", server], ["--mirror", "no url"]):
        result = get("far", *arguments)
        assert result.exit_code == 1
        assert "one.bin" in result.stderr and str(place / "below" / "one.bin") in result.stderr
    assert files(place) == set()


def test_an_interrupted_fetch_leaves_what_was_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = place / "below"
    below.mkdir()
    (below / "one.bin").write_bytes(b"old")
    seen: list[set[str]] = []

    class Interrupted:
        """Of the file's three blocks the second does not come."""

        def __init__(self, blocks: Iterator[bytes], *arguments: object, **named: object) -> None:
            self.blocks = blocks

        def __enter__(self) -> Iterator[bytes]:
            yield next(self.blocks)
            seen.append(files(place))
            raise KeyboardInterrupt

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(data.click, "progressbar", Interrupted)
    assert get("far").exit_code == 130
    assert len(seen) == 1 and len(seen[0]) == 2, "a part of the new file was beside the old one"
    assert files(place) == {"below/one.bin"} and (below / "one.bin").read_bytes() == b"old"


def test_a_fetch_that_fails_at_the_second_file_goes_on_there(place: Path, source: Path) -> None:
    (source / "two.bin").rename(source / "later.bin")
    failed = get("far")
    assert failed.exit_code == 1 and "two.bin" in failed.stderr
    assert files(place) == {"below/one.bin"}
    assert listed("far")["far"][-1] == "bench data get far"
    (source / "later.bin").rename(source / "two.bin")
    (source / "one.bin").unlink()  # it is here, and not asked for again
    result = get("far")
    assert result.exit_code == 0, result.output
    assert {name: (place / "below" / name).read_bytes() for name in CONTENT} == CONTENT


def test_a_torn_file_is_fetched_again(place: Path) -> None:
    assert get("far").exit_code == 0
    one = place / "below" / "one.bin"
    one.write_bytes(b"torn")
    result = get("far")
    assert result.exit_code == 0 and str(one) in result.stdout and "two.bin" not in result.stdout
    assert one.read_bytes() == CONTENT["one.bin"]


def test_other_files_that_the_data_set_accepts_are_left_alone(place: Path) -> None:
    (place / "below").mkdir()
    for name in CONTENT:
        (place / "below" / name).write_bytes(b"ok, in another order")
    assert get("far").exit_code == 0
    assert (place / "below" / "one.bin").read_bytes() == b"ok, in another order"


def test_a_source_that_does_not_end_is_given_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                for _ in range(64):  # no length is given
                    sent.append(self.wfile.write(bytes(data.CHUNK)))

        def log_message(self, *args: object) -> None: ...

    monkeypatch.setattr(data, "MOST", 3 * data.CHUNK, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        result = get("far", "--mirror", f"http://127.0.0.1:{running.server_port}")
        running.shutdown()
        thread.join()
    assert result.exit_code == 1 and str(3 * data.CHUNK) in result.stderr
    assert files(place) == set() and len(sent) < 64


@pytest.mark.parametrize("label", ["medmnist[size=128]", "cifar10[copy=jpeg]"])
def test_what_no_source_has_never_names_the_command(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    row = listed(label)[label]
    assert row[0] == "no" and "bench data get" not in row[-1]
    result = get(label)
    assert result.exit_code == data.NOT_FETCHED
    assert row[-1] in result.stderr and f"bench data get {label[:6]}" not in result.stderr


def test_what_cannot_be_fetched_says_where_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = get("far[half=lower]")
    assert result.exit_code == data.NOT_FETCHED == 2
    assert "Drawn by hand." in result.stderr and "nobody has the lower half" in result.stderr
    result = get(f"far[root={place}]")
    assert result.exit_code == 2 and "root" in result.stderr
    monkeypatch.delenv("BENCH_DATA")
    result = get("far")
    assert result.exit_code == 2 and "BENCH_DATA" in result.stderr
    assert get("fra").exit_code == 2


def test_downloads_of_the_project_are_for_parameters_that_there_are() -> None:
    for name, plugin in discover("dataset").plugins.items():
        card = dataset_card(name)
        for item in card.downloads:
            assert all(card.parameters[key].problem(value) is None for key, value in item.when.items())
            assert not Path(item.file).is_absolute() and item.url.startswith("http"), plugin.folder
