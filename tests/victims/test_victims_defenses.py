"""The defenses do what their cards declare, to the entry and to the standard deviation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import Channel, Defense, DefenseView, FederatedTraining, Gradients, HookContext, ImageSet
from bench.api.threat import LocalTraining
from bench.channels import channel as channel_of
from bench.models.build import build_model
from bench.plugins import build_defense
from bench.victims.split import build_split
from bench.victims.splitfed import train_splitfed
from bench.victims.training import train_victim
from tests.engine.observations import DIGITS

from .small import digits_source, few

CLIENTS = 3


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=1)


def gradients(seed: int, *shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{i}": torch.randn(CLIENTS, *shape, generator=generator) * 10**i
        for i, shape in enumerate(shapes)
    }


SHAPES = ((12, 1, 5, 5), (12,), (10, 768), (7,), (1,))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.7, 0.9, 0.99, 0.999, 1.0])
def test_pruning_sends_exactly_the_largest_entries_of_each_tensor_of_each_client(ratio: float) -> None:
    plain = gradients(0, *SHAPES)
    sent = build_defense("pruning", {"ratio": ratio}).gradients(plain, context())
    for name, value in plain.items():
        entries = value[0].numel()
        kept = max(1, round((1 - ratio) * entries))
        for mine, left in zip(value.flatten(1), sent[name].flatten(1), strict=True):
            assert left.count_nonzero() == kept
            assert torch.equal(left[left != 0], mine[left != 0])
            if kept < entries:
                assert mine[left != 0].abs().min() >= mine[left == 0].abs().max()


def test_pruning_ties_do_not_send_more() -> None:
    sent = build_defense("pruning", {"ratio": 0.75}).gradients({"w": torch.ones(2, 4, 4)}, context())
    assert sent["w"].flatten(1).count_nonzero(1).tolist() == [4, 4]


def by_sorting(rows: Tensor, kept: int) -> Tensor:
    """What is left of the rows by the order of their magnitudes, found one entry after another."""
    sent = torch.zeros_like(rows)
    for row, left in zip(rows, sent, strict=True):
        order = sorted(range(len(row)), key=lambda at, row=row: -abs(row[at].item()))  # type: ignore[misc]
        left[order[:kept]] = row[order[:kept]]
    return sent


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("zeros", [0, 200, 350])
def test_pruning_is_that_of_a_sort_also_where_most_entries_are_zero(zeros: int, dtype: torch.dtype) -> None:
    rows = gradients(2, (400,))["layer0"].to(dtype)
    rows[:, torch.randperm(400, generator=torch.Generator().manual_seed(0))[:zeros]] = 0
    sent = build_defense("pruning", {"ratio": 0.7}).gradients({"w": rows.view(-1, 20, 20)}, context())["w"]
    assert torch.equal(sent.flatten(1), by_sorting(rows, 120))


def test_pruning_of_equal_magnitudes_sends_as_many_as_of_others() -> None:
    rows = torch.tensor([[3.0, -2.0, 2.0, 2.0, 1.0, 0.0], [6.0, 5.0, -4.0, 3.0, 2.0, 1.0]])
    sent = build_defense("pruning", {"ratio": 0.5}).gradients({"w": rows}, context())["w"]
    assert sent.count_nonzero(1).tolist() == [3, 3]
    assert sent[0].abs().sum() == 7 and sent[1].tolist() == [6, 5, -4, 0, 0, 0]


def test_pruning_does_not_hide_that_a_client_diverged() -> None:
    rows = torch.tensor([[float("nan"), 1.0, 2.0, 3.0], [float("inf"), -float("inf"), 1.0, 2.0]])
    for ratio in (0.25, 0.5, 0.75):
        sent = build_defense("pruning", {"ratio": ratio}).gradients({"w": rows}, context())["w"]
        assert not sent[0].isfinite().all() and not sent[1].isfinite().all()


def test_pruning_shows_the_adaptive_attacker_what_was_sent() -> None:
    defense = build_defense("pruning", {"ratio": 0.9})
    sent = defense.gradients(gradients(1, *SHAPES), context())
    view = defense.view()
    assert view is not None and view.transmitted is not None and view.negative_log_likelihood is None
    mask = view.transmitted(sent)
    assert all(torch.equal(mask[name], value != 0) for name, value in sent.items())


@pytest.mark.parametrize("sigma", [1e-3, 0.3])
@pytest.mark.parametrize(("distribution", "kurtosis"), [("gaussian", 3.0), ("laplace", 6.0)])
def test_noise_has_the_declared_deviation_and_shape(sigma: float, distribution: str, kurtosis: float) -> None:
    plain = {"w": torch.zeros(2, 400, 500), "b": torch.ones(2, 50)}
    defense = build_defense("noise", {"sigma": sigma, "distribution": distribution})
    sent = defense.gradients(plain, context())
    error = (sent["w"] - plain["w"]).double().flatten() / sigma
    # 400,000 draws: the deviation's own error is below 0.2 % (Laplace), the fourth moment's below 3 %.
    assert abs(error.mean().item()) < 0.01
    assert error.std().item() == pytest.approx(1, abs=0.01)
    assert error.pow(4).mean().item() == pytest.approx(kurtosis, rel=0.1)
    assert (sent["b"] != plain["b"]).all()


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_noise_of_clients_layers_and_rounds_is_independent(distribution: str) -> None:
    defense = build_defense("noise", {"sigma": 1.0, "distribution": distribution})
    zeros = {"a": torch.zeros(2, 10000), "b": torch.zeros(2, 10000)}
    where = context()
    rows = torch.cat([v for _ in range(2) for v in defense.gradients(zeros, where).values()])
    off_diagonal = torch.corrcoef(rows) - torch.eye(len(rows))
    assert off_diagonal.abs().max() < 0.05


@pytest.mark.parametrize("sigma", [0.01, 0.5])
@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_the_view_of_noise_is_its_density(distribution: str, sigma: float) -> None:
    """Up to a constant, hence as the difference of two candidates."""
    view = build_defense("noise", {"sigma": sigma, "distribution": distribution}).view()
    assert view is not None and view.negative_log_likelihood is not None
    observed, one, two = ({k: v.double() for k, v in gradients(s, (3, 4), (5,)).items()} for s in (0, 1, 2))

    def reference(candidate: dict[str, Tensor]) -> Tensor:
        parts = []
        for name, value in candidate.items():
            scale = torch.tensor(sigma, dtype=torch.float64)
            density: torch.distributions.Distribution = (
                torch.distributions.Normal(value, scale)
                if distribution == "gaussian"
                else torch.distributions.Laplace(value, scale / 2**0.5)
            )
            parts.append(-density.log_prob(observed[name]).flatten(1).sum(1))
        return torch.stack(parts).sum(0)

    got = view.negative_log_likelihood(one, observed) - view.negative_log_likelihood(two, observed)
    torch.testing.assert_close(got, reference(one) - reference(two), rtol=1e-9, atol=1e-6)


def test_the_view_is_differentiable_in_the_candidate() -> None:
    view = build_defense("noise", {"sigma": 0.1}).view()
    assert view is not None and view.negative_log_likelihood is not None
    observed = gradients(0, (4,))
    leaf = {k: v.clone().requires_grad_() for k, v in gradients(1, (4,)).items()}
    view.negative_log_likelihood(leaf, observed).sum().backward()
    want = (leaf["layer0"] - observed["layer0"]).detach() / 0.1**2
    torch.testing.assert_close(leaf["layer0"].grad, want)


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_noise_without_strength_has_no_view(distribution: str) -> None:
    assert build_defense("noise", {"sigma": 0.0, "distribution": distribution}).view() is None


class OfExamples(Defense):
    """Sends the mean of the gradients of single images in place of the batch's."""

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        assert context.clients is not None
        return {name: value.mean(1) for name, value in context.clients.of_examples().items()}


