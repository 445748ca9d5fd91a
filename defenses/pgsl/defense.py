"""Proximal Gradient Split Learning (Khowaja et al. 2023): clients attack their images, servers recover."""

from __future__ import annotations

from torch import Tensor, nn

from bench.api import Defense, DefenseView, HookContext, ImageSet, IncompatibleError, Phase
from bench.defenses.pgsl.downsample import attacked_of
from bench.defenses.pgsl.maps import MapRule, chosen_labels
from bench.defenses.pgsl.measured import measured
from bench.defenses.pgsl.network import PGSLNetwork
from bench.defenses.pgsl.recovery import Recovery
from bench.defenses.pgsl.surrogate import train_surrogate
from bench.defenses.pgsl.transform import PGSLTransform
from bench.models.split import SplitModel


class PGSL(Defense):
    """Clients add a map to each image before their first layer, and send it along in a channel of its own."""

    compares_with_plain = True

    def __init__(
        self,
        *,
        strength: float = 0.2,
        scaling: str = "sign",
        source: str = "surrogate",
        scores: str = "logits",
        training_label: str = "true",
        inference: str = "predicted",
        recovery: str = "low_rank",
        threshold: float = 0.55,
        threshold_scale: str = "relative",
        mu: float = 0.55,
        iterations: int = 20,
        differentiation: str = "straight_through",
        map_sent: bool = True,
        surrogate_epochs: int = 12,
    ) -> None:
        """Sets how maps are made, for which label, and how the server recovers from them."""
        self.parameters: dict[str, object] = {
            name: value for name, value in locals().items() if name != "self"
        }
        self.rule = MapRule(strength=strength, scaling=scaling, scores=scores, sent=map_sent)
        self.recovery = Recovery(
            mode=recovery,
            threshold=threshold,
            threshold_scale=threshold_scale,
            mu=mu,
            iterations=iterations,
            differentiation=differentiation,
        )
        self.source = source
        self.training_label = training_label
        self.inference = inference
        self.surrogate_epochs = surrogate_epochs

    def model(self, model: nn.Module) -> PGSLNetwork:
        """Remakes both halves for carriers, with three streams at the server (Sections IV-B to IV-E)."""
        if not isinstance(model, SplitModel):
            raise IncompatibleError("pgsl defends networks that are cut into a client's and a server's half")
        return PGSLNetwork(model, self.recovery)

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        """The client trains its surrogate; a joint map needs none."""
        if self.source == "surrogate":
            surrogate = _defended(model).surrogate
            train_surrogate(surrogate, private, epochs=self.surrogate_epochs, generator=context.generator)

    def inputs(self, images: Tensor, labels: Tensor, context: HookContext) -> tuple[Tensor, Tensor]:
        """Carriers ``[N, B, 4C+1, H/2, W/2]`` of the attacked images (Sections IV-A, IV-B)."""
        network, flat = _defended(context.model), images.flatten(0, 1)
        choice = self.training_label if context.phase is Phase.TRAIN else self.inference
        if choice == "absent":
            return network.embed(flat).unflatten(0, labels.shape), labels
        classify = network.map_source(self.source)
        named = chosen_labels(choice, classify, flat, labels.flatten(), context.generator)
        return self.rule.carriers(classify, flat, named).unflatten(0, labels.shape), labels

    def perturbed(self, inputs: Tensor) -> Tensor:
        """The attacked images x^ inside of carriers."""
        return attacked_of(inputs)

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """How the accuracy depends on who chooses the map's label, and how strong the maps are."""
        return measured(
            _defended(model),
            test,
            rule=self.rule,
            source=self.source,
            training_label=self.training_label,
            generator=context.generator,
            plain=context.plain,
        )

    def view(self) -> DefenseView:
        """All parameters, and the clients' transform; not the clients' surrogate."""
        transform = PGSLTransform(
            rule=self.rule, training_label=self.training_label, epochs=self.surrogate_epochs
        )
        return DefenseView(parameters=self.parameters, transform=transform)


def _defended(model: nn.Module | None) -> PGSLNetwork:
    if not isinstance(model, PGSLNetwork):
        raise IncompatibleError("pgsl makes its maps with the client's own network, which is not at hand")
    return model
