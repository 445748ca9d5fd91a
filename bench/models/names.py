"""Names of the victim architectures, readable without importing torch."""

MODELS: dict[str, str] = {
    "lenet": "Zhu's sigmoid LeNet: three 5x5 convolutions, one linear layer, weights U(-0.5, 0.5) at round 0",
    "convnet": "ReLU convolutional network without BatchNorm, PyTorch's default initialisation",
    "resnet18": "ResNet-18 with a 3x3 stem for small images, BatchNorm by the client's own batch",
    "splitnet": "split learning, cut after two ReLU convolutions of which the second pools (shallow cut)",
    "splitnet_deep": "split learning, cut after two ReLU convolutions that both pool (deep cut)",
    "split_lenet": "split learning, Zhu's sigmoid LeNet cut after its second convolution",
}
SPLIT = frozenset({"splitnet", "splitnet_deep", "split_lenet"})
"""Those that are cut in two: a client's half and a server's."""
