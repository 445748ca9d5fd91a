"""What a worker process keeps between cells: data sets, LPIPS, and the last victims it has read."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bench.api.cards import too_small
from bench.api.errors import IncompatibleError
from bench.cache.store import Store, Stored
from bench.cells.attack_process import AttackProcess
from bench.cells.memory import peak_mb, reset_peak
from bench.matrix.cells import Cell, Variant
from bench.plugins import build_dataset

if TYPE_CHECKING:
    import torch

    from bench.api.dataset import Data, ImageSet, Splits
    from bench.metrics.perceptual import Lpips

KeptT = TypeVar("KeptT")
_REMEMBERED = 6
"""Stage results in memory: the attacks on one victim follow one another, two checkpoints at most."""
_KEPT = 2
"""Of a data set and seed: what two channels score against."""


class Context:
    """Per process: where results are stored, on which device to compute, and what is memoised.

    Args:
        store: the cache of stages.
        device: where everything is computed.
        pool: among how many private images a reconstruction must find its original, to score as a record was
            scored; None: as today.
        attacks: where attacks run; None starts a process for them when the first one is to run.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        pool: int | None = None,
        attacks: AttackProcess | None = None,
    ) -> None:
        self.store = store
        self.device = device
        self.pool = pool
        self._data: dict[tuple[Variant, int], Data] = {}
        self._recent: OrderedDict[str, Stored] = OrderedDict()
        self._lpips: tuple[Lpips | None, str] | None = None
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._attacks = attacks

    @property
    def attacks(self) -> AttackProcess:
        """Where attacks run; another process, if one has spoiled the last."""
        if self._attacks is None or self._attacks.spoiled:
            self._attacks = AttackProcess.served(self.device)
        return self._attacks

    @property
    def spoiled(self) -> bool:
        """Whether an attack has spoiled the process in which it ran."""
        return self._attacks is not None and self._attacks.spoiled

    def data(self, cell: Cell) -> Data:
        """The cell's data set and its splits.

        Raises:
            IncompatibleError: its images are too small to be measured.
        """
        from bench.api.dataset import Data

        wanted = (cell.dataset, cell.seed)
        if wanted not in self._data:
            dataset = build_dataset(cell.dataset.name, cell.dataset.arguments())
            if reason := too_small(dataset.image_shape):
                raise IncompatibleError(reason)
            splits = dataset.splits(seed=cell.seed)
            self._data.clear()  # seeds are the outermost loop: the last one's images are not needed again
            self._data[wanted] = Data(dataset, self._on_device(splits))
        return self._data[wanted]

    def remembered(self, name: str, compute: Callable[[], KeptT]) -> KeptT:
        """What many cells of one data set and seed need, computed once; the last two are kept.

        Args:
            name: says of what, data set and seed included.
            compute: the same result for the same name.
        """
        if name not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.popitem(last=False)
            self._kept[name] = compute()
        self._kept.move_to_end(name)
        kept: KeptT = self._kept[name]
        return kept

    def lpips(self) -> tuple[Lpips | None, str]:
        """The metric, or None and why there is none."""
        if self._lpips is None:
            from bench.metrics.lpips_weights import MissingWeights
            from bench.metrics.perceptual import Lpips

            try:
                self._lpips = (Lpips("alex", self.device), "")
            except MissingWeights as error:
                self._lpips = (None, str(error))
        return self._lpips

    def stage(self, name: str, key: str, compute: Callable[[], Stored]) -> Stored:
        """The stored result of a stage, computed first if need be; its facts hold seconds and peak memory.

        What ``compute`` says of them itself stands: the memory of another process.
        """
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]

        def measured() -> Stored:
            reset_peak(self.device)
            start = time.perf_counter()
            result = compute()
            seconds = round(time.perf_counter() - start, 4)
            cost = {"seconds": seconds, "peak_memory_mb": peak_mb(self.device)}
            return Stored(result.tensors, {**cost, **result.meta})

        found = self.store.get_or_compute(name, key, measured)
        placed = Stored({k: v.to(self.device) for k, v in found.tensors.items()}, found.meta)
        self._recent[key] = placed
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return placed

    def _on_device(self, splits: Splits) -> Splits:
        from bench.api.dataset import ImageSet, Splits

        def move(part: ImageSet) -> ImageSet:
            return ImageSet(part.images.to(self.device), part.labels.to(self.device))

        return Splits(
            private_train=move(splits.private_train),
            private_test=move(splits.private_test),
            auxiliary=move(splits.auxiliary),
        )