@pytest.mark.parametrize("model", ["lenet", "split_lenet"])
def test_the_hook_on_gradients_can_ask_for_those_of_single_images(model: str) -> None:
    network = (
        build_split(model, num_classes=10, image_shape=DIGITS, defense=Defense())
        if model.startswith("split")
        else build_model(model, num_classes=10, image_shape=DIGITS)
    )
    network.initialise(torch.Generator().manual_seed(0))
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    channel = channel_of(Channel.GRADIENTS)
    plain, mean = (
        channel.release(digits_source(model, parameters, defense=hooks, batch_size=3)).sent
        for hooks in (Defense(), OfExamples())
    )
    for name, value in plain.items():
        assert torch.allclose(mean[name], value, atol=1e-6 * value.abs().max().item() + 1e-9)


def test_an_adaptive_attacker_knows_the_hooks_themselves() -> None:
    noise = build_defense("noise", {"sigma": 0.5})
    seen = noise.known()
    assert seen is not None and seen.hooks is noise and Defense().known() is None


class Notes(Defense):
    """Keeps what its hooks are told."""

    def __init__(self) -> None:
        self.local: LocalTraining | None = None
        self.federated: FederatedTraining | None = None
        self.state: dict[str, Tensor] = {}

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        assert context.clients is not None
        self.local = context.clients.local
        return gradients

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        self.federated, self.state = context.federated, dict(model.named_parameters())
        return {"images": float(len(test))}

    def view_of(self, batch_size: int) -> DefenseView | None:
        return DefenseView(parameters={"images": batch_size})


