"""Inverting Gradients beside breaching, the peers' own code: same images, weights and released gradients.

``pip install -e '.[peers]'`` brings it (Geiping et al., version 0.1.2, the authors' successor of their first
code). Every victim is attacked by either in turn, in one process. Breaching's settings are its own but for
the number of iterations, and it sees images standardised, as it expects them; both are told the labels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from benchmarks.photographs import crops
from benchmarks.setting import fresh, splits, table, victims

VERSION = "0.1.2"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        model: architecture.
        width: channels of a ResNet's first stage; 0: it has no such parameter.
        passes: over the private images in which its weights were trained; 0: they are untrained.
        data: ``digits`` or ``photographs``.
        batch: B, images of a victim.
        count: victims.
        iterations: of either search.
    """

    model: str
    width: int
    passes: int
    data: str
    batch: int
    count: int
    iterations: int


VICTIMS = {1: 8, 4: 4, 8: 2}
"""How many of each batch size: a large batch takes as much longer as it has images."""
NETWORKS = (("convnet", 0, 4, 300), ("resnet18", 16, 4, 100), ("resnet18", 64, 2, 30))
"""Architecture, width, passes of the training, iterations."""
ROWS = [
    Row(model, width, trained, data, *each, iterations)
    for model, width, passes, iterations in NETWORKS
    for trained, data in ((0, "photographs"), (passes, "digits"))
    for each in VICTIMS.items()
]


@dataclass
class _Taken:
    """What the searches of one code took and found.

    Attributes:
        seconds: CPU seconds of each call.
        found: images ``[B, C, H, W]`` of each victim.
    """

    seconds: list[float]
    found: list[Any]


def _private() -> Any:
    """The digits' private split in three equal channels: breaching's total variation takes no grey images."""
    from bench.api import ImageSet

    private = splits(0).private_train
    return ImageSet(private.images.expand(-1, 3, -1, -1), private.labels)


def _network(row: Row) -> Any:
    """The network with its weights: untrained, or after plain training on the digits' private split."""
    import torch

    from bench.models.build import build_model
    from bench.models.resnet import ResNet18

    private, draw = _private(), torch.Generator().manual_seed(0)
    shape = tuple(private.images.shape[1:])
    network = (
        ResNet18(10, shape, width=row.width)
        if row.width
        else build_model(row.model, num_classes=10, image_shape=shape)
    )
    network.initialise(draw)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(row.passes):
        for index in torch.randperm(len(private), generator=draw).split(32):
            optimiser.zero_grad()
            scores = network(private.images[index])
            torch.nn.functional.cross_entropy(scores, private.labels[index]).backward()
            optimiser.step()
    return network


def _accuracy(network: Any) -> float:
    import torch

    test = splits(0).private_test
    with torch.no_grad():
        scores = torch.cat([network(part.expand(-1, 3, -1, -1)) for part in test.images.split(250)])
    return float((scores.argmax(1) == test.labels).double().mean())


