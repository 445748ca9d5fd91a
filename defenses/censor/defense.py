"""CENSOR: a release orthogonal to the gradient (Zhang et al., NDSS 2025)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from bench.api import Clients, Defense, DefenseView, Gradients, HookContext
from bench.api.gradients import rows_of_each
from bench.engine.normalisation import own_statistics

TOLERANCE = 1e-2
"""How exactly an adaptive attacker asks for a right angle (cosine) and for equal norms (their logarithm)."""
_NOTHING = 1e-3
"""Of a draw's norm: where less is orthogonal to the gradient it is rounding, as of a single number."""


class Censor(Defense):
    """Each client sends, in place of every tensor g of its gradient, a random c with c . g = 0, |c| = |g|.

    ``c = |g| o / |o|`` with ``o = xi - (xi . g) / |g|^2 g`` and xi ~ N(0, I). Of several draws it sends the
    one after whose step w - rate c its own loss is smallest (a cold posterior).
    """

    def __init__(
        self, *, draws: int = 20, rate: float = 1e-4, divisor: str = "square", otherwise: str = "best"
    ) -> None:
        """Sets how many directions a client draws, and the step by which it compares them.

        Args:
            draws: of every release.
            rate: learning rate of that step.
            divisor: of the projection: the ``square`` of the norm, or the ``norm``, as released.
            otherwise: what is sent where no draw lowers the loss: the ``best`` one, or the ``raw`` gradient.
        """
        self.draws = draws
        self.rate = rate
        self.divisor = divisor
        self.otherwise = otherwise

    def gradients(self, gradients: Gradients, context: HookContext) -> Gradients:
        """The best draw of every client, ``[N, ...]`` per parameter."""
        clients = context.clients
        assert clients is not None
        sent = self._orthogonal(gradients, context)
        least = self._losses(clients, sent)
        for _ in range(self.draws - 1):
            other = self._orthogonal(gradients, context)
            loss = self._losses(clients, other)
            sent = _where(loss < least, other, sent)
            least = torch.fmin(least, loss)
        if self.otherwise == "raw":
            still = self._losses(clients, {name: torch.zeros_like(value) for name, value in sent.items()})
            sent = _where(least < still, sent, gradients)
        return sent

    def view(self) -> DefenseView | None:
        """What is known of the gradient: its tensors' norms and, of an exact projection, a right angle."""
        parameters = {
            "draws": self.draws, "rate": self.rate, "divisor": self.divisor, "otherwise": self.otherwise
        }  # fmt: skip
        return DefenseView(parameters=parameters, negative_log_likelihood=self._negative_log_likelihood)

    def _orthogonal(self, gradients: Gradients, context: HookContext) -> dict[str, Tensor]:
        """One draw for every client."""
        sent = {}
        for name, value in gradients.items():
            rows = rows_of_each(value)
            drawn = torch.randn(rows.shape, generator=context.generator, device=rows.device, dtype=rows.dtype)
            size = rows.norm(dim=1, keepdim=True)
            unit = rows / size.clamp_min(torch.finfo(size.dtype).tiny)
            along = (drawn * unit).sum(1, keepdim=True) * unit
            left = drawn - (along if self.divisor == "square" else along * size)
            length = left.norm(dim=1, keepdim=True)
            sound = length > _NOTHING * drawn.norm(dim=1, keepdim=True)
            sent[name] = (left * torch.where(sound, size / length, 0.0)).view_as(value)
        return sent

    def _losses(self, clients: Clients, sent: Gradients) -> Tensor:
        """The loss ``[N]`` of each client's batch after a step of its own along what it would send."""
        network = own_statistics(clients.model)
        weights = {name: value.detach() for name, value in clients.weights.items()}

        def after(step: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            moved = {name: weights[name] - self.rate * value for name, value in step.items()}
            return cross_entropy(functional_call(network, {**weights, **moved}, (images,)), labels)

        with torch.no_grad():
            losses: Tensor = vmap(after)(dict(sent), clients.images, clients.labels)
        return losses

    def _negative_log_likelihood(self, candidate: Gradients, observed: Gradients) -> Tensor:
        """``sum over tensors of (cos(g, c)^2 + log(|g| / |c|)^2) / (2 tolerance^2)``, ``[N]``.

        Given g the release is uniform on the sphere of radius |g| in the space orthogonal to g: candidates
        that fulfil these equations are all equally likely, and no others are possible.
        """
        total = []
        for name, released in observed.items():
            theirs, mine = rows_of_each(released), rows_of_each(candidate[name])
            least = torch.finfo(theirs.dtype).tiny ** 0.5
            size, own = theirs.norm(dim=1).clamp_min(least), (mine.square().sum(1) + least**2).sqrt()
            gap = (own.log() - size.log()).square()
            if self.divisor == "square":
                gap = gap + (mine / own[:, None] * theirs / size[:, None]).sum(1).square()
            total.append(torch.where(size > least, gap, 0.0 * gap))
        return torch.stack(total).sum(0) / (2 * TOLERANCE**2)


def _where(rows: Tensor, left: Gradients, right: Gradients) -> dict[str, Tensor]:
    """The left tensors ``[N, ...]`` in the rows ``[N]`` that say so, else the right ones."""
    return {
        name: torch.where(rows.view(-1, *[1] * (value.dim() - 1)), left[name], value)
        for name, value in right.items()
    }
