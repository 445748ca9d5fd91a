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
    """The training curve had become flat."""
    rounds: int
    """Of federated or split training."""
    details: dict[str, float | None] = {}
    """What else the defense measures of its victim on ``private_test``, by name."""


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


class ReleaseHealth(Part):
    """Releases that carry nothing, or nothing usable."""

    zero: int
    """Releases of which every entry is exactly zero."""
    nonfinite: int
    """Releases with an infinite or undefined entry."""
    norm_mean: float | None
    """Mean Euclidean norm over the finite releases."""


class Means(Part):
    """Means over all images with a value; None where no image has one."""

    psnr: float | None = None
    """In dB, at most 80."""
    ssim: float | None = None
    lpips: float | None = None
    """Lower is more alike."""
    identified: float | None = None
    """Share whose nearest image in the pool is their original."""
    label_correct: float | None = None
    """Share of private labels that the attack recovered."""
    recognised: float | None = None
    """Share that the evaluator takes for the true class."""


class Seconds(Part):
    """Wall seconds of each stage when it was computed, also if this run found it in the cache."""

    victim: float = 0.0
    evaluator: float | None = None
    """None in records of schema 1, which did not have it."""
    release: float = 0.0
    reconstruction: float = 0.0
    scores: float = 0.0


class Memory(Part):
    """Peak memory of each stage in MiB when it was computed: of the GPU, else of the whole process."""

    victim: float | None = None
    evaluator: float | None = None
    release: float | None = None
    reconstruction: float | None = None
    scores: float | None = None


class StageKeys(Part):
    """Content addresses of the stages before the scores: the names of their entries in the cache."""

    victim: str = Field(pattern=HEX64)
    evaluator: str = Field(pattern=HEX64)
    release: str = Field(pattern=HEX64)
    reconstruction: str = Field(pattern=HEX64)


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
    torch: str
    torchvision: str
    numpy: str
    scipy: str = ""
    lpips: str
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
    """None where the worker could not say: it was killed, or the record has schema 1."""
    platform: str
    """Operating system, kernel and machine."""
    finished: str
    """UTC, ISO 8601, seconds."""
