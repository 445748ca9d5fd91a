"""The published loops: one victim at a time, PyTorch's own optimisers. What the engine is measured against.

Written from the papers: DLG (Zhu et al. 2019, Algorithm 1), iDLG (Zhao et al. 2020, Algorithm 1), Inverting
Gradients (Geiping et al. 2020, Section 5), GGL (Li et al. 2022, Eq. 3) and rMLE (He et al. 2019, Section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Found:
    """One victim's reconstruction and what it took."""

    image: Tensor
    evaluations: int


def dummy_gradient(model: nn.Module, weights: Weights, image: Tensor, target: Tensor) -> list[Tensor]:
    """The gradient of the dummy batch, differentiable in it."""
    loss = nn.functional.cross_entropy(functional_call(model, weights, (image,)), target)
    return list(torch.autograd.grad(loss, list(weights.values()), create_graph=True))


def leaves(weights: Weights) -> Weights:
    """The weights as a training client holds them."""
    return {name: value.detach().clone().requires_grad_() for name, value in weights.items()}


def lbfgs_loop(
    model: nn.Module,
    weights: Weights,
    observed: Sequence[Tensor],
    shape: tuple[int, ...],
    *,
    label: Tensor | None,
    budget: int,
    seed: int,
    goal: float = 1e-6,
) -> Found:
    """DLG (``label`` None) and iDLG: L-BFGS, step one, no line search, history 100, to a loss of 1e-6."""
    generator = torch.Generator().manual_seed(seed)
    device = observed[0].device  # drawn on the CPU, so that every device starts at the same point
    image = torch.randn(1, *shape, generator=generator).to(device).requires_grad_()
    logits = torch.randn(1, 10, generator=generator).to(device).requires_grad_()
    unknowns = [image, logits] if label is None else [image]
    optimiser = torch.optim.LBFGS(unknowns, lr=1, history_size=100)
    weights, spent, last = leaves(weights), 0, torch.inf

    def closure() -> Tensor:
        nonlocal spent, last
        spent += 1
        optimiser.zero_grad()
        target = logits.softmax(-1) if label is None else label
        dummy = dummy_gradient(model, weights, image, target)
        loss = sum(((mine - seen) ** 2).sum() for mine, seen in zip(dummy, observed, strict=True))
        assert isinstance(loss, Tensor)
        loss.backward(inputs=unknowns)
        last = loss.item()
        return loss

    while spent < budget and last > goal:
        before = spent
        optimiser.step(closure)  # up to 20 evaluations
        if last != last or spent - before <= 1:  # not a number, or the optimiser has given up
            break
    return Found(image.detach(), spent)


def signed_adam_loop(
    model: nn.Module,
    weights: Weights,
    observed: Sequence[Tensor],
    shape: tuple[int, ...],
    *,
    label: Tensor,
    iterations: int,
    seed: int,
) -> Found:
    """Inverting Gradients: Adam on the sign, cosine, total variation, box after every step."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, *shape, generator=generator).clamp(0, 1).to(observed[0].device).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.1)
    steps = [iterations * share // 8 for share in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, steps, gamma=0.1)
    weights, norm = leaves(weights), torch.cat([seen.flatten() for seen in observed]).norm()
    for _ in range(iterations):
        optimiser.zero_grad()
        distance = cosine_distance(dummy_gradient(model, weights, image, label), observed, norm)
        sideways = (image[..., 1:] - image[..., :-1]).abs().mean()
        down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
        (distance + 1e-3 * (sideways + down)).backward(inputs=[image])
        assert image.grad is not None
        image.grad.sign_()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return Found(image.detach(), iterations)


def cosine_distance(dummy: Sequence[Tensor], observed: Sequence[Tensor], norm: Tensor) -> Tensor:
    """One minus the cosine of all gradients together; ``norm`` is that of the observed ones."""
    product = torch.stack([(a * b).sum() for a, b in zip(dummy, observed, strict=True)]).sum()
    length = torch.stack([a.square().sum() for a in dummy]).sum().sqrt()
    return 1 - product / (length * norm)


def latent_loop(
    model: nn.Module,
    weights: Weights,
    observed: Sequence[Tensor],
    decoder: nn.Module,
    latent_size: int,
    *,
    label: Tensor,
    iterations: int,
    seed: int,
) -> Found:
    """GGL: Adam on one latent, cosine and the divergence of the latent's moments from a standard normal."""
    start = torch.randn(1, latent_size, generator=torch.Generator().manual_seed(seed))
    latent = start.to(observed[0].device).requires_grad_()
    optimiser = torch.optim.Adam([latent], lr=0.1)
    weights, norm = leaves(weights), torch.cat([seen.flatten() for seen in observed]).norm()
    for _ in range(iterations):
        optimiser.zero_grad()
        dummy = dummy_gradient(model, weights, decoder(latent), label)
        variance = latent.var(unbiased=False)
        divergence = (latent.mean().square() + variance - variance.log() - 1) / 2
        (cosine_distance(dummy, observed, norm) + 0.01 * divergence).backward(inputs=[latent])
        optimiser.step()
    with torch.no_grad():
        return Found(decoder(latent), iterations)


def activation_loop(client: nn.Module, seen: Tensor, shape: tuple[int, ...], *, iterations: int) -> Found:
    """rMLE: Adam with AMSGrad from a grey image, squared error of the activations and total variation."""
    image = seen.new_full((1, *shape), 0.5).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.1, amsgrad=True)
    energy = seen.square().sum()
    for _ in range(iterations):
        optimiser.zero_grad()
        sideways = (image[..., 1:] - image[..., :-1]).abs().mean()
        down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
        error = (client(image) - seen).square().sum() / energy
        (error + 1e-3 * (sideways + down)).backward(inputs=[image])
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return Found(image.detach(), iterations)


def evaluation(
    model: nn.Module, weights: Weights, observed: Sequence[Tensor], image: Tensor, target: Tensor
) -> Callable[[], None]:
    """One matching-gradient evaluation of one victim, as a function to be timed."""
    weights = leaves(weights)
    image, target = image.clone().requires_grad_(), target.clone().requires_grad_()

    def once() -> None:
        dummy = dummy_gradient(model, weights, image, target)
        gaps = [((mine - seen) ** 2).sum() for mine, seen in zip(dummy, observed, strict=True)]
        torch.autograd.grad(torch.stack(gaps).sum(), [image, target])

    return once
