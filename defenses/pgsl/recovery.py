"""Recovery of the attacked activations at the server by a proximal gradient method (Section IV-C)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Minimises F(M) = lambda ||M||_* + 1/2 ||z - M||^2 over the activations M of each sample (Eqs. 4, 5).

    The iteration M <- SVT(M + mu (z - M), mu lambda) (Eq. 6) starts at zero. Its fixed point SVT(z, lambda)
    does not depend on the step mu, which therefore cancels at convergence.

    Attributes:
        mode: ``low_rank``: M; ``residual``: z - M; ``identity``: z.
        threshold: lambda.
        threshold_scale: ``relative`` to the largest singular value of z, or ``absolute``.
        mu: the step, in (0, 1].
        iterations: how often Eq. 6 is applied.
        differentiation: ``straight_through``: the gradient passes as if the recovery were the identity;
            ``none``: it does not pass.
    """

    mode: str
    threshold: float
    threshold_scale: str
    mu: float
    iterations: int
    differentiation: str

    def __call__(self, activations: Tensor) -> Tensor:
        """The recovered activations ``[M, *Z]``; a sample is the matrix of its channels by its pixels.

        Its true derivative, which the training does not use (see :meth:`passed`), is there for an attacker.
        """
        if self.mode == "identity":
            return activations
        matrices = activations.flatten(2) if activations.ndim > 2 else activations[:, None]
        low_rank = self.low_rank(matrices).view_as(activations)
        return low_rank if self.mode == "low_rank" else activations - low_rank

    def passed(self, activations: Tensor, found: Tensor, still: Tensor) -> Tensor:
        """``found`` with the derivative that the training uses.

        Args:
            activations: z, ``[M, *Z]``.
            found: the recovered activations.
            still: the values of z, from which ``found`` was computed.
        """
        return activations + (found - still) if self.differentiation == "straight_through" else found

    def low_rank(self, matrices: Tensor) -> Tensor:
        """The last iterate M for each matrix z of ``[M, rows, columns]``.

        Every iterate has the singular vectors of z, so that one decomposition serves all iterations. It comes
        from the smaller Gram matrix: z = U S V' gives z z' = U S^2 U' and M = U diag(m / s) U' z.
        """
        wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.transpose(1, 2)
        # Double precision: squaring halves the digits. A diverged network must give NaN, not an error.
        exact = wide.double().nan_to_num(0.0, 0.0, 0.0)
        gram = exact @ exact.mT
        # Equal eigenvalues, as of silent channels, have no derivative: 1e-12 of their sum keeps them apart.
        ranks = torch.linspace(0, 1e-12, gram.shape[1], dtype=gram.dtype, device=gram.device)
        size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
        squares, vectors = torch.linalg.eigh(gram + torch.diag_embed(size[:, None] * ranks))
        singular = squares.clamp_min(0).sqrt()
        kept = self.shrink(singular) / torch.where(singular > 0, singular, 1.0)
        smooth = (vectors * kept[:, None]) @ vectors.mT
        found: Tensor = smooth.to(wide.dtype) @ wide
        return found if matrices.shape == wide.shape else found.transpose(1, 2)

    def shrink(self, singular: Tensor) -> Tensor:
        """The singular values of the last iterate for those of z, ``[M, rank]`` (Eq. 6)."""
        level = singular.new_full((len(singular), 1), self.threshold)
        if self.threshold_scale == "relative":
            level = level * singular.amax(1, keepdim=True)
        found = torch.zeros_like(singular)
        for _ in range(self.iterations):
            found = (found + self.mu * (singular - found) - self.mu * level).clamp_min(0)
        return found
