"""Mutual-information regularisation (MID; Wang, Zhang, Jia, AAAI 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import Defense, HookContext, ImageSet, IncompatibleError
from bench.defenses.mid.bottleneck import Bottleneck, divergence


class MID(Defense):
    """The classifier learns behind a bottleneck that is paid for by the nat."""

    def __init__(self, *, beta: float = 0.03, size: int = 64) -> None:
        """Sets the price of a nat, and how many numbers the bottleneck lets through."""
        self.beta = beta
        self.size = size

    def model(self, model: nn.Module) -> nn.Module:
        """Replaces the last linear layer by a bottleneck and a new one.

        Raises:
            IncompatibleError: there is no linear layer.
        """
        linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise IncompatibleError(
                "mid: the network has no nn.Linear, in front of which a bottleneck could be"
            )
        name, last = linear[-1]
        # PyTorch's constructors draw throw-away weights from the global generator, which is not ours to move.
        with torch.random.fork_rng(devices=[]):
            bottleneck = Bottleneck(last.in_features, self.size, last.out_features)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, bottleneck.to(last.weight.device, last.weight.dtype))
        return model

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """Draws the weights of the bottleneck and of the classifier behind it."""
        _bottleneck(model).initialise(context.generator)

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """``E_z CE + beta * KL(q(z|x) || N(0, 1))``, one draw of z per image: the bound on I(X; Z)."""
        nats: list[Tensor] = []

        def noisy(module: nn.Module, given: tuple[Tensor, ...], scores: Tensor) -> Tensor:
            assert isinstance(module, Bottleneck)
            drawn, spent = module.draw(given[0], context.generator)
            nats.append(spent)
            return drawn

        hook = _bottleneck(model).register_forward_hook(noisy)
        try:
            scores = model(images)
        finally:
            hook.remove()
        if not nats:
            raise IncompatibleError("mid: the network's last nn.Linear takes no part in its scores")
        return cross_entropy(scores, labels) + self.beta * torch.cat(nats).mean()

    @torch.no_grad()
    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """Nats that the bottleneck lets through and its noise, on test images, at most 1,000 of them."""
        seen: list[tuple[Tensor, Tensor]] = []
        bottleneck = _bottleneck(model)
        hook = bottleneck.register_forward_pre_hook(lambda _, given: seen.append(bottleneck.code(given[0])))
        try:
            for images in test.images[:1000].split(250):
                model(images)
        finally:
            hook.remove()
        mean, deviation = (torch.cat(parts) for parts in zip(*seen, strict=True))
        return {"divergence": divergence(mean, deviation).mean().item(), "deviation": deviation.mean().item()}


def _bottleneck(model: nn.Module) -> Bottleneck:
    return next(layer for layer in model.modules() if isinstance(layer, Bottleneck))
