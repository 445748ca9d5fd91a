"""Names of the victim architectures and their parameters, readable without importing torch."""

from __future__ import annotations

from bench.api.card_parts import Parameter

MODELS: dict[str, str] = {
    "lenet": "Zhu's sigmoid LeNet: three 5x5 convolutions, one linear layer, weights U(-0.5, 0.5) at round 0",
    "convnet": "ReLU convolutional network without BatchNorm, PyTorch's default initialisation",
    "mlp": "fully connected ReLU network with two hidden layers, whose first sees all pixels",
    "resnet8": "ResNet-8 for small images: three stages of one block, of 16, 32 and 64 channels",
    "resnet18": "ResNet-18 with a 3x3 stem for small images, BatchNorm by the client's own batch",
    "resnet18_shared": "the same, whose clients send the statistics of their batch along with the gradient",
    "resnet18_frozen": "the same in evaluation mode: BatchNorm by public statistics, mean 0 and variance 1",
    "cnn": "three ReLU convolutions, of which the last two pool, and two linear layers",
    "cnn_pooled": "the same with a pooling after each convolution",
}
LINEAR_INPUT = ("mlp",)
"""Those that begin with a fully connected layer; of a user's network its own code decides."""
_WIDEST = 4096
_WIDTH = "channels of the first stage; each later one has twice as many as the one before"
_NORM = Parameter(
    default="batch",
    choices=("batch", "group"),
    description="batch: BatchNorm by the client's own batch; group: GroupNorm, which no other image moves",
)
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "mlp": {
        "width": Parameter(default=512, minimum=1, maximum=_WIDEST, description="units of each hidden layer")
    },
    "resnet8": {
        "norm": _NORM,
        "width": Parameter(default=16, minimum=1, maximum=_WIDEST, description=_WIDTH),
    },
    "resnet18": {
        "norm": _NORM,
        "width": Parameter(default=64, minimum=1, maximum=_WIDEST, description=_WIDTH),
    },
    "resnet18_shared": {"width": Parameter(default=64, minimum=1, maximum=_WIDEST, description=_WIDTH)},
    "resnet18_frozen": {"width": Parameter(default=64, minimum=1, maximum=_WIDEST, description=_WIDTH)},
}
"""What may be chosen of an architecture: ``resnet18[norm=group,width=16]``."""
USER: dict[str, Parameter] = {
    "batch_norm": Parameter(
        default="auto",
        choices=("auto", "eval", "train"),
        description="what BatchNorm layers of a client normalise by: eval: public running statistics; train: "
        "the client's own batch; auto: layer by layer, eval where there are statistics other than 0 and 1",
    )
}
"""What may be chosen of a network that a function of the user builds."""
IMAGES_PER_ROUND = 32
"""Of all clients of a round together, in the schedules of all these architectures."""
FEDERATION: dict[str, Parameter] = {
    "local_epochs": Parameter(
        default=1, minimum=1, maximum=1000,
        description="passes of a client over its B images before it sends the change of its weights, divided "
        "by steps and rate; one pass in one step is the plain gradient",
    ),
    "local_batch": Parameter(
        default=0, minimum=0, maximum=10_000, description="images of one local step; 0: all B at once"
    ),
    "local_rate": Parameter(
        default=0.05, minimum=1e-6, description="learning rate of the local steps, plain gradient descent"
    ),
    "clients": Parameter(
        default=0, minimum=0, maximum=10_000,
        description="that the server averages in a round of the training; 0: as many as make 32 images",
    ),
}  # fmt: skip
"""What may be chosen of the federation that trains it: ``convnet[local_epochs=5]`` (McMahan et al. 2017)."""
CUTS: dict[str, int] = {"lenet": 3, "convnet": 3, "cnn": 3, "cnn_pooled": 3}
"""Those that may be cut in two, a client's half and a server's, and how many convolutions they have:
``lenet[cut=2]`` leaves two of them to the client."""
ALIASES: dict[str, str] = {
    "split_lenet": "lenet[cut=2]",
    "splitnet": "cnn[cut=2]",
    "splitnet_deep": "cnn_pooled[cut=2]",
}
"""What published tables call some networks that are cut."""
GENERATORS: dict[str, str] = {
    "wgan_gp": "DCGAN trained as a Wasserstein GAN with gradient penalty; brings a critic",
    "wgan_gp_short": "a fifth of the steps: too few for mnist5k, where its samples collapse and are refused",
    "wgan_gp_long": "four times as wide, 30,000 steps with five of the critic to each; for a GPU",
    "vae": "the same decoder, trained as the second half of a variational autoencoder",
    "synthetic_faces": "DCGAN that a package ships, trained on rendered people; its critic is trained here",
}
"""Generative priors that an attack may name."""
