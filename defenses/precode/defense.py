"""PRECODE: a variational bottleneck in front of the classifier (Scheliga, Maeder, Seeland, WACV 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import (
    ClientLoss,
    CrossEntropy,
    Defense,
    DefenseView,
    Gradients,
    HookContext,
    ImageSet,
    IncompatibleError,
    Observed,
)
from bench.defenses.precode.bottleneck import Bottleneck, divergence


class Precode(Defense):
    """Clients classify through a code that they draw, ``L = CE + beta * KL(N(mu, sigma^2) || N(0, 1))``."""

    def __init__(self, *, beta: float = 1e-3, size: int = 256) -> None:
        """Sets the price of a nat, and K, the numbers of the code."""
        self.beta = beta
        self.size = size

    def model(self, model: nn.Module) -> nn.Module:
        """Puts the bottleneck in front of the last linear layer.

        Raises:
            IncompatibleError: there is no linear layer.
        """
        linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise IncompatibleError("precode: the network has no nn.Linear, in front of which it could be")
        name, last = linear[-1]
        # PyTorch's constructors draw throw-away weights from the global generator, which is not ours to move.
        with torch.random.fork_rng(devices=[]):
            bottleneck = Bottleneck(last, self.size)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, bottleneck.to(last.weight.device, last.weight.dtype))
        return model

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """Draws the weights of encoder and decoder."""
        _named(model)[1].initialise(context.generator)

    def client_loss(self, images: Tensor, context: HookContext) -> ClientLoss:
        """Each image has a draw of its own, eps ``[N, B, K]``."""
        shape = (*images.shape[:2], self.size)
        drawn = torch.randn(shape, generator=context.generator, device=images.device, dtype=images.dtype)
        return ClientLoss(of_batch=self._loss, drawn=drawn)

    def _loss(
        self, model: nn.Module, images: Tensor, targets: Tensor, drawn: Tensor, cross_entropy: CrossEntropy
    ) -> Tensor:
        """The mean over the images of the cross-entropy at b = mu + sigma * eps, and of the price."""
        nats: list[Tensor] = []

        def noisy(module: nn.Module, given: tuple[Tensor, ...], scores: Tensor) -> Tensor:
            assert isinstance(module, Bottleneck)
            mean, deviation = module.code(given[0])
            nats.append(divergence(mean, deviation))
            return module.scores(mean + deviation * drawn)

        hook = _named(model)[1].register_forward_hook(noisy)
        try:
            scores = model(images)
        finally:
            hook.remove()
        if not nats:
            raise IncompatibleError("precode: the network's last nn.Linear takes no part in its scores")
        return cross_entropy(scores, targets) + self.beta * nats[0].mean()

    def view(self) -> DefenseView:
        """Layers in front of the bottleneck, and the loss at draws that are told or searched."""
        return DefenseView(
            parameters={"beta": self.beta, "size": self.size},
            transmitted=_before,
            client_loss=self._assumed,
        )

    def _assumed(self, seen: Observed) -> ClientLoss:
        """The draws of single images, which their gradients tell; those of several are to be searched."""
        if seen.threat.batch_size == 1 and seen.threat.local is None:
            return ClientLoss(of_batch=self._loss, drawn=self._read(seen)[:, None])
        mean = seen.reference.new_zeros(seen.victims, seen.threat.batch_size, self.size)
        return ClientLoss(of_batch=self._loss, drawn=mean, searched=lambda drawn: drawn)

    def _read(self, seen: Observed) -> Tensor:
        """Eps ``[N, K]`` of single images: f and b are inputs of linear layers, so dW = d f' with db = d."""
        path = _named(seen.model)[0]
        features, code = (_input_of(seen.gradients, f"{path}.{layer}") for layer in ("encoder", "decoder"))
        weight, bias = (seen.parameters[f"{path}.encoder.{kind}"].double() for kind in ("weight", "bias"))
        encoded = (weight @ features[..., None])[..., 0] + bias
        mean, spread = encoded.chunk(2, dim=-1)
        found = (code - mean) / nn.functional.softplus(spread)
        return found.nan_to_num(0.0, 0.0, 0.0).to(seen.reference)


def _input_of(gradients: Gradients, layer: str) -> Tensor:
    """What a linear layer took, ``[N, D]``, of its gradients on one image: ``dW' db / |db|^2``."""
    weight, bias = (gradients[f"{layer}.{kind}"].double() for kind in ("weight", "bias"))
    return torch.einsum("nko,nk->no", weight, bias) / bias.square().sum(1, keepdim=True)


def _before(observed: Gradients) -> Gradients:
    """The entries of the layers in front of the bottleneck: no draw decides what comes after it there."""
    names = list(observed)
    first = next((at for at, name in enumerate(names) if name.endswith(".encoder.weight")), len(names))
    return {
        name: torch.full_like(value, at < first, dtype=torch.bool)
        for at, (name, value) in enumerate(observed.items())
    }


def _named(model: nn.Module) -> tuple[str, Bottleneck]:
    """The bottleneck and its path."""
    return next((name, part) for name, part in model.named_modules() if isinstance(part, Bottleneck))
