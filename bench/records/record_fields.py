"""The parts of a record: what was measured in each stage, and on what."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

HEX64 = r"^[0-9a-f]{64}$"


class Part(BaseModel):
    """Fields that are not known are an error; so are infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Utility(Part):
    """What the defense cost: the victim on ``private_test``."""

    accuracy: float
    """After the last round."""
    initial_accuracy: float
    """At round 0."""
    converged: bool
    """Its accuracy had come to a stand, clearly above the best constant answer."""
    rounds: int
    """Of federated or split training."""
    details: dict[str, float | None] = {}
    """What else the defense measures of its victim on ``private_test``, by name."""
    signal: tuple[float | None, ...] | None = None
    """In the first and in the last round of the training, the median over the clients of what the release's
    ``signal`` is of a release; None where no hook changes what leaves in training."""


class AttackCost(Part):
    """What the attack spent: gradient evaluations per release, and the cost that it reached."""

    evaluations_mean: float
    """Mean over the releases."""
    evaluations_max: int
    """The most that one release took."""
    cost_mean: float | None
    """Mean of the attacker's own cost over the releases where it is finite; None if it is nowhere."""
    task_accuracy: float | None = None
    """Of the victim's task under an active attack; None for passive attacks."""
    single_share: float | None = None
    """On channel ``malicious``, how much of a batch's gradient can come from one image, in the layer where
    that is most, as a client sees who computes those of its images apart (median of the releases)."""
    honest_share: float | None = None
    """The same of the network that an honest server would have sent."""


class ReleaseHealth(Part):
    """Releases that carry nothing, or nothing usable."""

    zero: int
    """Releases of which every entry is exactly zero."""
    nonfinite: int
    """Releases with an infinite or undefined entry."""
    norm_mean: float | None
    """Mean Euclidean norm over the finite releases."""
    signal: tuple[float | None, ...] | None = None
    """For each release the norm of what would have left without the defense's last hook, over that of what
    the hook changed; None where it changed nothing, and for all where there is no such hook."""
    shared_labels: float | None = None
    """Share of the images whose label another image of their release has; None for single images and in
    records from before."""


class Prior(Part):
    """The generator that the attack searched: how good it is, and how good it could be."""

    kind: str
    """Name of the generator."""
    frechet: float | None
    """Frechet distance of the evaluator's features, samples against auxiliary images."""
    frechet_real: float | None
    """The same of ``private_test``: what a perfect generator would reach."""
    confident: float | None
    """Share of the samples that the evaluator is sure of."""
    confident_real: float | None
    """Share of ``private_test`` that it is sure of."""
    classes: float | None
    """How many classes the samples are spread over."""
    diversity: float | None
    """Mean distance of two samples, relative to that of two auxiliary images."""


class Means(Part):
    """Means over all images with a value; None where no image has one."""

    psnr: float | None = None
    """In dB, at most 80."""
    ssim: float | None = None
    """Structural similarity, 1 for the same image."""
    lpips: float | None = None
    """Lower is more alike."""
    identified: float | None = None
    """Share whose nearest image in the pool is their original; channel ``model``: that show the attacked
    person, as a second evaluator sees it."""
    label_correct: float | None = None
    """Share of private labels that the attack recovered."""
    recognised: float | None = None
    """Share that the evaluator takes for the true class."""
    recognised5: float | None = None
    """Channel ``model``: share with the attacked class among the evaluator's first five."""
    feature_distance: float | None = None
    """Channel ``model``: distance of the evaluator's features to the nearest private image of the class."""
    diversity: float | None = None
    """Channel ``model``: mean distance of these features to those of the other images of the class."""


class Seconds(Part):
    """Wall seconds of each stage when it was computed, also if this run found it in the cache."""

    victim: float = 0.0
    """Training under the defense."""
    evaluator: float | None = None
    """Training of the independent evaluator; None where the cell has no result."""
    generator: float | None = None
    """Training of the attacker's generator; None where the attack has none."""
    release: float = 0.0
    """Drawing private batches and sending them through the defense."""
    reconstruction: float = 0.0
    """The attack."""
    scores: float = 0.0
    """Measuring every image."""


class Memory(Part):
    """Peak memory of each stage in MiB when it was computed: of the GPU, else of the whole process."""

    victim: float | None = None
    """Training under the defense."""
    evaluator: float | None = None
    """Training of the independent evaluator."""
    generator: float | None = None
    """Training of the attacker's generator; None where the attack has none."""
    release: float | None = None
    """Drawing private batches and sending them through the defense."""
    reconstruction: float | None = None
    """The attack, in the process of attacks."""
    scores: float | None = None
    """Measuring every image."""


class StageKeys(Part):
    """Content addresses of the stages before the scores: the names of their entries in the cache."""

    victim: str = Field(pattern=HEX64)
    """The weights before and after the training."""
    evaluator: str = Field(pattern=HEX64)
    """The independent evaluator."""
    generator: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """The attacker's generator; empty where the attack has none."""
    release: str = Field(pattern=HEX64)
    """The private batches and what was sent of them."""
    reconstruction: str = Field(pattern=HEX64)
    """What the attack returned."""


class Seeds(Part):
    """The seeds that the harness derives from the cell's own; what a victim draws comes from that one."""

    attack: int
    """Given to the attack."""
    pool: int
    """Draws the images among which a reconstruction must find its original."""


class Determinism(Part):
    """What the worker had fixed when the cell was computed."""

    algorithms: bool
    """``torch.use_deterministic_algorithms``."""
    warn_only: bool
    """An operation without a deterministic kernel warns instead of failing."""
    cudnn_benchmark: bool
    """Whether cuDNN may try several kernels and take the fastest."""
    tf32: bool
    """Whether matrix products or convolutions may round to TensorFloat-32."""
    cublas_workspace: str
    """``CUBLAS_WORKSPACE_CONFIG``; empty if it is not set."""


class Provenance(Part):
    """Which code, on what, when."""

    bench: str
    """Version of this package."""
    commit: str
    """Of the checkout; empty where the code is not in one."""
    dirty: bool
    """A Python or TOML file differed from the commit."""
    python: str
    """Version of the interpreter."""
    torch: str
    """Version of PyTorch; its build is in ``cuda``."""
    torchvision: str
    """Its version."""
    numpy: str
    """Its version."""
    scipy: str
    """Its version."""
    cma: str
    """Version of the evolution strategy that some attacks may search with; empty where unknown."""
    lpips: str
    """Version of the package with the linear heads of LPIPS."""
    lpips_weights: str = ""
    """Version of the package with the trunks of LPIPS; empty where torchvision's own are used or none are."""
    device: str
    """``cpu``, or the GPU's model."""
    processor: str = ""
    """The CPU's model, where the system says."""
    instructions: str = ""
    """The instruction set that torch's CPU kernels use, like ``AVX512``."""
    driver: str = ""
    """Version of the GPU's driver."""
    cuda: str = ""
    """CUDA version that torch was built with; empty on a CPU."""
    cudnn: str = ""
    """Empty on a CPU."""
    threads: int
    """Threads of torch in the worker."""
    determinism: Determinism | None = None
    """None where the worker could not say: it was killed."""
    platform: str
    """Operating system, kernel and machine."""
    finished: str
    """UTC, ISO 8601, seconds."""
