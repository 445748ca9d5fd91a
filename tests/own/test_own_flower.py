"""What a real federation of two clients has sent is recorded and attacked, by one command."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.own.flower import recorded
from tests.world import bench

NETS = """
from torch import nn

def network(*, num_classes, image_shape):
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.Sigmoid(), nn.Flatten(), nn.Linear(288, num_classes))
"""
ROUND = Path(__file__).with_name("flower_round.py")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("flwr") is None, reason="Flower is not installed")
@pytest.mark.parametrize(("batch", "steps"), [(1, 5), (8, 1)])
def test_a_round_of_two_clients_is_recorded_and_attacked(
    batch: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, ROUND, tmp_path, str(batch), str(steps)], check=True)
    (tmp_path / "flower_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    clients = sorted(Path("round-1").glob("client-*.safetensors"))
    assert len(clients) == 2
    for client in clients:
        node = client.stem.removeprefix("client-")
        result = bench(
            "leak", "-m", "flower_nets:network", "--weights", "round-1/before.safetensors",
            "--after", client, "--learning-rate", "0.05", "--local-steps", steps, "--batch-size", batch,
            "--shape", "1x12x12", "--classes", 4, "--originals", f"images-{node}.npz",
            "-a", "inverting_gradients", "-o", f"{node}.html",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        said = result.stdout.splitlines()[0]
        assert "inverting_gradients" in said
        if batch == 1:  # eight images of four classes are not found by this network
            assert float(said.partition(" dB")[0].rpartition(" ")[2]) > 20, said
        assert "<table>" in Path(f"{node}.html").read_text(encoding="utf-8")


class _Arrays:
    def to_torch_state_dict(self) -> dict[str, object]:
        import torch

        return {"weight": torch.ones(2, 2).t()}


class _Reply:
    """As far as a recorder looks."""

    def __init__(self, failed: bool) -> None:
        self.has_error = lambda: failed
        self.content = SimpleNamespace(array_records={"arrays": _Arrays()})
        self.metadata = SimpleNamespace(src_node_id=7)


class _Strategy:
    def configure_train(self, server_round: int, arrays: _Arrays, config: object, grid: object) -> str:
        return f"round {server_round}"

    def aggregate_train(self, server_round: int, replies: object) -> list[object]:
        return list(replies)  # type: ignore[call-overload,no-any-return]


def test_a_recorder_changes_nothing_of_its_strategy(tmp_path: Path) -> None:
    strategy = recorded(_Strategy(), tmp_path)
    assert strategy.configure_train(3, _Arrays(), None, None) == "round 3"
    assert len(strategy.aggregate_train(3, iter([_Reply(False), _Reply(True)]))) == 2
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")}
    assert found == {"round-3/before.safetensors", "round-3/client-7.safetensors"}
