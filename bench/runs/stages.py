"""The five stages of a cell, each a function of the one before and cached alone.

victim -> release -> reconstruction -> scores, and the evaluator beside them. Whatever changes here changes
stored results: raise :data:`bench.runs.identity.FORMAT`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.api.errors import PluginError
from bench.matrix.cells import Cell
from bench.plugins import build_attack, build_defense
from bench.runs.context import Context, Data
from bench.runs.identity import Keys, derive_seed
from bench.runs.record import finite
from bench.runs.store import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.attack import Reconstruction
    from bench.victims.releases import Release

POOL = 200
"""Private images, other than those released, among which a reconstruction must find its original."""


def victim(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Trains the victim under its defense: ``initial.*`` and ``trained.*`` weights, accuracy, curve."""

    def compute() -> Stored:
        from bench.victims.training import train_victim

        data = context.data(cell)
        result = train_victim(
            model=cell.model,
            splits=data.splits,
            num_classes=data.dataset.num_classes,
            image_shape=data.dataset.image_shape,
            defense=build_defense(cell.defense.name, cell.defense.arguments()),
            batch_size=cell.batch_size,
            epochs=cell.epochs,
            seed=cell.seed,
            device=context.device,
        )
        tensors = {f"initial.{name}": value for name, value in result.initial.items()}
        tensors |= {f"trained.{name}": value for name, value in result.trained.items()}
        facts: dict[str, Any] = {
            "accuracy": round(result.accuracy, 6),
            "initial_accuracy": round(result.initial_accuracy, 6),
            "converged": result.converged,
            "rounds": result.rounds,
            "curve": result.curve,
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
    """Draws private batches and releases them through the defense: images, labels, ``gradients.*``."""

    def compute() -> Stored:
        from bench.victims.releases import release_gradients

        data = context.data(cell)
        result = release_gradients(
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
        tensors = {"images": result.images, "labels": result.labels, "indices": result.indices}
        tensors |= {f"gradients.{name}": value for name, value in result.gradients.items()}
        return Stored(tensors, _release_health(result))

    return context.stage("release", keys.release, compute)


def reconstruction(cell: Cell, keys: Keys, context: Context) -> Stored:
    """Runs the attack on what it may observe: images, labels if recovered, what it spent."""

    def compute() -> Stored:
        from bench.runs.observe import observe
        from bench.victims.releases import Release

        data = context.data(cell)
        released = release(cell, keys, context)
        observation = observe(
            cell,
            parameters=victim(cell, keys, context).group(cell.checkpoint),
            release=Release(
                images=released.tensors["images"],
                labels=released.tensors["labels"],
                indices=released.tensors["indices"],
                gradients=released.group("gradients"),
            ),
            num_classes=data.dataset.num_classes,
            image_shape=data.dataset.image_shape,
            defense=build_defense(cell.defense.name, cell.defense.arguments()),
            auxiliary=data.splits.auxiliary,
            device=context.device,
        )
        attack = build_attack(cell.attack.name, cell.attack.arguments())
        result = attack.reconstruct(observation, budget=cell.budget, seed=derive_seed(cell.seed, "attack"))
        check_reconstruction(result, released.tensors["images"], cell.attack.label)
        return _stored_reconstruction(result)

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
        result = score_releases(
            released["images"],
            rebuilt["images"],
            released["labels"],
            rebuilt.get("labels"),
            pool=_pool(data, released["indices"], cell.seed),
            lpips=lpips,
            evaluator=load_evaluator(
                judge.tensors,
                num_classes=data.dataset.num_classes,
                image_shape=data.dataset.image_shape,
                device=context.device,
            ),
        )
        tensors = {name: getattr(result, name).double() for name in METRICS}
        facts = {"lpips_status": lpips_status, "evaluator_accuracy": judge.meta["accuracy"]}
        return Stored({**tensors, "order": result.order}, facts)

    return context.stage("scores", keys.scores, compute)


METRICS = ("psnr", "ssim", "lpips", "identified", "label_correct", "recognised")


def check_reconstruction(result: Reconstruction, originals: Tensor, attack: str) -> None:
    """Refuses what cannot be scored; single victims that diverged can be, as such.

    Raises:
        PluginError: a wrong type, shape or dtype, or not one finite image.
    """
    import torch

    releases, batch = originals.shape[:2]
    wanted: dict[str, tuple[object, tuple[int, ...]]] = {
        "images": (getattr(result, "images", None), tuple(originals.shape)),
        "cost": (getattr(result, "cost", None), (releases,)),
        "evaluations": (getattr(result, "evaluations", None), (releases,)),
    }
    if getattr(result, "labels", None) is not None:
        wanted["labels"] = (result.labels, (releases, batch))
    for name, (value, shape) in wanted.items():
        if not isinstance(value, torch.Tensor):
            raise PluginError(f"attack {attack}: {name} is no tensor but {type(value).__name__}")
        if tuple(value.shape) != shape:
            raise PluginError(f"attack {attack}: {name} has shape {tuple(value.shape)}, expected {shape}")
    if result.images.dtype != torch.float32:
        raise PluginError(f"attack {attack}: images are {result.images.dtype}, expected torch.float32")
    if not bool(result.images.isfinite().flatten(2).all(2).any()):
        raise PluginError(f"attack {attack}: no victim has a finite reconstruction")


def _stored_reconstruction(result: Reconstruction) -> Stored:
    spent = result.evaluations.double()
    cost = result.cost.detach().double()
    finite_cost = cost[cost.isfinite()]
    tensors = {
        "images": result.images.detach().clamp(0, 1),
        "cost": cost,
        "evaluations": result.evaluations,
    }
    if result.labels is not None:
        tensors["labels"] = result.labels
    facts = {
        "evaluations_mean": spent.mean().item(),
        "evaluations_max": int(spent.max().item()),
        "cost_mean": finite(finite_cost.mean().item()) if len(finite_cost) else None,
    }
    return Stored(tensors, facts)


def _release_health(result: Release) -> dict[str, Any]:
    """How many releases carry nothing or nothing finite, and the mean norm of the others."""
    import torch

    flat = torch.cat([value.flatten(1) for value in result.gradients.values()], dim=1).double()
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
