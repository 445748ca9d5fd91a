"""The stages of a cell, each a function of the one before and cached alone.

victim -> release -> reconstruction -> scores, beside them the evaluator and, where the attack searches one,
the generator. Whatever changes here changes
stored results: raise :data:`bench.cache.keys.FORMAT`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.api.threat import Channel
from bench.cache.keys import generator_of
from bench.cache.store import Stored
from bench.cells.class_scores import class_scores
from bench.cells.context import Context
from bench.cells.generators import fidelity
from bench.cells.image_scores import image_scores
from bench.cells.reconstructions import check_reconstruction, stored_reconstruction
from bench.channels.learning import attacked, released, train
from bench.matrix.cells import Cell
from bench.plugins import build_defense
from bench.records.outcome import Keys
from bench.records.record import finite

if TYPE_CHECKING:
    from bench.api.generator import ImageGenerator
    from bench.victims.releases import Release, Source

SHOWN = 64
"""Samples of a generator that are kept."""


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


def generator(cell: Cell, keys: Keys, context: Context) -> Stored | None:
    """Trains the attacker's generator on the auxiliary split; None if the attack has none.

    ``decoder.*`` and ``critic.*`` weights, ``samples``, the curve, and how good it is.

    Raises:
        BenchError: a private image is in the split, or the generator collapsed.
    """
    kind = generator_of(cell)
    if not kind:
        return None

    def compute() -> Stored:
        from bench.victims.generator import SAMPLES, load_generator, sample, train_generator

        data = context.data(cell)
        splits, shape = data.splits, data.dataset.image_shape
        private = (splits.private_train, splits.private_test)
        trained = train_generator(kind, splits.auxiliary, private=private, image_shape=shape, seed=cell.seed)
        drawn = sample(load_generator(kind, trained.state, shape), SAMPLES, seed=cell.seed)
        judge = evaluator(cell, keys, context).tensors
        quality = fidelity(kind, drawn, data, judge, context.device)
        tensors = {**trained.state, "samples": drawn[:SHOWN]}
        return Stored(tensors, {"kind": kind, "curve": trained.curve, **quality})

    return context.stage("generator", keys.generator, compute)


def release(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Draws private batches and releases them through the defense: images, labels, ``sent.*``."""

    def compute() -> Stored:
        from bench.victims.distortion import signal

        data, source = context.data(cell), _source(cell, keys, context)
        result = released(cell, data, source)
        ratios = signal(result, source, lambda other: released(cell, data, other))
        tensors = {"images": result.images, "labels": result.labels, "indices": result.indices}
        if result.perturbed is not None:
            tensors["perturbed"] = result.perturbed
        tensors |= {f"sent.{name}": value for name, value in result.sent.items()}
        return Stored(tensors, {**_release_health(result), "signal": ratios})

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
        prior = _prior(cell, keys, context)
        result, task = attacked(cell, context.data(cell), source, seen, initial, prior)
        check_reconstruction(result, seen.images, cell.attack.label)
        return stored_reconstruction(result, task)

    return context.stage("reconstruction", keys.reconstruction, compute)


def _prior(cell: Cell, keys: Keys, context: Context) -> ImageGenerator | None:
    stored = generator(cell, keys, context)
    if stored is None:
        return None
    from bench.victims.generator import load_generator

    state = {name: value for name, value in stored.tensors.items() if name != "samples"}
    return load_generator(stored.meta["kind"], state, context.data(cell).dataset.image_shape)


def scores(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Measures every image: metrics ``[N, B]`` in the originals' order, and ``order`` itself."""

    def compute() -> Stored:
        rebuilt, judge = reconstruction(cell, keys, context), evaluator(cell, keys, context)
        if cell.channel is Channel.MODEL:
            return class_scores(cell, context, rebuilt=rebuilt, judge=judge)
        return image_scores(
            cell, context, released=release(cell, keys, context), rebuilt=rebuilt, judge=judge
        )

    return context.stage("scores", keys.scores, compute)


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