@pytest.mark.parametrize("model", ["lenet", "lenet[cut=2]"])
def test_a_federation_tells_its_defense_how_it_was_trained(model: str) -> None:
    hooks, train = Notes(), train_splitfed if "cut" in model else train_victim
    victim = train(
        model=model, splits=few(40), num_classes=10, image_shape=DIGITS, defense=hooks, batch_size=4,
        epochs=2, seed=0, device=torch.device("cpu"),
    )  # fmt: skip
    done = hooks.federated
    assert done is not None
    assert (done.rounds, done.clients, done.batch_size, done.images) == (2, 8, 4, 40)
    assert victim.details == {"images": 40.0} and victim.rounds == 2
    for name, value in hooks.state.items():
        assert torch.equal(value, victim.trained[name])


def test_how_often_an_image_is_used_counts_squares_where_two_passes_meet() -> None:
    passes = torch.tensor([0, 1, 2, 3, 4, 5, 5, 0, 1, 2, 3, 4])
    apart = FederatedTraining.on(torch.arange(12).view(3, 2, 2) % 6, 6)
    assert (apart.releases_of_one, apart.rounds_of_one) == (2, 2)
    other_clients = FederatedTraining.on(passes.view(3, 2, 2), 6)
    assert (other_clients.releases_of_one, other_clients.rounds_of_one) == (2, 4)
    one_client = FederatedTraining.on(passes.view(3, 1, 4), 6)
    assert (one_client.releases_of_one, one_client.rounds_of_one) == (4, 4)


def test_clients_say_that_they_took_local_steps() -> None:
    network = build_model("lenet", num_classes=10, image_shape=DIGITS)
    network.initialise(torch.Generator().manual_seed(0))
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    hooks = Notes()
    for model, steps in (("lenet", None), ("lenet[local_epochs=3]", 3)):
        channel_of(Channel.GRADIENTS).release(digits_source(model, parameters, defense=hooks))
        assert (None if hooks.local is None else hooks.local.epochs) == steps


def test_what_is_known_of_a_defense_may_depend_on_the_batch_size() -> None:
    seen = Notes().known(4)
    assert seen is not None and seen.parameters == {"images": 4}
    assert (known := build_defense("noise", {"sigma": 0.5}).known(4)) is not None
    assert known.parameters["sigma"] == 0.5
