"""A network of the caller, attacked in one call."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bench
from bench.api.attack import BaseAttack, Reconstruction
from bench.api.errors import UsageError
from bench.own.attempt import Outcome
from bench.own.gradients import attack_gradients
from bench.plugins import build_attack

from .nets import IMAGE, blobs, linear, normalised, sigmoid_cnn

SHOWN, LABELS = blobs(4)
OTHERS, _ = blobs(120, seed=1)
OWN, _ = blobs(120, seed=2)


def plain_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """As any client computes them."""
    wanted = [value for value in model.parameters() if value.requires_grad]
    return list(torch.autograd.grad(cross_entropy(model(images), labels), wanted))


def test_every_image_behind_a_linear_layer_is_found_and_the_model_stays_as_it_is() -> None:
    model = linear()
    before = copy.deepcopy(model.state_dict())
    leak = attack_gradients(model, images=SHOWN, labels=LABELS, distractors=OTHERS, attacks=["analytic"])
    assert leak.found == 4 and leak.strongest is not None
    assert leak.strongest.psnr > 60 and leak.strongest.labels == 1 and leak.strongest.explained > 0.999
    assert leak.floor is not None and leak.floor.found == 0 and leak.floor.psnr < 30
    assert leak.images is not None and torch.allclose(leak.images[:, 0], SHOWN, atol=1e-3)
    assert leak.chance == pytest.approx(1 / 124) and not leak.warnings
    assert len(leak.frame) == 4 and leak.frame["found"].all()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad for value in model.parameters())


def test_recorded_gradients_are_those_of_plain_autograd() -> None:
    model = sigmoid_cnn()
    one = plain_gradients(model, SHOWN[:1], LABELS[:1])
    computed = attack_gradients(model, images=SHOWN[:1], labels=LABELS[:1], attacks=["analytic"])
    listed = attack_gradients(model, one, image_shape=IMAGE, attacks=["analytic"])
    named = dict(zip(dict(model.named_parameters()), one, strict=True))
    mapped = attack_gradients(
        model, named, images=SHOWN[:1], labels=LABELS[:1], distractors=OTHERS, attacks=["analytic"]
    )
    assert computed.images is not None and listed.images is not None and mapped.images is not None
    assert torch.allclose(computed.images, listed.images, atol=1e-2)
    assert torch.allclose(computed.images, mapped.images, atol=1e-2)
    assert listed.found is None and listed.chance is None and listed.originals is None
    assert listed.strongest is not None and listed.strongest.explained > 0.999
    assert mapped.found == 1


def test_several_recorded_releases_have_a_leading_dimension() -> None:
    model = linear()
    each = [plain_gradients(model, SHOWN[i : i + 1], LABELS[i : i + 1]) for i in range(3)]
    stacked = [torch.stack(parts) for parts in zip(*each, strict=True)]
    leak = attack_gradients(model, stacked, image_shape=IMAGE, attacks="analytic")
    assert leak.images is not None and torch.allclose(leak.images[:, 0], SHOWN[:3], atol=1e-3)


def test_what_changes_after_local_steps_is_taken_as_clients_of_fedavg_send_it() -> None:
    model, rate = linear(), 0.1
    client = copy.deepcopy(model)
    for _ in range(3):
        step = plain_gradients(client, SHOWN[:1], LABELS[:1])
        with torch.no_grad():
            for value, change in zip(client.parameters(), step, strict=True):
                value -= rate * change
    update = [a.detach() - b.detach() for a, b in zip(model.parameters(), client.parameters(), strict=True)]
    options: dict[str, Any] = {"local_steps": 3, "learning_rate": rate, "attacks": ["inverting_gradients"]}
    recorded = attack_gradients(model, update, image_shape=IMAGE, budget=60, **options)
    computed = attack_gradients(model, images=SHOWN[:1], labels=LABELS[:1], budget=60, **options)
    assert recorded.images is not None and computed.images is not None
    assert torch.allclose(recorded.images, computed.images, atol=0.05)
    assert recorded.strongest is not None and recorded.strongest.explained > 0.9


def test_frozen_layers_leak_nothing_and_are_told_apart() -> None:
    model = sigmoid_cnn()
    model[0].requires_grad_(False)
    leak = attack_gradients(model, images=SHOWN[:2], labels=LABELS[:2], attacks=["idlg"], budget=300)
    assert leak.threat["weights sent"] == "4 of 6 tensors"
    given = plain_gradients(model, SHOWN[:1], LABELS[:1])
    assert len(given) == 4
    again = attack_gradients(model, given, image_shape=IMAGE, attacks=["idlg"], budget=300)
    assert again.strongest is not None and again.strongest.explained > 0.9


def test_another_loss_is_matched_as_it_is() -> None:
    def squares(scores: Tensor, targets: Tensor) -> Tensor:
        return (scores.softmax(-1) - targets).square().sum(-1).mean()

    options: dict[str, Any] = {"images": SHOWN[:2], "labels": LABELS[:2], "budget": 200, "attacks": ["dlg"]}
    own = attack_gradients(sigmoid_cnn(), loss=squares, **options)
    assert own.strongest is not None and own.strongest.explained > 0.99


def test_batch_norm_follows_the_model_or_the_call() -> None:
    model = normalised()
    options: dict[str, Any] = {"images": SHOWN, "labels": LABELS, "batch_size": 2, "budget": 20,
                               "attacks": ["inverting_gradients"]}  # fmt: skip
    assert attack_gradients(model.train(), **options).threat["BatchNorm"] == "train"
    assert attack_gradients(model.eval(), **options).threat["BatchNorm"] == "eval"
    assert attack_gradients(model, batch_norm="train", **options).threat["BatchNorm"] == "train"
    assert not any(layer.training for layer in model.modules())


def _blind(observation: Any, *, budget: int, seed: int) -> Reconstruction:
    """Other images, in no order."""
    shape = (observation.victims, observation.batch_size, *IMAGE)
    images = OWN[: shape[0] * shape[1]].view(shape)
    zero = torch.zeros(shape[0], dtype=torch.int64)
    return Reconstruction(images=images, cost=zero.double(), evaluations=zero)


def _as_attack(monkeypatch: pytest.MonkeyPatch, rebuild: Any) -> BaseAttack[Any]:
    attack = build_attack("dlg", {})
    monkeypatch.setattr(attack, "reconstruct", rebuild)
    return attack


def test_chance_counts_the_tries_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = blobs(48, seed=5)
    leak = attack_gradients(
        linear(), images=images, labels=labels, batch_size=8, attacks=[_as_attack(monkeypatch, _blind)]
    )
    assert leak.chance == pytest.approx(8 / 48) and leak.found is not None
    assert leak.found / 48 < 2 * leak.chance and any("blind guess" in text for text in leak.warnings)
    sure = attack_gradients(linear(), images=images, labels=labels, attacks=["analytic"])
    assert sure.beyond_chance and sure.sentence.startswith("48 of 48 private images were found")
    lucky = replace(leak, attempts=tuple(replace(item, found=9) for item in leak.attempts))
    assert not lucky.beyond_chance and "9 of 48 reconstructions" in lucky.sentence


def test_what_diverged_is_never_the_strongest(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(observation: Any, **options: Any) -> Reconstruction:
        found = _blind(observation, **options)
        return Reconstruction(images=found.images * math.nan, cost=found.cost, evaluations=found.evaluations)

    attacks = [_as_attack(monkeypatch, diverge), _as_attack(monkeypatch, _blind)]
    leak = attack_gradients(linear(), images=SHOWN, labels=LABELS, distractors=OTHERS, attacks=attacks)
    assert leak.images is not None and leak.images.isfinite().all()


def test_what_is_explained_is_asked_of_the_images_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def outside(observation: Any, **options: Any) -> Reconstruction:
        found = _blind(observation, **options)
        return Reconstruction(images=found.images * 100 - 50, cost=found.cost, evaluations=found.evaluations)

    model = linear()
    one = plain_gradients(model, SHOWN[:1], LABELS[:1])
    leak = attack_gradients(model, one, image_shape=IMAGE, attacks=[_as_attack(monkeypatch, outside)])
    assert leak.images is not None and leak.images.min() >= 0 and leak.images.max() <= 1
    assert leak.floor is not None and 0 <= leak.floor.explained <= 1
    assert f"{leak.floor.explained:.1%}" in leak.sentence


def test_arrays_are_taken_for_tensors() -> None:
    model = linear()
    arrays: Any = [value.numpy() for value in plain_gradients(model, SHOWN[:1], LABELS[:1])]
    leak = attack_gradients(model, arrays, image_shape=IMAGE, attacks="analytic")
    assert leak.images is not None and torch.allclose(leak.images[0], SHOWN[:1], atol=1e-3)


def test_what_weakens_the_attackers_is_said() -> None:
    good: dict[str, Any] = {
        "images": SHOWN[:1],
        "labels": LABELS[:1],
        "attacks": ["inverting_gradients"],
        "budget": 2,
    }
    many = attack_gradients(linear(), **good, local_steps=41, learning_rate=0.1)
    assert any("40 local steps" in text for text in many.warnings)
    probable = attack_gradients(nn.Sequential(linear(), nn.Softmax(1)), **good)
    assert any("probabilities" in text for text in probable.warnings)
    assert not any("probabilities" in text for text in attack_gradients(linear(), **good).warnings)


def test_one_image_without_others_is_never_called_found() -> None:
    near = attack_gradients(linear(), images=SHOWN[:1], labels=LABELS[:1], attacks=["analytic"])
    assert near.frame["found"].isna().all()
    assert near.found is None and near.strongest is not None and near.strongest.psnr > 60
    assert "distractors" in near.warnings[0] and "the one image" in near.sentence


def test_a_defense_is_applied_and_known_unless_the_call_says_no() -> None:
    options: dict[str, Any] = {"images": SHOWN, "labels": LABELS, "defense": "noise = 0.5",
                               "attacks": ["dlg", "analytic"], "budget": 100}  # fmt: skip
    known = attack_gradients(sigmoid_cnn(), **options)
    unknown = attack_gradients(sigmoid_cnn(), knows_defense=False, **options)
    assert [item.adversary for item in known.attempts] == ["adaptive", "naive"]
    assert [item.adversary for item in unknown.attempts] == ["naive", "naive"]
    assert known.strongest is not None and known.strongest.psnr < 40


def test_a_bound_is_no_attack_and_attacks_that_do_not_apply_say_why() -> None:
    leak = attack_gradients(linear(), images=SHOWN, labels=LABELS, distractors=OTHERS,
                            attacks=["candidates", "ggl", "rmle"])  # fmt: skip
    prior, other, bound = leak.attempts
    assert bound.bound and bound.found == 4 and leak.strongest is None and leak.found is None
    assert prior.outcome is other.outcome is Outcome.NOT_APPLICABLE
    assert "auxiliary" in prior.reason and "smashed" in other.reason


def test_an_attack_that_fails_takes_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = build_attack("dlg", {})

    def fail(*given: object, **options: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(broken, "reconstruct", fail)
    leak = attack_gradients(linear(), images=SHOWN, labels=LABELS, attacks=[broken, "analytic"])
    assert [item.outcome for item in leak.attempts] == [Outcome.FAILED, Outcome.DONE]
    assert "out of luck" in leak.attempts[0].reason and leak.found == 4


def test_one_attack_is_called_by_its_class_name() -> None:
    model = linear()
    leak = bench.attacks.Analytic()(model, plain_gradients(model, SHOWN[:1], LABELS[:1]), image_shape=IMAGE)
    assert leak.images is not None and torch.allclose(leak.images[0], SHOWN[:1], atol=1e-3)
    assert repr(bench.attacks.IDLG(history=20)) == "<attack idlg[history=20]>"
    with pytest.raises(AttributeError, match="inverting_gradients"):
        _ = bench.attacks.InvertingGradient
    with pytest.raises(AttributeError):
        _ = bench.attacks.nothing


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    attack_gradients(linear(), images=SHOWN[:1], labels=LABELS[:1], attacks=["analytic"], threads=1)
    assert torch.get_num_threads() == before


def _dropout() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 4))


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(images)}


GOOD: dict[str, Any] = {"images": SHOWN, "labels": LABELS}
ZERO = torch.zeros(4, 144)


@pytest.mark.parametrize(
    ("model", "given", "named"),
    [
        (_dropout(), GOOD, ["Dropout", "eval()"]),
        (_Named(), GOOD, ["logits", "scores alone"]),
        (linear().requires_grad_(False), GOOD, ["requires_grad"]),
        (linear(), {**GOOD, "images": SHOWN[0]}, ["leading dimension"]),
        (linear(), {**GOOD, "images": SHOWN * 255}, ["[0, 1]"]),
        (linear(), {**GOOD, "images": (SHOWN * 255).to(torch.uint8)}, ["/ 255"]),
        (linear(), {**GOOD, "images": SHOWN * math.nan}, ["[0, 1]"]),
        (linear(), {**GOOD, "labels": LABELS + 2}, ["4 classes"]),
        (linear(), {**GOOD, "labels": LABELS[:2]}, ["4 images"]),
        (linear(), {**GOOD, "batch_size": 3}, ["batch_size=3"]),
        (linear(), {**GOOD, "distractors": torch.rand(3, 1, 16, 16)}, ["distractors"]),
        (linear(), {**GOOD, "batch_norm": "off"}, ["auto", "eval", "train"]),
        (linear(), {**GOOD, "local_steps": 2}, ["learning_rate"]),
        (linear(), {**GOOD, "device": "abacus"}, ["abacus"]),
        (linear(), {**GOOD, "threads": 0}, ["threads=0"]),
        (linear(), {**GOOD, "loss": "hinge"}, ["hinge"]),
        (linear(), {**GOOD, "attacks": ["inverting_gradient"]}, ["inverting_gradients"]),
        (linear(), {**GOOD, "attacks": []}, ["auto"]),
        (linear(), {**GOOD, "attacks": 3}, ["neither"]),
        (linear(), {**GOOD, "defense": 3}, ["defense=3"]),
        (linear(), {**GOOD, "batch_size": 1.0}, ["batch_size=1.0"]),
        (linear(), {**GOOD, "labels": ["a"] * 4}, ["whole number"]),
        (linear(1), {**GOOD, "labels": LABELS * 0}, ["one score"]),
        (linear(), {"gradients": [ZERO, ZERO[:, 0]], "image_shape": IMAGE}, ["zero in all"]),
        (linear(), {"gradients": [ZERO / 0, ZERO[:, 0]], "image_shape": IMAGE}, ["not finite"]),
        (linear(), {"gradients": [None, torch.zeros(4)], "image_shape": IMAGE}, ["None"]),
        (linear(), {**GOOD, "defense": "noisy"}, ["noise"]),
        (linear(), {**GOOD, "defense": "activation_noise"}, ["gradients"]),
        (linear(), {"images": SHOWN}, ["labels are missing"]),
        (linear(), {}, ["gradients"]),
        (linear(), {"gradients": [torch.zeros(4, 144)], "image_shape": IMAGE}, ["1 tensors"]),
        (linear(), {"gradients": [torch.zeros(4, 144), torch.zeros(4)]}, ["image_shape"]),
        (linear(), {"gradients": [torch.zeros(144, 4), torch.zeros(4)], "image_shape": IMAGE}, ["1.weight"]),
        (linear(), {"gradients": {"1.weigth": torch.zeros(4, 144)}, "image_shape": IMAGE}, ["1.bias"]),
        (linear(), {**GOOD, "image_shape": (3, 12, 12)}, ["image_shape"]),
        (nn.Conv2d(1, 4, 3), GOOD, ["scores [B, K]"]),
        (nn.Linear(3, 4), GOOD, ["fails on images"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_words(
    model: nn.Module, given: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        attack_gradients(model, **given)
    assert all(part in str(caught.value) for part in named), str(caught.value)
