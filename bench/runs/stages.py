"""The five stages of a cell, each a function of the one before and cached alone.

victim -> release -> reconstruction -> scores, and the evaluator beside them. Whatever changes here changes
stored results: raise :data:`bench.runs.identity.FORMAT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.matrix.cells import Cell
from bench.plugins import build_defense
from bench.runs.context import Context, Data
from bench.runs.identity import Keys, derive_seed
from bench.runs.learning import attacked, released, train
from bench.runs.reconstructions import check_reconstruction, stored_reconstruction
from bench.runs.record import finite
from bench.runs.store import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from bench.metrics.perceptual import Lpips
    from bench.victims.releases import Release, Source

POOL = 200
"""Private images, other than those released, among which a reconstruction must find its original."""


def victim(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Trains the victim under its defense: ``initial.*`` and ``trained.*`` weights, accuracy, curve."""

    def compute() -> Stored:
        result = train(cell, context.data(cell), context.device)
        tensors = {f"initial.{name}": value for name, value in result.initial.items()}
        tensors |= {f"trained.{name}": value for name, value in result.trained.items()}
        facts: dict[str, Any] = {
            "accuracy": round(result.accuracy, 6),
            "initial_accuracy": round(result.initial_accuracy, 6),
            "converged": result.converged,
            "rounds": result.rounds,
            "curve": result.curve,
            "details": {name: finite(value) for name, value in result.details.items()},
        }
        return Stored(tensors, facts)

    return context.stage("victim", keys.victim, compute)


def evaluator(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Trains the independent judge on the auxiliary split; ``accuracy`` is on ``private_test``."""

    def compute() -> Stored:
        import torch

        from bench.victims.evaluator import load_evaluator, train_evaluator

        data = context.data(cell)
        shape: dict[str, Any] = {
            "num_classes": data.dataset.num_classes,
            "image_shape": data.dataset.image_shape,
            "device": context.device,
        }
        state = train_evaluator(data.splits.auxiliary, seed=cell.seed, **shape)
        test = data.splits.private_test
        with torch.no_grad():
            predicted = load_evaluator(state, **shape)(test.images).argmax(1)
        accuracy = (predicted == test.labels).double().mean().item()
        return Stored(state, {"accuracy": round(accuracy, 6)})

    return context.stage("evaluator", keys.evaluator, compute)


def release(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Draws private batches and releases them through the defense: images, labels, ``sent.*``."""

    def compute() -> Stored:
        result = released(cell, context.data(cell), _source(cell, keys, context))
        tensors = {"images": result.images, "labels": result.labels, "indices": result.indices}
        if result.perturbed is not None:
            tensors["perturbed"] = result.perturbed
        tensors |= {f"sent.{name}": value for name, value in result.sent.items()}
        return Stored(tensors, _release_health(result))

    return context.stage("release", keys.release, compute)


def _source(cell: Cell, keys: Keys, context: Context) -> Source:
    from bench.victims.releases import Source

    data = context.data(cell)
    return Source(
        model=cell.model,
        parameters=victim(cell, keys, context).group(cell.checkpoint),
        private=data.splits.private_train,
        num_classes=data.dataset.num_classes,
        image_shape=data.dataset.image_shape,
        defense=build_defense(cell.defense.name, cell.defense.arguments()),
        releases=cell.releases,
        batch_size=cell.batch_size,
        seed=cell.seed,
        device=context.device,
    )


def reconstruction(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Runs the attack on what it may observe: images, labels if recovered, what it spent."""

    def compute() -> Stored:
        from bench.victims.releases import Release

        stored = release(cell, keys, context)
        seen = Release(
            images=stored.tensors["images"],
            labels=stored.tensors["labels"],
            indices=stored.tensors["indices"],
            sent=stored.group("sent"),
        )
        source, initial = _source(cell, keys, context), victim(cell, keys, context).group("initial")
        result, task = attacked(cell, context.data(cell), source, seen, initial)
        check_reconstruction(result, seen.images, cell.attack.label)
        return stored_reconstruction(result, task)

    return context.stage("reconstruction", keys.reconstruction, compute)


def scores(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Measures every image: the metrics ``[N, B]`` in the originals' order, and ``order`` itself."""

    def compute() -> Stored:
        from bench.metrics.score import score_releases
        from bench.victims.evaluator import load_evaluator

        data = context.data(cell)
        released = release(cell, keys, context).tensors
        rebuilt = reconstruction(cell, keys, context).tensors
        judge = evaluator(cell, keys, context)
        lpips, lpips_status = context.lpips()
        classify = load_evaluator(
            judge.tensors,
            num_classes=data.dataset.num_classes,
            image_shape=data.dataset.image_shape,
            device=context.device,
        )
        result = score_releases(
            released["images"],
            rebuilt["images"],
            released["labels"],
            rebuilt.get("labels"),
            pool=_pool(data, released["indices"], cell.seed),
            lpips=lpips,
            evaluator=classify,
        )
        tensors = {name: getattr(result, name).double() for name in METRICS}
        facts = {"lpips_status": lpips_status, "evaluator_accuracy": judge.meta["accuracy"]}
        if "perturbed" in released:
            facts |= _perturbed(released, rebuilt["images"], result.order, lpips, classify)
        return Stored({**tensors, "order": result.order}, facts)

    return context.stage("scores", keys.scores, compute)


def _perturbed(
    released: dict[str, Tensor],
    rebuilt: Tensor,
    order: Tensor,
    lpips: Lpips | None,
    classify: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Means against the images that the clients computed on, and of those against the originals."""
    from bench.metrics.pairs import pair_means

    shown = released["perturbed"].flatten(0, 1)
    rows = order.to(rebuilt.device)[:, :, None, None, None].expand_as(rebuilt)
    aligned = rebuilt.gather(1, rows).flatten(0, 1)
    bound = pair_means(shown, released["images"].flatten(0, 1), lpips=lpips)
    right = classify(shown).argmax(1).cpu() == released["labels"].flatten().cpu()
    bound["recognised"] = right.double().mean().item()
    found = pair_means(aligned, shown, lpips=lpips)
    return {
        "perturbed": {name: finite(value) for name, value in found.items()},
        "bound": {name: finite(value) for name, value in bound.items()},
    }


METRICS = ("psnr", "ssim", "lpips", "identified", "label_correct", "recognised")


def _release_health(result: Release) -> dict[str, Any]:
    """How many releases carry nothing or nothing finite, and the mean norm of the others."""
    import torch

    flat = torch.cat([value.flatten(1) for value in result.sent.values()], dim=1).double()
    sound = flat.isfinite().all(1)
    norms = flat[sound].norm(dim=1)
    return {
        "zero": int((flat == 0).all(1).sum().item()),
        "nonfinite": int((~sound).sum().item()),
        "norm_mean": finite(norms.mean().item()) if len(norms) else None,
    }


def _pool(data: Data, released: Tensor, seed: int) -> Tensor:
    """Distractors for the identification: the same for all attacks and defenses of one seed."""
    import torch

    images = data.splits.private_train.images
    generator = torch.Generator().manual_seed(derive_seed(seed, "pool"))
    order = torch.randperm(len(images), generator=generator)
    others = order[~torch.isin(order, released.flatten().cpu())]
    return images[others[:POOL].to(images.device)]
