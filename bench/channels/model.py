"""A released classifier: its weights, trained by their owner on all private images.

No private image belongs to a reconstruction: each is set beside the nearest private image of the attacked
class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.channels.shared.contract import Attacker, ChannelKind, Scoring, Training
from bench.channels.shared.terms import HEADS, NEAREST, NEAREST_PRIVATE, Terms

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.released import ModelObservation
    from bench.victims.releases import Release, Source
    from bench.victims.training import Victim

_SCORES = (
    *("psnr", "ssim", "lpips", "identified", "recognised", "recognised5", "feature_distance", "diversity"),
    "nearest",
)
_NOTES = (
    "On channel model a release is a class: the attacker has the classifier's weights and rebuilds B images "
    "of each class, so that a cluster is class x seed and a budget is for one image of a class.",
    "No private image belongs to such a reconstruction: LPIPS, SSIM and PSNR are those to the nearest "
    "private image of the attacked class (nearest by LPIPS, without it by pixels).",
    "No image was pre-selected: all that an attack returned are scored, whatever the evaluator says.",
    "Evaluator accuracy @1 (@5) is the share of them that a network of another family, trained on auxiliary "
    "images, takes for the attacked class (has among its first five). Tables of this channel are ranked by "
    "it, as the literature is, and not by LPIPS: a real image of any class lies near some private image.",
    "The worst case takes, for each class and each of its B places, a recognised reconstruction if any "
    "attack has one, of several or none the one with the smallest feature distance: it is the share of "
    "places that any attack got.",
    "Feature distance is that of the evaluator's features to the nearest private image of the class, "
    "diversity their mean distance to the other reconstructions of the class.",
    "Controls, which learn nothing of the attacked class, are in no worst case.",
)

_PEOPLE = (
    "The classes are people, and a second evaluator that was trained elsewhere, on other people, says who is "
    "shown: of all people's means of its embeddings of private images, the attacked person's is the nearest."
)


class ModelChannel(ChannelKind):
    """See the module. A release is a class."""

    terms: ClassVar[Terms] = Terms(
        metrics=(
            *("recognised", "recognised5", "identified", "feature_distance", "diversity"),
            *("lpips", "ssim", "psnr"),
        ),
        optional={"identified": _PEOPLE},
        worst=("recognised", "lpips", "ssim", "psnr"),
        ranks=("recognised",),
        goal="recognised",
        normalised=("recognised",),
        heads={
            **{name: f"nearest-private {HEADS[name]}" for name in NEAREST},
            "recognised": "evaluator accuracy @1 ↑ %",
            "recognised5": "evaluator accuracy @5 ↑ %",
            "identified": "people identified ↑ %",
            "feature_distance": "feature distance ↓",
            "diversity": "diversity ↑",
        },
        nearest="nearest-private ",
        counted="classes x seeds/images",
        per="image of a class",
        floor="control",
        blind="nothing of the attacked class: it is a control",
        above="nearest private images",
        unit="class",
        reference=NEAREST_PRIVATE,
        recovery="recognised",
        net=True,
        measured="Recognised by the evaluator",
        meaning="On channel model, where classes are rebuilt, the share of images counts that the evaluator "
        "recognises, net of what the strongest control reaches by chance: (s - c) / (1 - c).",
        caption="What is recovered is evaluator accuracy @1, net of the strongest control. LPIPS, SSIM and "
        "PSNR are those to the nearest private image of the attacked class.",
        scale="Normalised leakage, by evaluator accuracy @1: 0 is the best of as many controls as the row "
        "has attacks, 1 the undefended victim.",
        arrows="On channel model classes are rebuilt, and **evaluator accuracy ↑** says how many.",
        notes=_NOTES,
        flags={
            "below-prior": "certainly less often recognised by the evaluator (paired) than the strongest "
            "control, an attack that learns nothing of the attacked class; of a row: every attack on it is, "
            "so that it says nothing of its defense",
            "psnr-only": "",
        },
    )
    observes = "the weights of the classifier"
    public = "number of images of each class, number of classes, image shape"
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
            release: only the weights pass, or the answers of the network that has them where the card says
                so, and which classes there are.
            attacker: its images pass without labels, to attacks whose card asks for images or a generator.
        """
        import torch

        from bench.api.access import ModelAccess
        from bench.api.black_box import BlackBoxObservation
        from bench.api.released import ModelObservation
        from bench.api.threat import Channel, ThreatModel
        from bench.channels.shared.black_box import BlackBox
        from bench.victims.owner import released_network

        owned, access = attacker.receives_auxiliary(None), attacker.card.classifier_access
        network = released_network(source, release)
        classes = torch.arange(source.releases, device=source.device)
        seen: dict[str, Any] = {
            "threat": ThreatModel(
                channel=Channel.MODEL,
                adversary=attacker.adversary,
                batch_size=source.batch_size,
                auxiliary=owned,
                generator=attacker.generator is not None,
            ),
            "targets": classes,
            "image_shape": source.image_shape,
            "num_classes": source.num_classes,
            "ids": classes,
            "generator": attacker.generator,
            "images": attacker.auxiliary.images.to(source.device) if owned else None,
            "defense": attacker.view(source.defense, source.batch_size),
        }
        if access is ModelAccess.WHITE:
            return ModelObservation(model=network, **seen)
        return BlackBoxObservation(access=access, query=BlackBox(network, access), **seen)

    def score(self, scoring: Scoring) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every image against the private images of its class, and which of them is the ``nearest``."""
        import torch

        from bench.metrics.classes import PrivateImages, score_classes
        from bench.victims.evaluator import load_evaluator, load_features, load_second

        features = load_features(scoring.evaluator, **scoring.shape)
        second = load_second(scoring.second, scoring.device)
        owned, images = scoring.data.splits.private_train, scoring.rebuilt["images"]
        found = score_classes(
            images,
            torch.arange(len(images)),
            scoring.remembered(
                f"private images of {scoring.label}, seed {scoring.seed}",
                lambda: PrivateImages.of(
                    owned.images, owned.labels, lpips=scoring.lpips, features=features, second=second
                ),
            ),
            lpips=scoring.lpips,
            evaluator=load_evaluator(scoring.evaluator, **scoring.shape),
            features=features,
            second=second,
        )
        order = torch.arange(images.shape[1]).expand(images.shape[:2]).contiguous()
        scores = {name: value for name in _SCORES if (value := getattr(found, name)) is not None}
        return {**scores, "order": order}, {}


CHANNEL = ModelChannel()
