"""Scores of classes: the nearest private image of the class; one bad image disturbs no other."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from bench.metrics import PSNR_CAP, Lpips, psnr, ssim
from bench.metrics.classes import TOP, ClassScores, PrivateImages, score_classes

K, B, SIDE = 7, 3, 32
NAMES = [item.name for item in fields(ClassScores)]


def smooth(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")


PRIVATE = smooth(60, 0)
LABELS = torch.randint(K, (60,), generator=torch.Generator().manual_seed(5))
TARGETS = torch.tensor([4, 0, 6])
REBUILT = smooth(len(TARGETS) * B, 1).view(len(TARGETS), B, 1, SIDE, SIDE)
_WEIGHTS = torch.randn(SIDE * SIDE, K, generator=torch.Generator().manual_seed(2)) / SIDE


def evaluator(images: Tensor) -> Tensor:
    return images.flatten(1) @ _WEIGHTS


def features(images: Tensor) -> Tensor:
    return images.flatten(1)[:, ::37].sin()


def second(images: Tensor) -> Tensor:
    return images.flatten(1)[:, ::53].cos()


def score(images: Tensor = REBUILT, targets: Tensor = TARGETS, lpips: Lpips | None = None) -> ClassScores:
    private = PrivateImages.of(PRIVATE, LABELS, lpips=lpips, features=features, second=second)
    measures = {"evaluator": evaluator, "features": features, "second": second}
    return score_classes(images, targets, private, lpips=lpips, **measures)


def slow(images: Tensor, targets: Tensor, lpips: Lpips | None) -> dict[str, list[list[float]]]:
    """The definitions, one image and one private image at a time."""
    found: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    for target, group in zip(targets.tolist(), images, strict=True):
        rows: dict[str, list[float]] = {name: [] for name in NAMES}
        pool = [number for number, label in enumerate(LABELS.tolist()) if label == target]
        for image in group:

            def gap(number: int, image: Tensor = image) -> float:
                if lpips is not None:
                    return lpips.distance(image[None], PRIVATE[number, None]).item()
                return (image - PRIVATE[number]).square().sum().item()

            best = min(pool, key=gap)
            order = evaluator(image[None])[0].argsort(descending=True).tolist()
            mine = features(image[None])
            rows["nearest"].append(best)
            rows["psnr"].append(psnr(PRIVATE[best, None], image[None]).item())
            rows["ssim"].append(ssim(PRIVATE[best, None], image[None]).item())
            rows["lpips"].append(gap(best) if lpips is not None else float("nan"))
            rows["recognised"].append(float(order[0] == target))
            rows["recognised5"].append(float(target in order[:5]))
            gaps = []
            for k in range(K):
                of_k = [second(PRIVATE[n, None])[0] for n, label in enumerate(LABELS.tolist()) if label == k]
                gaps.append((torch.stack(of_k).mean(0) - second(image[None])[0]).norm().item())
            rows["identified"].append(float(gaps.index(min(gaps)) == target))
            rows["feature_distance"].append(
                min((mine - features(PRIVATE[number, None])).norm().item() for number in pool)
            )
            away = [(mine - features(other[None])).norm().item() for other in group]
            rows["diversity"].append(sum(away) / (len(group) - 1) if len(group) > 1 else float("nan"))
        for name, values in rows.items():
            found[name].append(values)
    return found


def same(found: ClassScores, wanted: ClassScores, pick: Tensor | slice = slice(None)) -> None:
    for name in NAMES:
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name)[pick], equal_nan=True, msg=name, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("batch", [1, B])
@pytest.mark.parametrize("judged", [False, True], ids=["pixels", "lpips"])
def test_scores_are_those_of_the_definitions(
    judged: bool, batch: int, request: pytest.FixtureRequest
) -> None:
    lpips = request.getfixturevalue("alex") if judged else None
    images = REBUILT[:, :batch]
    found, wanted = score(images, lpips=lpips), slow(images, TARGETS, lpips)
    for name in NAMES:
        value = getattr(found, name)
        assert value.shape == (len(TARGETS), batch) and value.device.type == "cpu", name
        torch.testing.assert_close(
            value.double(),
            torch.tensor(wanted[name], dtype=torch.float64),
            rtol=1e-4,
            atol=1e-5,
            equal_nan=True,
            msg=name,
        )
    assert found.nearest.dtype == torch.int64
    assert (LABELS[found.nearest] == TARGETS[:, None]).all()


def test_another_class_would_be_nearer() -> None:
    """Each reconstruction is a private image of the NEXT class, and must not be matched to it."""
    other = torch.stack([PRIVATE[(target + 1) % K == LABELS][:2] for target in TARGETS.tolist()])
    found = score(other)
    assert (LABELS[found.nearest] == TARGETS[:, None]).all()
    assert (found.psnr < PSNR_CAP).all() and (found.feature_distance > 0.1).all()


def test_copies_of_private_images_are_exact(alex: Lpips) -> None:
    indices = torch.stack([(target == LABELS).nonzero()[1 : 1 + B, 0] for target in TARGETS.tolist()])
    found = score(PRIVATE[indices], lpips=alex)
    assert torch.equal(found.nearest, indices)
    assert (found.psnr == PSNR_CAP).all()
    torch.testing.assert_close(found.ssim, torch.ones_like(found.ssim))
    assert found.lpips.max() < 1e-6
    assert found.feature_distance.max() < 1e-5


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_the_order_of_the_classes_does_not_matter(order: list[int]) -> None:
    turned = torch.tensor(order)
    same(score(REBUILT[turned], TARGETS[turned]), score(), turned)
    same(score(REBUILT[:1], TARGETS[:1]), score(), slice(0, 1))


def test_the_order_within_a_class_does_not_matter() -> None:
    found, plain = score(REBUILT.flip(1)), score()
    for name in NAMES:
        torch.testing.assert_close(getattr(found, name).flip(1), getattr(plain, name), equal_nan=True)


def test_the_order_of_the_private_images_does_not_matter() -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    private = PrivateImages.of(PRIVATE[order], LABELS[order], lpips=None, features=features)
    found = score_classes(REBUILT, TARGETS, private, lpips=None, evaluator=evaluator, features=features)
    plain = score()
    assert torch.equal(order[found.nearest], plain.nearest)
    torch.testing.assert_close(found.psnr, plain.psnr)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_non_finite_image_disturbs_no_other(bad: float) -> None:
    broken = REBUILT.clone()
    broken[1, 2, 0, 5, 5] = bad
    found, plain = score(broken), score()
    hit = torch.zeros(len(TARGETS), B, dtype=torch.bool)
    hit[1, 2] = True
    for name in ("psnr", "ssim", "feature_distance"):
        value = getattr(found, name)
        assert torch.equal(value.isnan(), hit), name
        torch.testing.assert_close(value[~hit], getattr(plain, name)[~hit])
    for name in ("recognised", "recognised5", "identified"):
        assert getattr(found, name)[1, 2] == 0
        assert torch.equal(getattr(found, name)[~hit], getattr(plain, name)[~hit])
    assert torch.equal(found.diversity.isnan(), hit)
    torch.testing.assert_close(found.diversity[[0, 2]], plain.diversity[[0, 2]])
    assert torch.equal(found.nearest[~hit], plain.nearest[~hit])


def test_a_non_finite_image_is_no_neighbour_of_its_class() -> None:
    """The diversity of the images that are left is that of the class without it."""
    broken = REBUILT.clone()
    broken[1, 2] = float("nan")
    found, without = score(broken), score(REBUILT[:, :2])
    torch.testing.assert_close(found.diversity[1, :2], without.diversity[1])
    broken[1, 1] = float("nan")
    assert score(broken).diversity[1].isnan().all(), "one image has no diversity"


def test_reconstructions_are_clamped() -> None:
    bright = 3 * REBUILT - 1
    same(score(bright), score(bright.clamp(0, 1)))


def test_equal_images_of_a_class_have_no_diversity() -> None:
    found = score(REBUILT[:, :1].expand(-1, B, -1, -1, -1))
    assert (found.diversity == 0).all()
    assert score(REBUILT[:, :1]).diversity.isnan().all()


def test_fewer_classes_than_five_are_all_among_the_first() -> None:
    private = PrivateImages.of(PRIVATE, LABELS % 3, lpips=None, features=features)
    found = score_classes(
        REBUILT, torch.arange(3), private, lpips=None, features=features,
        evaluator=lambda images: evaluator(images)[:, :3],
    )  # fmt: skip
    assert TOP == 5 and (found.recognised5 == 1).all()


def test_a_class_without_private_images_is_named() -> None:
    with pytest.raises(ValueError, match="class 11"):
        score(REBUILT, torch.tensor([0, 11, 2]))


def test_a_class_is_identified_only_where_there_is_a_second_evaluator() -> None:
    private = PrivateImages.of(PRIVATE, LABELS, lpips=None, features=features)
    found = score_classes(REBUILT, TARGETS, private, lpips=None, evaluator=evaluator, features=features)
    assert found.identified is None
    own = torch.stack([PRIVATE[k == LABELS].mean(0) for k in range(K)])[:, None]
    plain = PrivateImages.of(PRIVATE, LABELS, lpips=None, features=features, second=lambda x: x.flatten(1))
    seen = score_classes(
        own, torch.arange(K), plain, lpips=None, evaluator=evaluator, features=features,
        second=lambda x: x.flatten(1),
    )  # fmt: skip
    assert seen.identified is not None and (seen.identified == 1).all()
