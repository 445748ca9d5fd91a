"""The scores of attacks on released classifiers, whose images show classes and no single private image."""

from __future__ import annotations

from typing import Any

from bench.cache.store import Stored
from bench.cells.context import Context
from bench.matrix.cells import Cell


def class_scores(cell: Cell, context: Context, *, rebuilt: Stored, judge: Stored) -> Stored:
    """Measures every image against the private images of its class.

    Args:
        cell: names the data and the number of classes.
        context: where to compute.
        rebuilt: the stored reconstruction.
        judge: the stored evaluator.

    Returns:
        The metrics ``[N, B]`` that such images have, the ``order`` in which they came, and which private
        image is the ``nearest`` of each.
    """
    import torch

    from bench.metrics.classes import PrivateImages, score_classes
    from bench.victims.evaluator import load_evaluator, load_features

    data = context.data(cell)
    lpips, lpips_status = context.lpips()
    shape: dict[str, Any] = {
        "num_classes": data.dataset.num_classes,
        "image_shape": data.dataset.image_shape,
        "device": context.device,
    }
    features = load_features(judge.tensors, **shape)
    owned, images = data.splits.private_train, rebuilt.tensors["images"]
    found = score_classes(
        images,
        torch.arange(cell.releases),
        context.remembered(
            f"private images of {cell.dataset.label}, seed {cell.seed}",
            lambda: PrivateImages.of(owned.images, owned.labels, lpips=lpips, features=features),
        ),
        lpips=lpips,
        evaluator=load_evaluator(judge.tensors, **shape),
        features=features,
    )
    names = ("psnr", "ssim", "lpips", "recognised", "recognised5", "feature_distance", "diversity", "nearest")
    order = torch.arange(cell.batch_size).expand(images.shape[:2]).contiguous()
    facts = {"lpips_status": lpips_status, "evaluator_accuracy": judge.meta["accuracy"]}
    return Stored({**{name: getattr(found, name) for name in names}, "order": order}, facts)
