"""A released classifier: its weights, trained by their owner on all private images.

No private image belongs to a reconstruction: each is set beside the nearest private image of the attacked
class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import HEADS, NEAREST, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.released import ModelObservation
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim

_SCORES = ("psnr", "ssim", "lpips", "recognised", "recognised5", "feature_distance", "diversity", "nearest")


class ModelChannel(ChannelKind):
    """See the module. A release is a class."""

    terms: ClassVar[Terms] = Terms(
        metrics=("recognised", "recognised5", "feature_distance", "diversity", "lpips", "ssim", "psnr"),
        worst=("recognised", "lpips", "ssim", "psnr"),
        ranks=("recognised",),
        goal="recognised",
        normalised=("recognised",),
        heads={
            **{name: f"nearest-private {HEADS[name]}" for name in NEAREST},
            "recognised": "evaluator accuracy @1 ↑ %",
            "recognised5": "evaluator accuracy @5 ↑ %",
            "feature_distance": "feature distance ↓",
            "diversity": "diversity ↑",
        },
        nearest="nearest-private ",
        counted="classes x seeds/images",
        per="image of a class",
        floor="control",
        blind="nothing of the attacked class: it is a control",
        above="nearest private images",
    )
    observes = "the weights of the classifier"
    public = (
        "architecture and weights of the classifier, number of images of each class, number of classes, "
        "image shape"
    )
    refuses_cut = "is trained by split learning, in which no classifier is released"
    central = True

    def train(self, training: Training) -> Victim:
        """The owner of all private images trains in one place."""
        from bench.victims.owner import train_owner

        return train_owner(**training.shared)

    def release(self, source: Source) -> Release:
        """The weights."""
        from bench.victims.owner import release_classifier

        return release_classifier(source)

    def observe(self, source: Source, release: Release, attacker: Attacker) -> ModelObservation:
        """Builds the observation of an attack on a released classifier.

        Args:
            source: only the architecture passes; the defense is seen through its view, by the adaptive
                attacker.
            release: only the weights pass, and which classes there are.
            attacker: its images pass without labels, to attacks whose card asks for images or a generator.
        """
        import torch

        from bench.api.released import ModelObservation
        from bench.api.threat import Channel, ThreatModel
        from bench.victims.owner import released_network

        owned = attacker.receives_auxiliary(None)
        classes = torch.arange(source.releases, device=source.device)
        return ModelObservation(
            threat=ThreatModel(
                channel=Channel.MODEL,
                adversary=attacker.adversary,
                batch_size=source.batch_size,
                auxiliary=owned,
                generator=attacker.generator is not None,
            ),
            model=released_network(source, release),
            targets=classes,
            image_shape=source.image_shape,
            num_classes=source.num_classes,
            ids=classes,
            generator=attacker.generator,
            images=attacker.auxiliary.images.to(source.device) if owned else None,
            defense=attacker.view(source.defense),
        )

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against the private images of its class, and which of them is the ``nearest``."""
        import torch

        from bench.metrics.classes import PrivateImages, score_classes
        from bench.victims.evaluator import load_evaluator, load_features

        features = load_features(scoring.evaluator, **scoring.shape)
        owned, images = scoring.data.splits.private_train, scoring.rebuilt["images"]
        found = score_classes(
            images,
            torch.arange(len(images)),
            scoring.remembered(
                f"private images of {scoring.label}, seed {scoring.seed}",
                lambda: PrivateImages.of(owned.images, owned.labels, lpips=scoring.lpips, features=features),
            ),
            lpips=scoring.lpips,
            evaluator=load_evaluator(scoring.evaluator, **scoring.shape),
            features=features,
        )
        order = torch.arange(images.shape[1]).expand(images.shape[:2]).contiguous()
        return {**{name: getattr(found, name) for name in _SCORES}, "order": order}, {}


CHANNEL = ModelChannel()
