"""Stored reconstructions scored by code of others: scikit-image's SSIM and PSNR, and the package ``lpips``.

Ours is only what reads: the cache, the rows, and the file of LPIPS' trunk, known by its sha256. In a release
of several images scipy assigns the reconstructions to the originals anew. What no private image belongs to is
set beside the image that the stored scores name as the nearest; that it is the nearest is not checked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import lpips
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import resize

from bench.api.errors import BenchError
from bench.cache.store import Store
from bench.cells.context import Context
from bench.metrics.lpips_weights import MissingWeights, load_trunk
from bench.records.outcome import Outcome
from bench.records.record import Record
from bench.records.rows import COLUMNS
from bench.verify.agreement import SAME
from bench.verify.collect import Collect, Say

METRICS = ("psnr", "ssim", "lpips")
MOST_PSNR = 80.0  # dB, the cap of the protocol
_SSIM = {
    "data_range": 1.0, "channel_axis": 0,
    "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False,
}  # fmt: skip
"""As its authors measure it."""
_PAIRS = 256  # that pass LPIPS at once
Images = NDArray[np.float32]


@dataclass(frozen=True)
class Compared:
    """One metric of all rows, published and measured by others' code.

    Attributes:
        rows: how many have a value in either.
        largest: difference; infinite where only one has a value.
        tolerance: the largest that two measurements of one image may have.
        outside: the rows that differ by more, a line each.
    """

    rows: int
    largest: float
    tolerance: float
    outside: tuple[str, ...]


@dataclass(frozen=True)
class Independent:
    """What scoring by others' code found.

    Attributes:
        cells: how many were scored.
        unstored: done cells that were not, because the cache lacks what they need.
        metrics: by name.
    """

    cells: int
    unstored: int
    metrics: Mapping[str, Compared]

    @property
    def sound(self) -> bool:
        """Whether no row is outside of a tolerance."""
        return not any(found.outside for found in self.metrics.values())


def score_independently(outcomes: Sequence[Outcome], store: Store, say: Say) -> Independent:
    """Scores what the cache has of some cells and compares it with their rows.

    Cells need not be of today's code: their records name what is theirs in the cache.

    Args:
        outcomes: done cells, whose data sets may be loaded.
        store: the cache.
        say: is told now and then how far the work is.

    Raises:
        BenchError: the weights of LPIPS are missing.
    """
    context = Context(store, torch.device("cpu"))
    lines: list[tuple[str, str, float, float]] = []
    done = Collect(say, "scored by other code", len(outcomes))
    for outcome in outcomes:
        if (pairs := _stored_pairs(outcome.record, context)) is not None:
            lines += _lines(outcome, _measured(*pairs, outcome.record))
            done.outcomes[outcome.record.id] = outcome
        done.tick([])
    frame = pd.DataFrame(lines, columns=["metric", "where", "published", "again"])
    found = {name: _compared(name, frame[frame["metric"] == name]) for name in METRICS}
    return Independent(len(done.outcomes), len(outcomes) - len(done.outcomes), found)


def _stored_pairs(record: Record, context: Context) -> tuple[Images, Images] | None:
    """Originals and reconstructions, ``[N, B, C, H, W]``; ``[N * B, 1, C, H, W]`` where pairs are given."""
    store, stages = context.store, record.stages
    rebuilt = store.read("reconstruction", stages.reconstruction)
    released, scores = store.read("release", stages.release), store.read("scores", record.key)
    theirs = record.reconstruction_sha256 in ("", store.checksum("reconstruction", stages.reconstruction))
    if rebuilt is None or released is None or scores is None or not theirs:
        return None
    images = rebuilt.tensors["images"].numpy()
    if "nearest" not in scores.tensors:
        return released.tensors["images"].numpy(), images
    private = context.data(record.asked).splits.private_train.images.numpy()
    return private[scores.tensors["nearest"].numpy().reshape(-1, 1)], images.reshape(-1, 1, *images.shape[2:])


def _measured(originals: Images, rebuilt: Images, record: Record) -> dict[str, list[float]]:
    """Each metric, image by image in the originals' order."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    step = max(1, _PAIRS // originals.shape[1] ** 2)
    for start in range(0, len(originals), step):
        part = originals[start : start + step], rebuilt[start : start + step]
        for original, guess, cost in zip(*part, _costs(*part, record), strict=True):
            # What is not finite is left for the end: more than any assignment of the others costs.
            for i, j in zip(*linear_sum_assignment(np.nan_to_num(cost, nan=1e6)), strict=True):
                pair = original[i].astype(np.float64), guess[j].astype(np.float64)
                with np.errstate(divide="ignore"):  # of equal images
                    decibels = peak_signal_noise_ratio(*pair, data_range=1.0)
                found["psnr"].append(float(np.minimum(decibels, MOST_PSNR)))
                found["ssim"].append(float(structural_similarity(*pair, **_SSIM)))
                found["lpips"].append(np.nan if record.lpips_status else float(cost[i, j]))
    return found


