"""Kills runs at random moments and checks that nothing is lost: ``-m tests.execute.chaos --kills 200``.

Every round starts a matrix with an empty cache and an empty results folder, and kills the main process or one
of the processes that work for it, with SIGKILL, again and again; after a kill of the main process the same
command is started again. When the round's share of the kills is spent, the command runs undisturbed to its
end. What it leaves must be what a run without any kill has left, and no temporary file with it.

A cell whose worker is killed gets a second try. One that loses two workers in one run is recorded as such:
then, and only then, the round ends with ``--retry-failed``, and the campaign says how often.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLES = ("images.csv.gz", "leaderboard.csv", "leaderboard.json", "leaderboard.md", "leaderboard.tex")
_VARYING = ("seconds", "memory_mb", "peak_memory_mb", "provenance")
"""What a record says of the run, not of the result."""


@dataclass
class Chaos:
    """One campaign.

    Attributes:
        matrix: name or file.
        root: folder for everything.
        pause: longest time between two kills, in seconds.
        workers: processes of every run.
        chance: decides when and whom.
        environment: of the runs.
        victims: how often whom was killed.
        starts: how often the command was started.
        retried: cells that lost two workers in one run.
    """

    matrix: str
    root: Path
    pause: float
    workers: int
    chance: random.Random
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    victims: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    retried: int = 0

    def undisturbed(self) -> dict[str, Any]:
        """What a run leaves that nobody disturbs."""
        self._finish(self.root / "undisturbed")
        return content(self.root / "undisturbed" / "out")

    def round(self, name: str, kills: int) -> dict[str, Any]:
        """What a run leaves after so many kills; its folders are removed if it is whole."""
        place, done = self.root / name, 0
        while done < kills:
            process = self._start(place)
            while done < kills and process.poll() is None:
                time.sleep(self.chance.uniform(0.2, self.pause))
                done += self._kill_one(process, place)
            if process.poll() is None:
                process.kill()
            process.wait()
            await_end(f"BENCH_CACHE={place / 'cache'}")
            # One that lost the server of its workers ends with an error: it is started again like a dead one.
            if done < kills and process.returncode == 0:  # it came to its end: begin anew
                compare(self.root / "undisturbed" / "out", place / "out")
                assert not leftovers(place), leftovers(place)
                shutil.rmtree(place)
        self._finish(place)
        found = content(place / "out")
        assert not leftovers(place), leftovers(place)
        shutil.rmtree(place)
        return found

    def _command(self, place: Path) -> list[str]:
        command = [sys.executable, "-m", "bench.cli.main", "run", "--matrix", self.matrix, "--device", "cpu"]
        return [*command, "--out", str(place / "out"), "-j", str(self.workers), "--display", "plain"]

    def _start(self, place: Path, *options: str) -> subprocess.Popen[bytes]:
        place.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        # Without git no record names a commit: an edit of the checkout meanwhile is not what is looked for.
        environment = self.environment | {"BENCH_CACHE": str(place / "cache"), "GIT_DIR": str(place / "none")}
        with (place / "log").open("ab") as log:
            command = [*self._command(place), *options]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _finish(self, place: Path) -> None:
        """Runs the command to its end; once more for cells that have lost two workers."""
        code = self._start(place).wait()
        if twice := lost_twice(place / "out"):
            self.retried += len(twice)
            code = self._start(place, "--retry-failed").wait()
        assert code == 0, f"exit code {code}: {(place / 'log').read_text()[-2000:]}"

    def _kill_one(self, main: subprocess.Popen[bytes], place: Path) -> int:
        """Kills the main process, or one of the others that work for it; 0 if it was too late."""
        others = [pid for pid in alive(f"BENCH_CACHE={place / 'cache'}") if pid != main.pid]
        target = main.pid if not others or self.chance.random() < 0.5 else self.chance.choice(others)
        if main.poll() is not None:
            return 0
        with suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
            self.victims["main" if target == main.pid else "worker or helper"] += 1
            return 1
        return 0


def alive(marker: str) -> list[int]:
    """Processes whose environment has the marker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{marker}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def await_end(marker: str, seconds: float = 120.0) -> None:
    """Waits until nobody is left; workers end with their parent, as soon as the machine lets them."""
    limit = time.monotonic() + seconds
    while left := alive(marker):
        assert time.monotonic() < limit, f"processes {left} have survived their parent"
        time.sleep(0.05)


def content(out: Path) -> dict[str, Any]:
    """Everything in a results folder that must not depend on what happened on the way."""
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in TABLES}
    found |= {f"sheets/{path.name}": path.read_bytes() for path in out.glob("sheets/*")}
    found |= {f"figures/{path.name}": path.read_bytes() for path in out.glob("figures/*")}
    for path in out.glob("records/*.json"):
        record = json.loads(path.read_text())
        found[f"records/{path.name}"] = {k: v for k, v in record.items() if k not in _VARYING}
    return found


def lost_twice(out: Path) -> list[str]:
    """Ids of the cells that lost two workers in one run; any other failure ends the campaign."""
    records = [json.loads(path.read_text()) for path in sorted(out.glob("records/*.json"))]
    problems = [item for item in records if item["status"] not in ("done", "incompatible")]
    for item in problems:
        # 255: the server of the workers was killed, so that nobody knows how they have ended.
        assert any(fact in item["reason"] for fact in ("SIGKILL", "exit code 255")), item
    return [item["id"] for item in problems]


def leftovers(place: Path) -> list[Path]:
    """Temporary files."""
    return [path for path in place.rglob(".*") if path.suffix == ".part" or path.name == ".rows"]


def compare(undisturbed: Path, disturbed: Path) -> None:
    """Complains of every file that differs."""
    first, second = content(undisturbed), content(disturbed)
    differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    assert not differing, f"not as in the undisturbed run: {differing}"


def campaign(chaos: Chaos, kills: int, per_round: int) -> Iterator[int]:
    """Rounds until all kills are done; yields how many are."""
    expected = chaos.undisturbed()
    done = 0
    while done < kills:
        share = min(per_round, kills - done)
        found = chaos.round(f"round-{done}", share)
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        assert not wrong, f"not as in the undisturbed run: {wrong}"
        done += share
        yield done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-round", type=int, default=20)
    parser.add_argument("--pause", type=float, default=10.0)
    parser.add_argument("--matrix", default=str(Path(__file__).with_name("chaos.toml")))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    root = options.root or Path(tempfile.mkdtemp(prefix="chaos-"))
    root.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(options.matrix, root, options.pause, options.workers, random.Random(options.seed))
    start = time.monotonic()
    for done in campaign(chaos, options.kills, options.per_round):
        minutes = (time.monotonic() - start) / 60
        said = f"{done} kills {dict(chaos.victims)}, {chaos.starts} starts, {minutes:.1f} min"
        print(f"{said}; {chaos.retried} cells lost two workers in one run", flush=True)
    print("every round ended like the undisturbed run, without a temporary file")


if __name__ == "__main__":
    main()
