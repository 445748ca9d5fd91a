"""A generator of faces that was trained elsewhere: found, recognised, read, and drawn in the data's form."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.api import BenchError, ImageSet
from bench.api.errors import DataMissing
from bench.matrix import Filters, expand, load_matrix
from bench.matrix.absent import without_data
from bench.models import weights
from bench.models.synthetic_faces import LATENTS, SyntheticFaces
from bench.models.weights import GENERATORS, Shipped
from bench.victims.generator import SCHEDULES, load_generator, sample, train_generator

KIND, FACES = "synthetic_faces", (1, 64, 64)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights of the published layout, drawn at random, where the user's data lie."""
    network = SyntheticFaces(FACES)
    chance = torch.Generator().manual_seed(0)
    for value in network.parameters():
        nn.init.normal_(value, std=0.1, generator=chance)
    own = {f"main.{int(name.split('.')[1]) - 1}.{name.split('.')[2]}": value for name, value in
           network.state_dict().items()}  # fmt: skip
    file = io.BytesIO()
    torch.save({"netG_state_dict": own}, file)
    place = tmp_path / "gan_face_generate" / "weights.tar"
    place.parent.mkdir()
    place.write_bytes(file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    monkeypatch.setitem(GENERATORS, KIND, replace(GENERATORS[KIND], sha256=digest))
    monkeypatch.setitem(SCHEDULES, KIND, replace(SCHEDULES[KIND], steps=3, batch=8, width=4))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return own


def pictures(shape: tuple[int, int, int], count: int = 12, seed: int = 0) -> ImageSet:
    images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return ImageSet(images, torch.zeros(count, dtype=torch.int64))


def test_layers_are_those_of_the_published_shapes() -> None:
    shapes = {
        name: tuple(value.shape)
        for name, value in SyntheticFaces(FACES).state_dict().items()
        if name.endswith("weight") and value.dim() == 4
    }
    assert [*shapes.values()] == [
        (100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4),
    ]  # fmt: skip


def test_what_is_read_is_a_dcgan_of_these_weights(stored: dict[str, Tensor]) -> None:
    values = torch.randn(2, LATENTS, generator=torch.Generator().manual_seed(1))
    hidden = values[:, :, None, None]
    for number, step in ((0, 1), (3, 2), (6, 2), (9, 2)):
        hidden = nn.functional.conv_transpose2d(
            hidden, stored[f"main.{number}.weight"], stride=step, padding=step - 1
        )
        mean, variance, scale, shift = (
            stored[f"main.{number + 1}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        hidden = ((hidden - mean) / (variance + 1e-5).sqrt() * scale + shift).relu()
    red, green, blue = (
        nn.functional.conv_transpose2d(hidden, stored["main.12.weight"], stride=2, padding=1).tanh().unbind(1)
    )
    grey = (0.299 * red + 0.587 * green + 0.114 * blue + 1) / 2
    network = SyntheticFaces.shipped(FACES)
    assert not network.training and not any(value.requires_grad for value in network.parameters())
    torch.testing.assert_close(network(values)[:, 0], grey, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64), (3, 28, 40)])
def test_images_have_the_form_of_the_data(shape: tuple[int, int, int]) -> None:
    latents = torch.randn(3, LATENTS, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    found, coloured = (SyntheticFaces.shipped(item)(latents) for item in (shape, (3, 64, 64)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.shape == (3, *shape) and found.min() >= 0 and found.max() <= 1
    wanted = nn.functional.interpolate(coloured, shape[1:], mode="bilinear", antialias=True)
    if shape[0] == 3:
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("stored")
def test_its_critic_alone_is_trained_and_the_seed_decides() -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        private = (pictures(FACES, seed=1),)
        return train_generator(KIND, pictures(FACES), private=private, image_shape=FACES, seed=seed).state

    first, again, other = trained(0), trained(0), trained(1)
    published = SyntheticFaces.shipped(FACES).state_dict()
    for name, value in first.items():
        assert torch.equal(value, again[name])
        if name.startswith("decoder"):
            assert torch.equal(value, published[name.removeprefix("decoder.")])
            assert torch.equal(value, other[name])
    assert not torch.equal(first["critic.head.weight"], other["critic.head.weight"])
    loaded = load_generator(KIND, first, FACES)
    assert loaded.latent_size == LATENTS and loaded.critic is not None
    assert loaded.critic(sample(loaded, 5, seed=0)).shape == (5,)


@pytest.mark.usefixtures("stored")
def test_private_images_are_refused_as_of_any_generator() -> None:
    with pytest.raises(BenchError, match="12 auxiliary"):
        train_generator(KIND, pictures(FACES), private=(pictures(FACES),), image_shape=FACES, seed=0)


def test_a_file_of_another_digest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "no_such_package_anywhere" / "weights.tar"
    place.parent.mkdir()
    place.write_bytes(b"another")
    wanted = Shipped(
        package="no_such_package_anywhere", file="weights.tar", sha256=hashlib.sha256(b"one").hexdigest(),
        fix="pip install it", source="",
    )  # fmt: skip
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"unknown sha256 .*not read: pip install it"):
        wanted.read()
    place.write_bytes(b"one")
    assert wanted.read() == b"one" and not wanted.missing()
    place.unlink()
    assert wanted.missing().count("\n") == 0 and wanted.missing().endswith("pip install it")


def test_cells_without_the_weights_are_not_applicable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    asked = expand(load_matrix("smoke"), Filters(attacks=("ppa[generator=synthetic_faces]", "ppa")))
    found = {
        cell.attack.label: cell.incompatible for cell in without_data(asked) if cell.attack.name == "ppa"
    }
    assert len(found) == 2
    for label, reason in found.items():
        assert ("pip install --no-deps gan-face-generate" in reason) == ("synthetic" in label)
