"""Released classifiers in a run: collapsed generators, scores of classes, what passes to the attacker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    Adversary,
    BenchError,
    Channel,
    Checkpoint,
    Defense,
    ImageGenerator,
    ImageSet,
    ModelAccess,
)
from bench.api.dataset import Data
from bench.api.defense import DefenseView
from bench.api.released import ModelObservation
from bench.cache.store import Store, Stored
from bench.cells import generators, stages
from bench.cells.context import Context
from bench.cells.generators import fidelity
from bench.channels.model import CHANNEL
from bench.channels.shared.contract import Attacker
from bench.matrix.cells import Cell, Variant
from bench.metrics import PSNR_CAP
from bench.models.evaluator import Evaluator
from bench.models.generators import LATENTS, Decoder
from bench.plugins import build_dataset
from bench.victims.owner import release_classifier
from bench.victims.releases import Release, Source
from tests.engine.observations import DIGITS, digits, drawn

CPU = torch.device("cpu")
RELEASES, BATCH = 4, 3


def judge(seed: int = 0) -> dict[str, Tensor]:
    network = Evaluator.build(10, DIGITS)
    network.initialise(torch.Generator().manual_seed(seed))
    return network.state_dict()


def cut(part: ImageSet, count: int) -> ImageSet:
    return ImageSet(part.images[:count], part.labels[:count])


def data() -> Data:
    """A part of the digits, for speed; of the private training images all, so that indices stay."""
    known = digits()
    splits = replace(known, private_test=cut(known.private_test, 300), auxiliary=cut(known.auxiliary, 300))
    return Data(build_dataset("mnist5k", {}), splits)


# ------------------------------------------------------------------------------- a generator's quality


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that knows every digit: by the nearest of all images."""
    known = [digits().private_train, digits().private_test, digits().auxiliary]
    images = torch.cat([part.images.flatten(1) for part in known])
    labels = torch.cat([part.labels for part in known])

    def load(state: dict[str, Tensor], **shape: Any) -> Any:
        return lambda found: 20 * torch.eye(10)[labels[torch.cdist(found.flatten(1), images).argmin(1)]]

    monkeypatch.setattr("bench.victims.evaluator.load_evaluator", load)


def quality(samples: Tensor, kind: str = "vae") -> dict[str, Any]:
    return fidelity(kind, samples, data(), judge(), CPU)


@pytest.mark.usefixtures("sure")
def test_real_images_are_of_perfect_quality() -> None:
    found = quality(digits().private_train.images[:300])
    assert found["frechet"] < 3 * found["frechet_real"]
    assert found["diversity"] == pytest.approx(1, abs=0.05)
    assert found["classes"] == pytest.approx(10, abs=0.5)
    assert found["confident"] == found["confident_real"] == 1
    worse = quality((digits().private_train.images[:300] + 0.3).clamp(0, 1))
    assert worse["frechet"] > 5 * found["frechet"] and worse["frechet_real"] == found["frechet_real"]


