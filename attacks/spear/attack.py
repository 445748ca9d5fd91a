"""SPEAR (Dimitrov, Baader, Müller, Vechev, NeurIPS 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.api import Attack, GradientObservation, Reconstruction
from bench.api.attack import per_victim
from bench.attacks.spear.directions import Candidates, greedy
from bench.attacks.spear.factors import Factors, completed, factorised
from bench.attacks.spear.layers import Layer, labels_of
from bench.engine import Euclidean, Objective, Pixels, adaptive_loss


class Spear(Attack):
    """Splits the gradient of a fully connected first layer with ReLU into those of the images."""

    def __init__(
        self,
        *,
        draws: int = 4_000,
        rounds: int = 50,
        rare_first: bool = True,
        tolerance: float = 6.0,
        agreement: float = 0.995,
        completion: int = 100,
    ) -> None:
        """Sets how many submatrices are drawn, what counts as zero, and when a batch is found."""
        self.draws, self.rounds, self.rare_first = draws, rounds, rare_first
        self.tolerance, self.agreement, self.completion = tolerance, agreement, completion

    @per_victim
    def reconstruct(self, observation: GradientObservation, *, budget: int, seed: int) -> Reconstruction:
        """Reads the images off the first layer; the batch's own gradient is the only evaluation.

        Raises:
            IncompatibleError: the network does not begin with a fully connected layer and a ReLU.
        """
        layer = Layer.of(observation)
        clean = {name: value.nan_to_num(0.0, 0.0, 0.0) for name, value in observation.gradients.items()}
        seen = replace(observation, gradients=clean)
        inputs = self._inputs(seen, layer, seed)
        found = layer.images(inputs).nan_to_num(0.5, 1.0, 0.0).clamp(0, 1)
        missing = observation.batch_size - len(found)
        typical = found.mean(0, keepdim=True) if len(found) else torch.full_like(layer.shift, 0.5)[None]
        rows = torch.cat([found, typical.expand(missing, -1)])
        images = rows.view(1, -1, *observation.image_shape).to(observation.reference.dtype)
        labels = labels_of(seen, images)
        labels[:, len(found) :] = -1
        objective = Objective(seen, Pixels.of(seen, labels), adaptive_loss(seen, Euclidean))
        with torch.no_grad():
            cost = objective.costs(images.flatten(1))
        return Reconstruction(
            images=images.float(), cost=cost, evaluations=torch.ones_like(observation.ids), labels=labels
        )

    def _inputs(self, seen: GradientObservation, layer: Layer, seed: int) -> Tensor:
        """The inputs of the layer, ``[b, n]``."""
        weight = seen.gradients[f"{layer.name}.weight"][0].double()
        bias = seen.gradients[f"{layer.name}.bias"][0].double()
        told = torch.ones_like(bias, dtype=torch.bool)
        view = seen.defense
        if view is not None and view.transmitted is not None:
            sent = view.transmitted(seen.gradients)
            told = sent[f"{layer.name}.bias"][0]
            entries = sent[f"{layer.name}.weight"][0]
            if not entries.all():
                weight = completed(weight, entries, seen.batch_size, steps=self.completion)
        factors = factorised(weight, seen.batch_size)
        if not factors.rank:
            return weight.new_zeros(0, weight.shape[1])
        batch = _Batch.of(factors, layer, bias, told)
        if factors.rank < 2:
            return batch.inputs(torch.ones(factors.rank, factors.rank).to(weight))
        search = Candidates.of(factors, self.tolerance, activation=batch.activation, rare=self.rare_first)
        return batch.inputs(self._columns(search, batch, torch.Generator().manual_seed(seed)))

    def _columns(self, search: Candidates, batch: _Batch, generator: torch.Generator) -> Tensor:
        """Q', ``[b, b]``: the directions whose zeros agree best with the ReLU."""
        size = batch.factors.rank
        pool, best, most = torch.eye(size).to(search.rows), torch.eye(size).to(search.rows), -1.0
        for _ in range(self.rounds if len(search.rows) >= size else 0):
            pool = search.renewed(pool, self.draws, generator)
            chosen = greedy(pool)
            if len(chosen) < size:
                continue
            chosen, reached = batch.swapped(pool, chosen, self.tolerance)
            if reached > most:
                best, most = pool[chosen], reached
            if batch.compared(best, self.tolerance)[1] >= self.agreement:
                break
        return best


