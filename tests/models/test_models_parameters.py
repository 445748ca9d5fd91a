"""What may be chosen of an architecture: how it is written, and the networks that it builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from bench.api import UsageError
from bench.api.cards import Value
from bench.api.threat import BatchNorm
from bench.engine.gradients import cross_entropy, gradient_map, one_hot
from bench.engine.normalisation import batch_norms, threat_of
from bench.matrix import Filters, expand, load_matrix
from bench.models.build import build_model, schedule_of
from bench.models.names import ALIASES, CUTS, IMAGES_PER_ROUND, MODELS, PARAMETERS
from bench.models.resnet import CHANNELS, GROUPS, group_norm
from bench.models.spec import parse_model
from bench.victims.training import private_batches

GREY = (1, 16, 16)
SMALL = ("mlp[width=24]", "resnet8[width=4]", "resnet8[norm=group,width=4]", "resnet18[norm=group,width=4]")


def size(name: str, shape: tuple[int, int, int] = (1, 32, 32)) -> int:
    return sum(value.numel() for value in build_model(name, num_classes=10, image_shape=shape).parameters())


@st.composite
def chosen(draw: st.DrawFn) -> tuple[str, dict[str, Value]]:
    """An architecture and allowed values of some of its parameters."""
    head = draw(st.sampled_from(sorted(PARAMETERS)))
    values: dict[str, st.SearchStrategy[Value]] = {
        name: st.sampled_from(item.choices)
        if item.choices
        else st.integers(int(item.minimum or 0), int(item.maximum or 0))
        for name, item in PARAMETERS[head].items()
    }
    names = draw(st.permutations(sorted(values)))
    kept = names[: draw(st.integers(0, len(names)))]
    return head, {name: draw(values[name]) for name in kept}


@given(chosen())
def test_one_network_has_one_name(drawn: tuple[str, dict[str, Value]]) -> None:
    head, values = drawn
    spec = parse_model(f" {head}[{' , '.join(f'{key} = {value}' for key, value in values.items())}] ")
    full = {name: item.default for name, item in PARAMETERS[head].items()}
    again = parse_model(spec.name)
    assert spec.plain and again.name == spec.name == spec.architecture
    assert full | dict(again.parameters) == full | values
    assert all(value != full[key] for key, value in again.parameters)
    backwards = ",".join(f"{key}={value}" for key, value in reversed((full | values).items()))
    assert parse_model(f"{head}[{backwards}]").name == spec.name


def test_a_round_has_as_many_images_as_the_axis_of_clients_says() -> None:
    assert {schedule_of(name).images_per_round for name in MODELS} == {IMAGES_PER_ROUND}


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_published_names_are_kept(alias: str) -> None:
    assert parse_model(alias).name == parse_model(ALIASES[alias]).name == alias
    assert parse_model("resnet18[width=64,norm=batch]").name == "resnet18"


@pytest.mark.parametrize("name", [*MODELS, *(f"{head}[cut=1]" for head in CUTS)])
def test_networks_that_cannot_take_local_steps_choose_their_clients_alone(name: str) -> None:
    def takes(option: str) -> bool:
        try:
            schedule = schedule_of(f"{name[:-1]},{option}]" if name.endswith("]") else f"{name}[{option}]")
        except UsageError:
            return False
        return schedule != schedule_of(name)

    assert takes("clients=2")
    for option in ("local_epochs=2", "local_batch=1"):
        assert takes(option) == ("cut" not in name and name != "resnet18_shared")


def test_a_rate_without_local_steps_is_no_other_victim() -> None:
    assert parse_model("convnet[clients=2,local_rate=0.1]").name == "convnet[clients=2]"
    for steps in ("local_epochs=2", "local_batch=1"):
        assert parse_model(f"convnet[{steps},local_rate=0.1]").name == f"convnet[{steps},local_rate=0.1]"
    with pytest.raises(UsageError, match="local steps need the whole network"):
        parse_model("convnet[cut=2,local_rate=0.1]")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("resnet18[widht=16]", "'width'"),
        ("resnet18[width=wide]", "width: expected int, got 'wide'"),
        ("resnet18[width=1.5]", "width: expected int"),
        ("resnet18[width=0]", "width: 0 is below the minimum 1"),
        ("resnet18[width=-3]", "width: -3 is below"),
        ("resnet18[width=4097]", "width: 4097 is above the maximum 4096"),
        ("mlp[width=999999999]", "width: 999999999 is above"),
        ("convnet[clients=10001]", "clients: 10001 is above the maximum 10000"),
        ("convnet[local_batch=10001]", "local_batch: 10001 is above the maximum 10000"),
        ("resnet18[norm=layer]", "norm: 'layer' is not one of 'batch', 'group'"),
        ("resnet18[width=8,width=16]", "width is given twice"),
        ("resnet18_frozen[norm=group]", "unknown option 'norm'"),
        ("lenet[width=16]", "unknown option 'width'"),
        ("nets:small[width=16]", "unknown option 'width'"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_reason(name: str, facts: str) -> None:
    with pytest.raises(UsageError, match=facts) as error:
        parse_model(name, where="file.toml: block.0")
    assert str(error.value).startswith("file.toml: block.0") and name in str(error.value)


def test_records_call_a_network_by_its_one_name(tmp_path: Path) -> None:
    block = {
        "datasets": ["mnist5k"], "checkpoints": ["initial"], "batch_sizes": [1], "releases": 1, "budget": 10,
        "attacks": ["dlg"], "adversaries": ["naive"], "defenses": ["none"],
    }  # fmt: skip
    models = ["resnet18[width=64]", "resnet18", "resnet8[width=16,norm=group]", "cnn[cut=2]", "splitnet"]
    lines = [f"{key} = {json.dumps(value)}" for key, value in (block | {"models": models}).items()]
    text = 'name = "own"\nversion = 1\ndescription = "one"\nseeds = [0]\n[[block]]\n' + "\n".join(lines)
    path = tmp_path / "own.toml"
    path.write_text(text)
    assert [cell.model for cell in expand(load_matrix(str(path)))] == [
        "resnet18", "resnet8[norm=group]", "splitnet",
    ]  # fmt: skip
    only = Filters(models=("resnet8[norm=group,width=16]",))
    assert [cell.model for cell in expand(load_matrix(str(path)), only)] == ["resnet8[norm=group]"]


def test_parameters_go_with_weights_and_schedules_of_the_users(tmp_path: Path) -> None:
    small = build_model("resnet8[width=4]", num_classes=10, image_shape=GREY)
    path = tmp_path / "small.pt"
    torch.save(small.state_dict(), path)
    loaded = build_model(f"resnet8[width=4,weights={path}]", num_classes=10, image_shape=GREY)
    images = torch.rand(2, *GREY, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), small(images))
    with pytest.raises(UsageError, match="does not fit"):
        build_model(f"resnet8[width=8,weights={path}]", num_classes=10, image_shape=GREY)
    assert schedule_of("resnet8[width=4,epochs=3]").epochs == 3


def test_networks_are_as_large_as_their_papers_say() -> None:
    """ResNet-18 has 11.17 million parameters for ten classes of small colour images."""
    assert size("resnet18", (3, 32, 32)) == 11_173_962
    assert size("resnet8") == 77_754
    assert size("mlp") == 1024 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    for head in ("resnet8", "resnet18"):
        assert size(f"{head}[norm=group]") == size(head)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 16, 64, 100, 512])
def test_groups_are_neither_too_many_nor_too_small(channels: int) -> None:
    groups = group_norm(channels).num_groups
    assert channels % groups == 0 and groups <= GROUPS
    assert groups == 1 or channels // groups >= CHANNELS


@pytest.mark.parametrize("name", SMALL)
def test_only_batch_normalisation_makes_a_gradient_more_than_the_mean_of_its_images(name: str) -> None:
    """Second derivatives of many victims at once are those of a plain loop as well."""
    network = build_model(name, num_classes=5, image_shape=GREY).double()
    network.initialise(torch.Generator().manual_seed(0))
    weights = {key: value.detach() for key, value in network.named_parameters()}
    source = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, *GREY, generator=source, dtype=torch.float64)
    targets = one_hot(torch.tensor([[0, 1, 2], [3, 4, 0]]), 5, torch.float64)
    found = gradient_map(network, weights, per_victim_weights=False)
    together, apart = found(images, targets), found(images.view(6, 1, *GREY), targets.view(6, 1, 5))
    mean = {key: value.view(2, 3, *value.shape[1:]).mean(1) for key, value in apart.items()}
    alike = all(torch.allclose(together[key], mean[key], rtol=1e-6, atol=1e-9) for key in mean)
    assert alike == (threat_of(network, shared=False) is BatchNorm.NONE) == (not batch_norms(network))

    def energy(batch: Tensor, target: Tensor) -> Tensor:
        leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
        loss = cross_entropy(functional_call(network, leaves, (batch,)), target)
        own = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        return torch.stack([value.square().sum() for value in own]).sum()

    seen = images.clone().requires_grad_()
    at_once = torch.stack([value.square().sum() for value in found(seen, targets).values()]).sum()
    (second,) = torch.autograd.grad(at_once, seen)
    each = images.clone().requires_grad_()
    (plain,) = torch.autograd.grad(sum(map(energy, each, targets), torch.zeros(())), each)
    torch.testing.assert_close(second, plain, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("chosen", "images", "clients"), [("clients=6", 24, 6), ("clients=6", 23, None), ("width=8", 20, 8)]
)
def test_a_round_takes_no_more_images_than_its_clients_have(
    chosen: str, images: int, clients: int | None
) -> None:
    schedule, source = schedule_of(f"mlp[{chosen}]"), torch.Generator().manual_seed(0)

    def batches() -> Tensor:
        return private_batches(schedule, images, batch_size=4, epochs=2, generator=source)

    if clients:
        assert batches().shape[1:] == (clients, 4) and batches().max() < images
    else:
        with pytest.raises(UsageError, match=r"clients=6.*B = 4.*23 private images.*fewer"):
            batches()


def test_every_listed_parameter_belongs_to_an_architecture_and_changes_it() -> None:
    assert set(PARAMETERS) <= set(MODELS)
    for head, parameters in PARAMETERS.items():
        plain = build_model(head, num_classes=3, image_shape=GREY)
        for name, item in parameters.items():
            other = next((v for v in item.choices if v != item.default), 4)
            changed = build_model(f"{head}[{name}={other}]", num_classes=3, image_shape=GREY)
            assert str(changed) != str(plain)