@pytest.mark.usefixtures("sure")
def test_samples_that_are_all_alike_are_a_collapse() -> None:
    one = digits().auxiliary.images[:1].expand(200, -1, -1, -1)
    alike = (one + 0.02 * torch.randn(200, *DIGITS, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    with pytest.raises(
        BenchError, match=r"generator vae collapsed: .* differ by 0.0\d .*show 1.0 of 10 classes"
    ):
        quality(alike)


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("classes", [1, 4])
def test_samples_of_few_classes_are_a_collapse_though_they_vary(classes: int) -> None:
    private = digits().private_train
    few = private.images[private.labels < classes][:200]
    shown = f"({classes}.0|{classes - 1}.9)"
    with pytest.raises(BenchError, match=rf"collapsed.*show {shown} of 10 classes \(at least 5\); more"):
        quality(few)


@pytest.mark.usefixtures("sure")
def test_a_generator_that_was_trained_elsewhere_owes_no_classes_but_variety() -> None:
    private = digits().private_train
    found = quality(private.images[private.labels == 3][:150], "synthetic_faces")
    assert found["classes"] == pytest.approx(1, abs=0.1)
    with pytest.raises(BenchError, match=r"generator synthetic_faces collapsed: .* differ by 0.00"):
        quality(private.images[:1].expand(150, -1, -1, -1), "synthetic_faces")


@pytest.mark.usefixtures("sure")
def test_either_sign_of_a_collapse_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    private = digits().private_train
    monkeypatch.setattr(generators, "LEAST_CLASSES", 0.0)
    quality(private.images[private.labels == 3][:150])
    with pytest.raises(
        BenchError, match=r"differ by 0.00 of what .*\(at least 0.4\).* of 10 classes \(at least 0\)"
    ):
        quality(private.images[:1].expand(150, -1, -1, -1))


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_an_error(bad: float) -> None:
    samples = digits().private_train.images[:100].clone()
    samples[7, 0, 3, 3] = bad
    with pytest.raises(BenchError, match="generator vae: 1 of 100 samples are not finite"):
        quality(samples)


# ------------------------------------------------------------------------------ what the attacker sees


def generator() -> ImageGenerator:
    network = Decoder.build(DIGITS, 4, torch.Generator().manual_seed(0)).eval().requires_grad_(False)
    return ImageGenerator(latent_size=LATENTS, decoder=network)


def cell(adversary: Adversary = Adversary.NAIVE) -> Cell:
    plain = partial(Variant, parameters=())
    return Cell(
        dataset=plain(name="mnist5k", label="mnist5k"),
        model="lenet",
        checkpoint=Checkpoint.TRAINED,
        channel=Channel.MODEL,
        batch_size=BATCH,
        releases=RELEASES,
        epochs=None,
        defense=plain(name="none", label="none"),
        attack=plain(name="any", label="any"),
        adversary=adversary,
        seed=0,
        budget=10,
    )


class Viewed(Defense):
    """A defense that an adaptive attacker can adapt to."""

    def view(self) -> DefenseView:
        return DefenseView(parameters={"strength": 3.0})


def source(defense: Defense) -> Source:
    return Source(
        model="lenet", parameters=dict(drawn("lenet", 0).state_dict()), private=digits().private_train,
        num_classes=10, image_shape=DIGITS, defense=defense, releases=RELEASES, batch_size=BATCH, seed=0,
        device=CPU,
    )  # fmt: skip


@pytest.fixture
def asks() -> SimpleNamespace:
    """What the attack's card asks for."""
    return SimpleNamespace(
        needs_auxiliary=False, needs_generator=False, receives_pool=False, classifier_access=ModelAccess.WHITE
    )


def attacker(card: object, adversary: Adversary = Adversary.NAIVE, prior: bool = False) -> Attacker:
    drawn = generator() if prior else None
    return Attacker(card=card, adversary=adversary, auxiliary=digits().auxiliary, generator=drawn)  # type: ignore[arg-type]


def seen_by(
    card: object,
    adversary: Adversary = Adversary.NAIVE,
    *,
    defense: Defense | None = None,
    prior: bool = False,
) -> tuple[ModelObservation, Release]:
    known = source(defense or Viewed())
    release = release_classifier(known)
    return CHANNEL.observe(known, release, attacker(card, adversary, prior)), release


def tensors(value: object) -> Iterator[Tensor]:
    """Every tensor within reach: in fields, containers, and networks with all that hangs on them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.state_dict().values()
        for item in vars(value).values():
            yield from tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from tensors(item)


def test_the_search_for_tensors_finds_them(asks: SimpleNamespace) -> None:
    seen, release = seen_by(asks)
    hidden = [{"here": (release.labels,)}]
    vars(seen.model)["note"] = hidden
    assert any(value is release.labels for value in tensors(seen))


@pytest.mark.parametrize("adversary", list(Adversary))
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_no_label_and_no_private_image_is_within_reach(
    asks: SimpleNamespace, auxiliary: bool, prior: bool, adversary: Adversary
) -> None:
    asks.needs_auxiliary, asks.needs_generator = auxiliary, prior
    seen, release = seen_by(asks, adversary, prior=prior)
    splits = digits()
    found = list(tensors(seen))
    assert len(found) > 10
    secret = torch.cat([release.images.flatten(0, 1), splits.private_test.images[:200]]).flatten(1)
    labels = [splits.auxiliary.labels, splits.private_train.labels, release.labels, release.indices]
    for value in found:
        for label in labels:
            assert value.numel() != label.numel() or not torch.equal(value.flatten(), label.flatten())
        if value.dim() == 4 and value.shape[1:] == DIGITS:
            assert torch.cdist(value.flatten(1), secret).min() > 0
    assert (seen.images is not None) == (auxiliary or prior) == seen.threat.auxiliary
    assert (seen.generator is not None) == prior == seen.threat.generator
    if seen.images is not None:
        assert torch.equal(seen.images, splits.auxiliary.images)


def test_the_targets_are_the_classes_and_not_what_is_shown_of_them(asks: SimpleNamespace) -> None:
    seen, _ = seen_by(asks)
    assert seen.targets.tolist() == seen.ids.tolist() == [0, 1, 2, 3]
    assert (seen.victims, seen.batch_size, seen.num_classes) == (RELEASES, BATCH, 10)
    part = seen.select(torch.tensor([2, 0]))
    assert part.targets.tolist() == part.ids.tolist() == [2, 0] and part.model is seen.model


def test_the_model_is_the_released_one(asks: SimpleNamespace) -> None:
    seen, release = seen_by(asks)
    for name, value in seen.model.state_dict().items():
        assert torch.equal(value, release.sent[name][0])
    assert not seen.model.training and not any(value.requires_grad for value in seen.model.parameters())


def test_the_weights_are_those_that_were_sent(asks: SimpleNamespace) -> None:
    """Not those of the victim, should anything happen to them on the way."""
    known = source(Viewed())
    release = release_classifier(known)
    sent = {name: 0 * value for name, value in release.sent.items()}
    seen = CHANNEL.observe(known, replace(release, sent=sent), attacker(asks))
    assert not any(value.any() for value in seen.model.state_dict().values())


def test_only_the_adaptive_attacker_has_the_defenses_view(asks: SimpleNamespace) -> None:
    assert seen_by(asks, Adversary.NAIVE)[0].defense is None
    view = seen_by(asks, Adversary.ADAPTIVE)[0].defense
    assert view is not None and view.parameters == {"strength": 3.0}


# ----------------------------------------------------------------------------------- scores of classes


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    made = Context(Store(tmp_path), CPU)
    monkeypatch.setattr(made, "lpips", lambda: (None, "no weights here"))
    monkeypatch.setattr(made, "data", lambda cell: data())
    return made


def scores(context: Context, images: Tensor) -> Stored:
    judged = Stored(judge(), {"accuracy": 0.25})
    nothing = Stored({}, {})
    return stages.scores(cell(), data(), context, nothing, Stored({"images": images}, {}), judged)


def test_private_images_score_as_exact_in_their_class_alone(context: Context) -> None:
    release = release_classifier(source(Viewed()))
    found = scores(context, release.images)
    assert all(value.shape == (RELEASES, BATCH) for value in found.tensors.values())
    assert (found.tensors["psnr"] == PSNR_CAP).all()
    assert torch.equal(found.tensors["nearest"], release.indices)
    assert found.tensors["order"].tolist() == [[0, 1, 2]] * RELEASES
    assert found.tensors["lpips"].isnan().all()
    assert found.meta == {"lpips_status": "no weights here", "evaluator_accuracy": 0.25}
    turned = scores(context, release.images.roll(1, 0))
    assert (turned.tensors["psnr"] < 40).all()
    classes = torch.arange(RELEASES)[:, None].expand(-1, BATCH)
    assert torch.equal(digits().private_train.labels[turned.tensors["nearest"]], classes)


def test_scores_can_be_stored(context: Context) -> None:
    images = torch.rand(RELEASES, BATCH, *DIGITS, generator=torch.Generator().manual_seed(0))
    first = context.stage("scores", "ab" * 32, lambda: scores(context, images))
    again = Context(context.store, CPU).stage("scores", "ab" * 32, lambda: pytest.fail("is stored"))
    for name, value in first.tensors.items():
        torch.testing.assert_close(again.tensors[name], value, equal_nan=True)
