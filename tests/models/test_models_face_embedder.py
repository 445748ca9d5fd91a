"""The recogniser of people: its bytes become weights, and these the network that dlib describes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.models.face_embedder import FaceEmbedder, dequantised
from bench.models.weights import embedder_missing
from bench.victims.evaluator import load_second

WIDTHS = (32, 64, 128, 256, 256)


class Affine(nn.Module):
    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.scale, self.shift = weights[f"{name}/scale/weights"], weights[f"{name}/scale/biases"]

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("mcij,c->mcij", x, self.scale) + self.shift[None, :, None, None]


def convolution(weights: Mapping[str, Tensor], name: str, stride: int, padding: int) -> nn.Module:
    kernel = weights[f"{name}/conv/filters"]
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride, padding)
    layer.load_state_dict({"weight": kernel, "bias": weights[f"{name}/conv/bias"]})
    return nn.Sequential(layer, Affine(weights, name))


def reference(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The network once more, from modules, block after block as the names say."""

    def block(x: Tensor, name: str, halves: bool) -> Tensor:
        first, then = (2, 0) if halves else (1, 1), (1, 1)
        branch = convolution(weights, f"{name}/conv2", *then)(
            torch.relu(convolution(weights, f"{name}/conv1", *first)(x))
        )
        plain = nn.AvgPool2d(2, 2)(x) if halves else x
        shape = [max(sizes) for sizes in zip(branch.shape, plain.shape, strict=True)]
        total = torch.zeros(shape)
        for part in (branch, plain):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        return torch.relu(total)

    x = nn.functional.interpolate(images, (150, 150), mode="bilinear", antialias=True) * 255
    x = (torch.cat([x] * 3, 1) - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    x = nn.MaxPool2d(3, 2)(torch.relu(convolution(weights, "conv32_down", 2, 0)(x)))
    for name in ("conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3"):
        x = block(x, name, name.endswith("down"))
    for name in ("conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2"):
        x = block(x, name, name.endswith("down"))
    x = block(x, "conv256_down_out", True)
    return torch.einsum("mcij,ck->mk", x, weights["fc"]) / (x.shape[2] * x.shape[3])


def drawn() -> dict[str, Tensor]:
    """Weights of the right shapes, of no meaning."""
    generator = torch.Generator().manual_seed(0)
    convolutions = {"conv32_down": (3, 32, 7)}
    for before, wide, blocks in ((32, 32, 3), (32, 64, 3), (64, 128, 2), (128, 256, 2)):
        if wide != before:
            convolutions |= {
                f"conv{wide}_down/conv1": (before, wide, 3),
                f"conv{wide}_down/conv2": (wide, wide, 3),
            }
        for number in range(1, blocks + 1):
            convolutions |= {f"conv{wide}_{number}/conv{part}": (wide, wide, 3) for part in (1, 2)}
    convolutions |= {f"conv256_down_out/conv{part}": (256, 256, 3) for part in (1, 2)}
    weights = {"fc": torch.randn(256, 128, generator=generator) / 16}
    for name, (before, wide, side) in convolutions.items():
        spread = (2 / (before * side * side)) ** 0.5
        kernel = torch.randn(wide, before, side, side, generator=generator) * spread
        weights |= {f"{name}/conv/filters": kernel}
        weights |= {f"{name}/conv/bias": 0.1 * torch.randn(wide, generator=generator)}
        weights |= {f"{name}/scale/weights": 1 + 0.1 * torch.randn(wide, generator=generator)}
        weights |= {f"{name}/scale/biases": 0.1 * torch.randn(wide, generator=generator)}
    return weights


def test_it_is_the_network_of_modules() -> None:
    weights, images = drawn(), torch.rand(2, 1, 32, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = reference(weights, images)
    found = FaceEmbedder(weights)(images)
    assert found.shape == (2, 128) and found.std(0).max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(FaceEmbedder(weights)(images[1:]), found[1:], rtol=1e-4, atol=1e-4)


def test_bytes_become_values() -> None:
    plain = np.arange(3, dtype="<f4")
    levels = np.arange(2 * 3 * 4 * 5, dtype=np.uint8)
    layout = [
        {"name": "a/filters", "shape": [2, 3, 4, 5], "quantization": {"scale": 0.5, "min": -7}},
        {"name": "b", "shape": [3]},
    ]
    found = dequantised(layout, levels.tobytes() + plain.tobytes())
    assert found["b"].tolist() == [0, 1, 2]
    assert found["a/filters"].shape == (5, 4, 2, 3)
    wanted = levels.reshape(2, 3, 4, 5)[1, 2, 3, 4] * 0.5 - 7
    assert found["a/filters"][4, 3, 1, 2].item() == wanted


def test_without_a_name_or_its_files_there_is_no_second_evaluator(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path_factory.mktemp("empty")))
    assert load_second("", torch.device("cpu")) is None
    assert load_second("faces", torch.device("cpu")) is None
    assert embedder_missing("faces").count("\n") == 0 and "npm pack" in embedder_missing("faces")
