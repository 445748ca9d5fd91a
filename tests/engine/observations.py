"""Small observations for tests: real digits, real networks, gradients computed one victim at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import Adversary, Channel, GradientObservation, ImageSet, Splits, ThreatModel
from bench.api.defense import DefenseView
from bench.models.base import VictimModel
from bench.models.build import build_model
from bench.models.resnet import ResNet18
from bench.plugins import build_dataset

DIGITS = (1, 32, 32)
NARROW = {
    "narrow_resnet": partial(ResNet18, width=4),
    "narrow_sharing_resnet": partial(ResNet18, width=4, shares_statistics=True),
}
"""Stand-ins for networks that are too large for a test."""


@cache
def digits(seed: int = 0) -> Splits:
    """The splits of mnist5k, loaded once per process: loading takes a second."""
    return build_dataset("mnist5k", {}).splits(seed=seed)


def batches(victims: int, batch_size: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Distinct digits as images ``[N, B, 1, 32, 32]`` and labels ``[N, B]``."""
    private = digits().private_train
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(private), generator=generator)[: victims * batch_size]
    return (
        private.images[index].view(victims, batch_size, *DIGITS),
        private.labels[index].view(victims, batch_size),
    )


def drawn(name: str, seed: int, shape: tuple[int, int, int] = DIGITS) -> VictimModel:
    """A network of round 0."""
    model = (
        NARROW[name](10, shape) if name in NARROW else build_model(name, num_classes=10, image_shape=shape)
    )
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def weights(name: str, seeds: list[int] | int, shape: tuple[int, int, int] = DIGITS) -> dict[str, Tensor]:
    """Weights of one network, or of one network per seed, stacked along a leading dimension."""
    if isinstance(seeds, int):
        return {k: v.detach() for k, v in drawn(name, seeds, shape).named_parameters()}
    each = [weights(name, seed, shape) for seed in seeds]
    return {k: torch.stack([one[k] for one in each]) for k in each[0]}


def plain_gradients(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    targets: Tensor,
    *,
    create_graph: bool = False,
) -> dict[str, Tensor]:
    """The gradient of ONE client as anybody would write it: no vmap, PyTorch's own cross-entropy."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in parameters.items()}
    loss = nn.functional.cross_entropy(functional_call(model, leaves, (images,)), targets)
    grads = torch.autograd.grad(loss, list(leaves.values()), create_graph=create_graph)
    return dict(zip(leaves, grads, strict=True))


def observation(
    name: str,
    images: Tensor,
    labels: Tensor,
    *,
    seeds: list[int] | int = 0,
    adversary: Adversary = Adversary.NAIVE,
    defense: DefenseView | None = None,
    auxiliary: ImageSet | None = None,
    dtype: torch.dtype = torch.float32,
) -> GradientObservation:
    """What leaves undefended clients; ``seeds``: one network for all, or a list with one per victim."""
    shape = tuple(images.shape[2:])
    model = drawn(name, 0, shape).to(dtype)
    parameters = {k: v.to(dtype) for k, v in weights(name, seeds, shape).items()}
    own = isinstance(seeds, list)
    mine = [{k: v[i] if own else v for k, v in parameters.items()} for i in range(len(images))]
    each = [plain_gradients(model, mine[i], images[i].to(dtype), labels[i]) for i in range(len(images))]
    return GradientObservation(
        threat=ThreatModel(
            channel=Channel.GRADIENTS,
            adversary=adversary,
            batch_size=images.shape[1],
            auxiliary=auxiliary is not None,
        ),
        model=model,
        parameters=parameters,
        per_victim_weights=own,
        gradients={k: torch.stack([one[k] for one in each]) for k in parameters},
        image_shape=shape,
        num_classes=10,
        ids=torch.arange(len(images)),
        defense=defense,
        auxiliary=auxiliary,
    )
