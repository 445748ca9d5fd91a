"""Soteria: a pruned representation (Sun, Li, Wang, Yang, Li, Chen, CVPR 2021)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from bench.api import Clients, Defense, DefenseView, Gradients, HookContext, IncompatibleError
from bench.engine.convolution import blocked
from bench.engine.normalisation import own_statistics

LEAST = 0.1
"""Added to |r_i|, so that features near zero do not decide."""
_AT_ONCE = 512
"""Images that are moved at a time."""


class Soteria(Defense):
    """Each client prunes the representation r = f(x) in front of one fully connected layer.

    ``max ||x - x'||  subject to  ||r - r'||_0 <= ratio F`` is solved, to first order, by setting those
    ``r_i`` to zero whose ``||r_i (dr_i/dx)^-1|| = |r_i| / ||dr_i/dx||`` is largest. The weight gradient of
    the layer, ``dl/dz r'``, then has columns of zeros; nothing else that is sent changes.
    """

    def __init__(self, *, ratio: float = 0.8, layer: int = 1, directions: int = 16) -> None:
        """Sets the share of features to prune, the layer behind them, and how ``||dr_i/dx||`` is measured."""
        self.ratio = ratio
        self.layer = layer
        self.directions = directions

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """Sets the columns of the pruned features to zero in the layer's weight gradient ``[N, O, F]``.

        Raises:
            IncompatibleError: the network has no such layer, or what it sees is not one row for each image.
        """
        name = self._defended(gradients)
        assert context.clients is not None
        sizes = self._informative(context.clients, name)
        pruned = sizes.argsort(dim=1, stable=True)[:, : round(self.ratio * sizes.shape[1])]
        kept = torch.ones_like(sizes).scatter(1, pruned, 0.0)
        return {**gradients, name: gradients[name] * kept[:, None]}

    def view(self) -> DefenseView | None:
        """Columns of zeros were not sent: an adaptive attacker matches all else."""
        parameters = {"ratio": self.ratio, "layer": self.layer, "directions": self.directions}
        return DefenseView(parameters=dict(parameters), transmitted=self._transmitted)

    def _transmitted(self, observed: Gradients) -> Gradients:
        sent = {name: torch.ones_like(value, dtype=torch.bool) for name, value in observed.items()}
        name = self._defended(observed)
        return {**sent, name: (observed[name] != 0).any(1, keepdim=True).expand_as(observed[name])}

    def _defended(self, gradients: Gradients) -> str:
        """The name of the layer's weight, counted from the last matrix."""
        ends = ".weight"
        matrices = [name for name, value in gradients.items() if value.dim() == 3 and name.endswith(ends)]
        if len(matrices) < self.layer:
            raise IncompatibleError(f"soteria: the network has no {self.layer} fully connected layer(s)")
        return matrices[-self.layer]

    def _informative(self, clients: Clients, name: str) -> Tensor:
        """``sum_b ||dr_bi/dx|| / (|r_bi| + LEAST)``, ``[N, F]``: the smallest are pruned."""
        images, path = clients.images, name.removesuffix(".weight")
        network = blocked(own_statistics(clients.model))
        weights = {key: value.detach() for key, value in clients.weights.items()}

        def moved(batch: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
            """Features ``[B, F]``; changes of them ``[k, B, F]``, as the Jacobian's transpose transposed."""
            here, pull = vjp(lambda own: _input_of(network, weights, path, own), batch)[:2]
            push = vjp(lambda errors: pull(errors)[0], torch.zeros_like(here))[1]
            return here, vmap(lambda one: push(one.expand_as(batch))[0])(along)

        size = max(1, _AT_ONCE // images.shape[:2].numel())
        parts = [vmap(moved, (0, None))(images, part) for part in self._directions(images).split(size)]
        energy = torch.stack([change.square().sum(1) for _, change in parts]).sum(0)
        return (energy.sqrt() / (parts[0][0].abs() + LEAST)).sum(1)

    def _directions(self, images: Tensor) -> Tensor:
        """Orthogonal directions ``[k, ...]`` of an image, whose ``sum (J d)^2`` is ``||J||^2`` in the mean.

        They are the same for all images, of all clients and rounds.
        """
        shape, number = images.shape[2:], self.directions
        pixels = shape.numel()
        if 0 < number < pixels:
            drawn = np.random.default_rng(0).standard_normal((pixels, number))
            rows = torch.from_numpy(np.linalg.qr(drawn)[0].T * (pixels / number) ** 0.5)
        else:
            rows = torch.eye(pixels)
        return rows.to(images).view(-1, *shape)


def _input_of(network: nn.Module, weights: Gradients, path: str, images: Tensor) -> Tensor:
    """What the linear layer at ``path`` takes, ``[B, F]`` for images ``[B, ...]``."""
    layer, seen = network.get_submodule(path), list[Tensor]()
    if not isinstance(layer, nn.Linear):
        raise IncompatibleError(f"soteria: {path} is no fully connected layer")
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        functional_call(network, dict(weights), (images,))
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].dim() != 2:
        raise IncompatibleError(f"soteria: {path} does not take one row of features for each image")
    return seen[0]