def _images(row: Row) -> tuple[Any, Any]:
    """Images ``[N, B, C, H, W]`` and labels ``[N, B]``; no two of a batch have one label."""
    import torch

    size = row.count * row.batch
    if row.data == "photographs":
        return (
            crops(size).view(row.count, row.batch, 3, 32, 32),
            torch.arange(size).remainder(10).view(row.count, row.batch),
        )
    private = _private()
    classes = [(private.labels == label).nonzero()[:, 0] for label in range(10)]
    # Batch by batch the classes follow one another, each with its next image.
    place = torch.arange(size)
    index = torch.stack([classes[turn % 10][turn // 10] for turn in place.tolist()])
    return private.images[index].unflatten(0, (-1, row.batch)), private.labels[index].view(-1, row.batch)


def _peer(seen: Any, images: Any, row: Row) -> Callable[[int], Any]:
    """Breaching's search for one victim, by its place."""
    import breaching
    import torch
    from omegaconf import OmegaConf

    from bench.models.base import VictimModel

    observation = seen.observation
    settings = breaching.get_attack_config("invertinggradients")
    settings.optim.max_iterations = row.iterations
    # Ours compares the channels of every colour image, and those of these digits are equal.
    compares = "regularization.total_variation.double_opponents"
    OmegaConf.update(settings, compares, row.data == "digits", force_add=True)
    mean, std = images.mean((0, 1, 3, 4)), images.std((0, 1, 3, 4))

    class Standardised(torch.nn.Module):
        """The network of images whose channels have mean 0 and deviation 1."""

        def __init__(self, network: VictimModel) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", mean[:, None, None], persistent=False)
            self.register_buffer("std", std[:, None, None], persistent=False)

        def forward(self, values: Any) -> Any:
            return self.network(values * self.std + self.mean)

    network = Standardised(observation.model)
    metadata = SimpleNamespace(
        shape=observation.image_shape, mean=mean.tolist(), std=std.tolist(), modality="vision"
    )
    payload = {"metadata": metadata, "parameters": list(observation.parameters.values()), "buffers": None}

    def search(place: int) -> Any:
        torch.manual_seed(place)
        shared = {
            "gradients": [value[place] for value in observation.gradients.values()],
            "buffers": None,
            "metadata": {
                "labels": seen.labels[place],
                "num_data_points": row.batch,
                "local_hyperparams": None,
            },
        }
        attacker = breaching.attacks.prepare_attack(
            network, torch.nn.CrossEntropyLoss(), settings,
            {"dtype": torch.float, "device": torch.device("cpu")},
        )  # fmt: skip
        found = attacker.reconstruct([payload], [shared], {})[0]["data"]
        return found.detach() * network.std + network.mean

    return search


def _clocked(taken: _Taken, call: Callable[[], Sequence[Any]]) -> None:
    start = time.process_time()
    found = call()
    taken.seconds.append(time.process_time() - start)
    taken.found.extend(found)


def _median_quality(found: Sequence[Any], originals: Any) -> tuple[float, float]:
    """Median PSNR and LPIPS over the images, each beside the reconstruction that stands for it."""
    import torch

    from bench.metrics.matching import assign
    from bench.metrics.perceptual import Lpips
    from bench.metrics.pixel import psnr

    lpips, levels, distances = Lpips("alex"), [], []
    for images, truth in zip(found, originals, strict=True):
        images = images.detach().float().clamp(0, 1)
        apart = lpips.pairwise(lpips.embed(truth), lpips.embed(images))
        order = assign(apart)
        levels.append(psnr(images[order], truth))
        distances.append(apart[torch.arange(len(truth)), order])
    return torch.cat(levels).median().item(), torch.cat(distances).median().item()


def compared(row: Row) -> dict[str, str]:
    """One row of the table: both codes in turns on each victim, and ours on all of them at once."""
    import torch

    from bench.plugins import build_attack

    torch.set_num_threads(1)
    images, labels = _images(row)
    network = _network(row)
    seen = victims(network, row.count, images=images, labels=labels)
    search = _peer(seen, images, row)
    attack = build_attack("inverting_gradients", {"iterations": row.iterations})

    def ours(rows: Any) -> Any:
        part = seen.observation.select(rows)
        return attack.reconstruct(part, budget=row.iterations, seed=0).images

    peer, alone, together = (_Taken([], []) for _ in range(3))
    places = torch.arange(row.count)
    ours(places[:1]), search(0)  # what only a first call takes
    for place in range(row.count):
        _clocked(peer, lambda: [search(place)])  # noqa: B023 - called at once
        _clocked(alone, lambda: ours(places[place, None]))  # noqa: B023
    _clocked(together, lambda: ours(places))
    theirs, single = statistics.median(peer.seconds), statistics.median(alone.seconds)
    each = together.seconds[0] / row.count
    quality = {name: _median_quality(one.found, images) for name, one in (("peer", peer), ("ours", together))}
    quality["mean"] = _median_quality(images.mean((0, 1, 3, 4), keepdim=True).expand_as(images), images)
    name = row.model + f" of width {row.width}" * bool(row.width)
    trained = f", {row.passes} passes ({_accuracy(network):.0%})" if row.passes else ", untrained"
    return {
        "network": name + trained,
        "data": row.data,
        "B": str(row.batch),
        "victims": str(row.count),
        "iterations": str(row.iterations),
        "their mean: PSNR, LPIPS": "{:.1f} dB, {:.3f}".format(*quality["mean"]),
        "breaching: PSNR, LPIPS": "{:.1f} dB, {:.3f}".format(*quality["peer"]),
        "ours": "{:.1f} dB, {:.3f}".format(*quality["ours"]),
        "breaching, ms per iteration": f"{1e3 * theirs / row.iterations:.1f}",
        "ours, one victim": f"{1e3 * single / row.iterations:.1f} ({theirs / single:.2f}x)",
        "ours, all at once": f"{1e3 * each / row.iterations:.1f} ({theirs / each:.2f}x)",
    }


def report() -> str:
    """The table.

    Raises:
        SystemExit: breaching is not installed.
    """
    if find_spec("breaching") is None:
        raise SystemExit("benchmarks/peers.py needs breaching: pip install -e '.[peers]'")
    return "\n".join([_HEAD, "", table([fresh(compared, row) for row in ROWS])])


_HEAD = (
    f"`inverting_gradients` with its defaults beside breaching {VERSION} with its own (`invertinggradients`: "
    "signed Adam with its steps, total variation .2), at equal iterations, undefended, labels given to both, "
    "medians over all images. Breaching's settings were made for 24,000 iterations, ours for 240 to 1,000; "
    "where B = 1 ours reads the outputs' error off the last bias. Breaching standardises images by the mean "
    "and deviation of those attacked, as its users do by those of the data set, and begins around that mean; "
    "ours is told neither. An image of that mean alone is a column: a PSNR of about its own says that "
    "nothing was rebuilt. Photographs are squares of six photographs at 32x32. Digits are those "
    "of mnist5k in three equal channels, which either compares with each other, "
    "and the networks were trained on them by plain Adam (accuracy on test images). CPU ms per iteration and "
    "victim, set-up included; in brackets breaching's time divided by ours: below 1 we lose."
)
