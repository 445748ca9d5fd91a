"""What all measurements share: victims, clocks, fresh processes."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, ParamSpec, TypeVar

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    # As the workers of `bench run` have it: freed memory stays with the process.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Victims:
    """Undefended releases."""

    images: Any
    labels: Any
    observation: Any


@cache
def splits(seed: int) -> Any:
    """The splits of mnist5k, loaded once per process."""
    from bench.plugins import build_dataset

    return build_dataset("mnist5k", {}).splits(seed=seed)


def victims(
    model: Any,
    count: int,
    *,
    seed: int = 0,
    images: Any = None,
    labels: Any = None,
    device: str = "cpu",
) -> Victims:
    """Releases of ``count`` digits of mnist5k, B = 1, or of ``images [N, B, C, H, W]``.

    ``model`` is the name of an architecture, which is untrained, or a network with its weights. With
    ``labels [N, B]`` the attacker knows them.
    """
    import torch

    from bench.api import Adversary, Channel, GradientObservation, ThreatModel
    from bench.engine.gradients import gradient_map, one_hot
    from bench.engine.normalisation import threat_of
    from bench.models.build import build_model

    known = labels is not None
    if images is None:
        private = splits(seed).private_train
        images = private.images[:count].unsqueeze(1)
        labels = private.labels[:count].unsqueeze(1)
    elif labels is None:
        labels = torch.arange(count).remainder(10).unsqueeze(1)
    images, labels = images.to(device), labels.to(device)
    network = model
    if isinstance(model, str):
        network = build_model(model, num_classes=10, image_shape=tuple(images.shape[2:]))
        network.initialise(torch.Generator().manual_seed(seed))
    network.to(device)
    weights = {name: value.detach() for name, value in network.named_parameters()}
    plain = torch.nn.functional.cross_entropy
    release = gradient_map(network, weights, per_victim_weights=False, loss=plain)
    parts = [release(images[i : i + 32], one_hot(labels[i : i + 32], 10)) for i in range(0, count, 32)]
    return Victims(
        images,
        labels,
        GradientObservation(
            threat=ThreatModel(
                channel=Channel.GRADIENTS,
                adversary=Adversary.NAIVE,
                batch_size=images.shape[1],
                labels_known=known,
                batch_norm=threat_of(network, shared=False),
            ),
            model=network,
            parameters=weights,
            per_victim_weights=False,
            gradients={name: torch.cat([part[name] for part in parts]) for name in weights},
            image_shape=tuple(images.shape[2:]),
            num_classes=10,
            ids=torch.arange(count, device=device),
            labels=labels if known else None,
        ),
    )


def fresh(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function in a process of its own, so that its peak memory is its own."""
    os.environ.update(ENVIRONMENT)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_mb() -> float:
    """Peak resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alternated(functions: dict[str, Callable[[], object]], *, rounds: int = 7) -> dict[str, float]:
    """Median CPU seconds of each function, measured in turns after a call to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table."""
    from tabulate import tabulate

    return str(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))
