"""The lines of the README and of the page on own models, run as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.models.resnet import ResNet18
from bench.own.leak import Leak

from .nets import blobs

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/own.md"]


def cnn() -> nn.Module:
    """An ordinary small one."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 4),
    )


def residual() -> nn.Module:
    """A ResNet-18 with GroupNorm, of small width."""
    return ResNet18(4, (1, 12, 12), norm="group", width=4)


class Transfer(nn.Module):
    """A frozen backbone, and a head that clients train."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = cnn()[:-1].requires_grad_(False)
        self.head = nn.Linear(72, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``[B, 4]``."""
        scores: Tensor = self.head(self.backbone(images))
        return scores


def blocks(page: str) -> list[str]:
    """The Python in a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("network", [cnn, residual, Transfer])
def test_the_lines_run_on_networks_as_users_have_them(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, labels = blobs(110)
    for page in PAGES[: 1 if network is residual else 2]:
        for block in blocks(page):
            quick = block.replace("distractors=", "budget=30, distractors=").replace(
                "iterations=100", "iterations=9"
            )
            scope: dict[str, Any] = {"model": network(), "images": images, "labels": labels}
            exec(quick, scope)
            leak = scope["leak"]
            assert isinstance(leak, Leak) and leak.images is not None
            assert "<table>" in leak._repr_html_()
    assert "private" in (tmp_path / "leak.html").read_text(encoding="utf-8")


def test_there_are_lines() -> None:
    assert [len(blocks(page)) for page in PAGES] == [1, 2]
