"""The split network of PGSL: one half at the client, three streams at the server (Sections IV-B to IV-E)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import IncompatibleError
from bench.defenses.pgsl.downsample import carrier_shape, pack
from bench.defenses.pgsl.fusion import ConvolutionSum, Streams, decision
from bench.defenses.pgsl.maps import Classifier
from bench.defenses.pgsl.recovery import Recovery
from bench.defenses.pgsl.surrogate import Surrogate
from bench.models.split import Loss, SplitModel


class ThreeStreams(nn.Module):
    """The server's half: a stream on the attacked, one on the recovered, one on the fused activations."""

    def __init__(
        self, heads: tuple[nn.Module, nn.Module, nn.Module], channels: int, recovery: Recovery
    ) -> None:
        """Takes three networks ``activations [M, Z, h, w] -> scores [M, K]``, in the order of ``Streams``."""
        super().__init__()
        self.attacked, self.recovered, self.fused = heads
        self.fusion = ConvolutionSum(channels)
        self.recovery = recovery

    def streams(self, activations: Tensor, *, still: Tensor | None = None) -> Streams:
        """The three streams' scores.

        Args:
            activations: ``[M, Z, h, w]``.
            still: the same values, and all that the attacked and the recovered stream see in the training:
                only the fused stream passes a gradient on to the activations.
        """
        fixed = activations.detach() if still is None else still
        found = self.recovery(fixed)
        recovered = self.recovery.passed(activations, found, fixed)
        fused = self.fused(self.fusion(activations, recovered))
        if still is None:
            return Streams(self.attacked(activations), self.recovered(recovered), fused)
        return Streams(self.attacked(still), self.recovered(found), fused)

    def forward(self, activations: Tensor) -> Tensor:
        """The fused decision, log-probabilities ``[M, K]``."""
        return decision(self.streams(activations))


class PGSLNetwork(SplitModel):
    """A split network whose client takes carriers, and the client's own surrogate.

    Attributes:
        client: carriers ``[M, 4C+1, H/2, W/2]`` -> activations ``[M, Z, h, w]``.
        server: activations -> log-probabilities ``[M, K]``.
        surrogate: the client's classifier; it is part of neither half, and never leaves the client.
        carrier_shape: (4C+1, H/2, W/2).
    """

    server: ThreeStreams

    def __init__(self, plain: SplitModel, recovery: Recovery) -> None:
        """Remakes an undefended network for carriers of its images.

        Raises:
            IncompatibleError: the images have odd sides, or what leaves the client are no feature maps.
        """
        super().__init__()
        self.num_classes = plain.num_classes
        self.image_shape = plain.image_shape
        self.carrier_shape = carrier_shape(plain.image_shape)
        self._draft = partial(plain.remade, self.carrier_shape)
        first, *others = (self._draft() for _ in Streams._fields)
        with torch.no_grad():
            sent = first.client(torch.zeros(1, *self.carrier_shape))
        if sent.ndim != 4:
            raise IncompatibleError("pgsl fuses feature maps, and the client's half sends none")
        self.client = first.client
        heads = (first.server, others[0].server, others[1].server)
        with torch.random.fork_rng(devices=[]):
            self.server = ThreeStreams(heads, sent.shape[1], recovery)
            self.surrogate = Surrogate(plain.num_classes, plain.image_shape).requires_grad_(False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draws the client and the attacked stream as one plain network, then the rest."""
        device = next(self.client.parameters()).device
        for turn, head in enumerate((self.server.attacked, self.server.recovered, self.server.fused)):
            draft = self._draft().to(device)
            draft.initialise(generator)
            head.load_state_dict(draft.server.state_dict())
            if turn == 0:
                self.client.load_state_dict(draft.client.state_dict())
        self.server.fusion.initialise(generator)
        self.surrogate.initialise(generator)

    def embed(self, images: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` as carriers of unchanged images and no map; carriers stay as they are."""
        if tuple(images.shape[1:]) == self.carrier_shape:
            return images
        return pack(images, torch.zeros_like(images))

    def map_source(self, source: str) -> Classifier:
        """Whose gradients make maps: the client's ``surrogate``, or both halves as they stand (``joint``)."""
        return self.surrogate if source == "surrogate" else self.logits

    def logits(self, images: Tensor) -> Tensor:
        """Scores ``[M, K]`` of the fused stream for images without a map: what a joint map differentiates."""
        return self.server.streams(self.client(self.embed(images))).fused

    def training_loss(
        self, activations: Tensor, targets: Tensor, *, still: Tensor | None = None, loss: Loss = cross_entropy
    ) -> Tensor:
        """The streams' losses together; only the fused one's gradient reaches the client."""
        fixed = activations.detach() if still is None else still
        streams = self.server.streams(activations, still=fixed)
        return torch.stack([loss(scores, targets) for scores in streams]).sum()
