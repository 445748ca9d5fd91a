"""A classifier that its owner releases, attacked in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.api.access import ModelAccess
from bench.api.attack import BaseAttack, Reconstruction
from bench.api.black_box import BlackBoxObservation
from bench.api.dataset import ImageSet
from bench.api.errors import UsageError
from bench.api.released import ModelObservation
from bench.api.threat import Adversary, Channel, ThreatModel
from bench.channels.shared.black_box import BlackBox
from bench.metrics.classes import ClassScores, PrivateImages, score_classes
from bench.metrics.perceptual import Lpips
from bench.own.attempt import Attempt
from bench.own.attempts import Campaign, Prior
from bench.own.choose import Chosen, choose_attacks, choose_defense
from bench.own.leak import Leak
from bench.own.network import OwnNetwork, learning, own_network
from bench.own.pace import Clock, Tell
from bench.own.reading import (
    check_whole,
    chosen_device,
    computing_with,
    read_images,
    read_labels,
    say,
    shape_of,
)
from bench.own.scoring import Scored, lpips_of
from bench.victims.evaluator import Scores, load_evaluator, load_features, train_evaluator
from bench.victims.training import stream


@dataclass(frozen=True)
class Evaluated:
    """Measures images of classes by a network that never saw the victim.

    Attributes:
        targets: int64 ``[N]``, the classes.
        private: the owner's images.
        classify: images -> scores, by the evaluator.
        features: images -> its features.
        lpips: the metric; None where its weights are missing, and why.
        images_each: B.
        seed: of the images of a blind guess.
    """

    targets: Tensor
    private: PrivateImages
    classify: Scores
    features: Scores
    lpips: tuple[Lpips | None, str]
    images_each: int
    seed: int

    listed: int = 0
    chance: float | None = None

    @property
    def limits(self) -> list[str]:
        """What limits the answer."""
        shown = "a rebuilt class shows what the model has learned of it, which need not be any private image"
        return [*([self.lpips[1]] if self.lpips[1] else []), shown]

    def score(self, attempt: Attempt, found: Reconstruction) -> Scored:
        """How many images show their class, and how near each comes to a private one."""
        images = found.images.clamp(0, 1)
        scores = score_classes(
            images,
            self.targets,
            self.private,
            lpips=self.lpips[0],
            evaluator=self.classify,
            features=self.features,
        )
        scored = replace(
            attempt,
            found=int(scores.recognised.sum()),
            psnr=scores.psnr.nanmedian().item(),
            ssim=scores.ssim.nanmedian().item(),
            lpips=scores.lpips.nanmedian().item(),
        )
        return Scored(scored, self._frame(scored, scores), images, self.private.images[scores.nearest])

    def guesses(self, known: Tensor | None) -> list[Tensor]:
        """Images of the attacker, drawn for each class without a look at the model."""
        assert known is not None  # an attacker on a classifier always has some
        shape = (len(self.targets), self.images_each)
        rows = torch.randint(len(known), shape, generator=stream(self.seed, "blind", torch.device("cpu")))
        return [known[rows.to(known.device)]]

    def _frame(self, attempt: Attempt, scores: ClassScores) -> Any:
        import pandas as pd

        classes, each = scores.psnr.shape
        return pd.DataFrame(
            {
                "attack": attempt.attack,
                "adversary": attempt.adversary,
                "release": [int(target) for target in self.targets for _ in range(each)],
                "image": list(range(each)) * classes,
                "found": scores.recognised.bool().flatten().tolist(),
                "psnr": scores.psnr.flatten().tolist(),
                "ssim": scores.ssim.flatten().tolist(),
                "lpips": scores.lpips.flatten().tolist(),
            }
        )


def attack_model(
    model: nn.Module,
    *,
    images: Tensor,
    labels: Tensor | Sequence[int],
    auxiliary: Tensor,
    classes: Sequence[int] | None = None,
    images_each: int = 5,
    attacks: str | Sequence[str | BaseAttack[Any]] = "auto",
    budget: int = 1000,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    tell: Tell | None = None,
) -> Leak:
    """Rebuilds what the classes of a released classifier look like, by attackers who have its weights.

    Attacks whose card asks for less, for its scores or its labels, are given no more. All search a generator
    that the attacker has learned from images of its own, which takes minutes. An evaluator that is trained on
    the owner's images, and never sees the model, says what the results show.

    Args:
        model: images ``[M, C, H, W]`` in [0, 1] -> scores ``[M, K]``; it is attacked in evaluation mode.
        images: the owner's private images ``[M, C, H, W]``; no attacker sees them.
        labels: int64 ``[M]``, their classes.
        auxiliary: the attacker's images ``[A, C, H, W]``, none of them private.
        classes: to be rebuilt; None: all.
        images_each: B, images of each class.
        attacks: as in :func:`~bench.own.gradients.attack_gradients`; so are all that follow.
        budget: evaluations of each class.
        seed: of generator, evaluator and attacks.
        device: where to compute.
        threads: of PyTorch inside of one operation.
        tell: is told how far it is.

    Raises:
        UsageError: something that was given does not fit, with what helps.
    """
    check_whole(images_each=images_each, budget=budget)
    place, tell = chosen_device(device), tell or say
    with computing_with(threads):
        shown = read_images(images).to(place)
        network = own_network(
            learning(model), image_shape=shape_of(shown, None), batch_norm="eval", device=place
        )
        owned = ImageSet(shown, read_labels(labels, len(shown), network.num_classes).to(place))
        own = network.labelled(read_images(auxiliary, "auxiliary"))
        targets = _targets(classes, owned, network)
        tell(f"training the evaluator on {len(owned):,} private images")
        prior = Prior(auxiliary=own, private=(owned,), seed=seed, tell=tell)
        campaign = Campaign(
            channel=Channel.MODEL,
            threat={
                "observes": "the weights of the classifier",
                "knows": f"architecture and weights, {network.num_classes} classes, image shape",
                "images of its own": f"{len(own):,}, without labels",
            },
            defense=choose_defense(None, Channel.MODEL, known=False),
            observe=_observer(network, targets, prior, images_each),
            explained=None,
            truth=_evaluated(network, owned, targets, images_each, seed),
            auxiliary=own.images,
            releases=len(targets),
            budget=budget,
            seed=seed,
            tell=tell,
            clock=Clock(None, None),
        )
        return campaign.run(choose_attacks(attacks, Channel.MODEL, given_up={}))


def _targets(classes: Sequence[int] | None, owned: ImageSet, network: OwnNetwork) -> Tensor:
    there = set(owned.labels.unique().tolist())
    wanted = sorted(there) if classes is None else list(classes)
    if missing := [name for name in wanted if name not in there]:
        raise UsageError(f"classes: {missing[0]} has no private image; there are {sorted(there)}")
    return torch.tensor(wanted, device=network.device)


def _evaluated(
    network: OwnNetwork, owned: ImageSet, targets: Tensor, images_each: int, seed: int
) -> Evaluated:
    shape: dict[str, Any] = {"num_classes": network.num_classes, "image_shape": network.image_shape}
    state = train_evaluator(owned, seed=seed, device=network.device, **shape)
    features = load_features(state, device=network.device, **shape)
    metric = lpips_of(owned.images)
    return Evaluated(
        targets=targets,
        private=PrivateImages.of(owned.images, owned.labels, lpips=metric[0], features=features),
        classify=load_evaluator(state, device=network.device, **shape),
        features=features,
        lpips=metric,
        images_each=images_each,
        seed=seed,
    )


def _observer(
    network: OwnNetwork, targets: Tensor, prior: Prior, images_each: int
) -> Callable[[Chosen, Adversary], ModelObservation]:
    def observe(chosen: Chosen, adversary: Adversary) -> ModelObservation:
        generator = prior.generator(chosen.generator) if chosen.generator else None
        access = chosen.card.classifier_access if chosen.card else ModelAccess.WHITE
        classifier = network.model.eval()
        seen: dict[str, Any] = {
            "threat": ThreatModel(
                channel=Channel.MODEL,
                adversary=adversary,
                batch_size=images_each,
                auxiliary=True,
                generator=generator is not None,
            ),
            "targets": targets,
            "image_shape": network.image_shape,
            "num_classes": network.num_classes,
            "ids": targets,
            "generator": generator,
            "images": prior.auxiliary.images if prior.auxiliary is not None else None,
        }
        if access is ModelAccess.WHITE:
            return ModelObservation(model=classifier, **seen)
        return BlackBoxObservation(access=access, query=BlackBox(classifier, access), **seen)

    return observe