@dataclass(frozen=True)
class _Batch:
    """What follows from directions: scales, inputs, and how well they agree with the ReLU.

    Attributes:
        factors: of dL/dW.
        layer: the first one.
        bias: ``U^+ dL/db``, ``[b]``.
        outputs: ``S V' W'``, ``[b, m]``.
    """

    factors: Factors
    layer: Layer
    bias: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, factors: Factors, layer: Layer, bias: Tensor, told: Tensor) -> _Batch:
        """Of the gradients of a layer, where the told entries of that of the bias were sent."""
        scaled = (bias / factors.noise)[told]
        solved = torch.linalg.pinv(factors.left[told]) @ scaled
        return cls(factors, layer, solved, (factors.right * factors.values).T @ layer.weight.T)

    @property
    def activation(self) -> Tensor:
        """W x + c of a typical input x, ``[m]``: the weighted mean for which dL/dW is nearest dL/db x'."""
        weights = self.bias / self.bias.square().sum().clamp_min(1e-30)
        return weights @ self.outputs + self.layer.bias

    def scales(self, inverse: Tensor) -> Tensor:
        """Scale of each column, ``[..., b]``: ``U Q 1 = dL/db``."""
        found = inverse @ self.bias
        least = 1e-12 * found.abs().amax(-1, keepdim=True).clamp_min(1e-30)
        return torch.where(found.abs() < least, least, found)

    def inputs(self, columns: Tensor) -> Tensor:
        """X', ``[b, n]``: ``Q^-1 S V'`` for the directions ``[b, b]``, as rows."""
        # Directions that are no numbers name no image; the search goes on, or ends with the mean.
        inverse = torch.linalg.pinv(columns.T.nan_to_num(0.0, 0.0, 0.0))
        solved = inverse @ (self.factors.right * self.factors.values).T
        result: Tensor = solved / self.scales(inverse)[:, None]
        return result

    def compared(self, columns: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """How well the zeros of dL/dZ agree with the ReLU, for directions ``[..., b, b]`` as rows.

        Returns:
            The share of all entries that are zero just where Z is not positive, and that of
            the entries other than zero where Z is positive, ``[...]``. Only the second is one for the truth
            on a trained network: units whose outputs count for nothing have zeros where Z is positive.
        """
        inverse = torch.linalg.inv_ex(columns.mT).inverse.nan_to_num(0.0, 0.0, 0.0)
        outputs = (inverse @ self.outputs) / self.scales(inverse)[..., None] + self.layer.bias
        noise = tolerance * self.factors.spread(columns)[..., None]
        other, positive = (columns @ self.factors.left.T).abs() > noise, outputs > 0
        sound = (other & positive).sum((-1, -2)) / other.sum((-1, -2)).clamp_min(1)
        return (other == positive).double().mean((-1, -2)), sound

    def swapped(self, pool: Tensor, chosen: Tensor, tolerance: float) -> tuple[Tensor, float]:
        """Exchanges directions for others of the pool while the agreement rises (second greedy stage)."""
        reached = float(self.compared(pool[chosen], tolerance)[0])
        for place in range(len(chosen)):
            tried = chosen.repeat(len(pool), 1)
            tried[:, place] = torch.arange(len(pool), device=chosen.device)
            shares = self.compared(pool[tried], tolerance)[0]
            if float(shares.max()) > reached:
                chosen, reached = tried[int(shares.argmax())], float(shares.max())
        return chosen, reached