def _costs(originals: Images, rebuilt: Images, record: Record) -> NDArray[np.float64]:
    """LPIPS ``[N, B, B]`` of each original and each reconstruction of a release; without it, MSE."""
    releases, batch, *shape = originals.shape
    wanted = (releases, batch, batch, *shape)
    left = np.broadcast_to(originals[:, :, None], wanted).reshape(-1, *shape)
    right = np.broadcast_to(rebuilt[:, None], wanted).reshape(-1, *shape)
    if record.lpips_status:
        return np.asarray(((left - right) ** 2).mean((1, 2, 3), dtype=np.float64)).reshape(wanted[:3])
    seen = [torch.tensor(_enlarged(images, record.lpips_side)) for images in (left, right)]
    with torch.no_grad():
        values: torch.Tensor = _network()(*(images.expand(-1, 3, -1, -1) for images in seen), normalize=True)
    return np.asarray(values.double()).reshape(wanted[:3])


@cache
def _network() -> Any:
    """The package's network and forward pass, with its own heads and the published trunk."""
    try:
        trunk = load_trunk("alex")
    except MissingWeights as error:
        raise BenchError(f"LPIPS cannot be measured again: {error}") from error
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    names = [name.split(".") for name in network.net.state_dict()]
    network.net.load_state_dict({".".join(name): trunk[int(name[1])][name[2] == "bias"] for name in names})
    return network.eval()


def _enlarged(images: Images, side: int) -> Images:
    """``[M, C, H, W]`` whose shorter side is as long as the record says LPIPS saw it."""
    if not side:
        return images
    shape = [round(length * side / min(images.shape[2:])) for length in images.shape[2:]]
    found = resize(images, (*images.shape[:2], *shape), order=1, mode="edge", anti_aliasing=False, clip=False)
    return np.asarray(found, dtype=np.float32)


def _lines(outcome: Outcome, measured: Mapping[str, list[float]]) -> Iterator[tuple[str, str, float, float]]:
    """Metric, image, published and measured value."""
    batch, start = outcome.record.asked.batch_size, COLUMNS.index("release")
    rows = {row[start : start + 2]: dict(zip(COLUMNS, row, strict=True)) for row in outcome.rows}
    places = {(str(n // batch), str(n % batch)): n for n in range(len(measured["psnr"]))}
    for release, image in sorted(rows.keys() | places):
        where = f"{outcome.record.asked.title}, release {release}, image {image}"
        for name in METRICS:
            text = rows.get((release, image), {}).get(name, "")
            again = measured[name][places[release, image]] if (release, image) in places else np.nan
            yield name, where, float(text or np.nan), again


def _compared(metric: str, lines: pd.DataFrame) -> Compared:
    known = lines.dropna(subset=["published", "again"], how="all")
    gap = (known["published"] - known["again"]).abs().fillna(np.inf)
    words = [
        f"{where}: {metric} {published:.6g} published, {again:.6g} by other code"
        for _, where, published, again in known[gap > SAME[metric]].itertuples(index=False)
    ]
    return Compared(len(known), float(gap.max()) if len(gap) else 0.0, SAME[metric], tuple(words))
