"""Transfer learning against model inversion (TL-DMI; Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from bench.api import Defense, HookContext, ImageSet, IncompatibleError


class TransferLearning(Defense):
    """Only the last layers see private images; those in front learn from public ones and are frozen.

    Section 3: ``theta = theta_T, theta_C``. Stage 1 minimises the cross-entropy of public images over theta;
    stage 2 that of private images over theta_C alone, the last layers.
    """

    def __init__(
        self, *, frozen: float = 0.75, epochs: float = 20.0, rate: float = 4e-3, batch: int = 32
    ) -> None:
        """Sets the share of layers that are frozen, and the training on public images."""
        self.frozen = frozen
        self.epochs = epochs
        self.rate = rate
        self.batch = batch

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """Stage 1: everything learns from public images, the head starts anew, theta_T is frozen.

        Raises:
            IncompatibleError: there are no public images, or there is one layer only.
        """
        if context.public is None:
            raise IncompatibleError("tl_dmi: the front layers learn from public images, and there are none")
        layers = weighted(model)
        if len(layers) < 2:
            raise IncompatibleError("tl_dmi: the network has no two layers with weights to part")
        head = {name: value.clone() for name, value in layers[-1].state_dict().items()}
        self._pretrain(model, context.public, context.generator)
        layers[-1].load_state_dict(head)
        first = layers[min(len(layers) - 1, int(self.frozen * len(layers)))]
        for module in model.modules():
            if module is first:
                break
            for value in module.parameters(recurse=False):
                value.requires_grad_(False)

    def _pretrain(self, model: nn.Module, public: ImageSet, generator: torch.Generator) -> None:
        """AdamW with a rate that falls to zero, on batches drawn with replacement."""
        steps, device = max(1, int(self.epochs * len(public) / self.batch)), public.images.device
        optimiser = torch.optim.AdamW(model.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        drawn = torch.randint(len(public), (steps, self.batch), generator=generator, device=device)
        model.train()
        # Dropout draws from the global state, which is not ours to move.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=device)))
            for batch in drawn.unbind():
                optimiser.zero_grad()
                cross_entropy(model(public.images[batch]), public.labels[batch]).backward()
                optimiser.step()
                schedule.step()
        optimiser.zero_grad()

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """Stage 2: the cross-entropy; running statistics of frozen layers stay those of public images."""
        for module in front(model):
            if isinstance(module, _BatchNorm):
                module.eval()
        return cross_entropy(model(images), labels)

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """The share of the weights that private images have moved."""
        sizes = [(value.numel(), value.requires_grad) for value in model.parameters()]
        return {"trained_share": sum(n for n, moves in sizes if moves) / sum(n for n, _ in sizes)}


def weighted(model: nn.Module) -> list[nn.Module]:
    """Convolutions, linear layers and the like, in the order of their definition; norms belong to them."""
    return [
        module
        for module in model.modules()
        if any(value.dim() > 1 for value in module.parameters(recurse=False))
    ]


def front(model: nn.Module) -> Iterator[nn.Module]:
    """The modules before the first one with a weight that is trained."""
    for module in model.modules():
        if any(value.requires_grad for value in module.parameters(recurse=False)):
            return
        yield module
