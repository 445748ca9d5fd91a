"""One round of two clients in Flower's simulation, recorded: ``python flower_round.py FOLDER BATCH STEPS``.

Every client has a batch of smooth random images, and takes some steps of gradient descent on it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from bench.own.flower import recorded

RATE = 0.05
PLACE, BATCH, STEPS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def network() -> nn.Module:
    """That of all clients."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.Sigmoid(), nn.Flatten(), nn.Linear(288, 4))


client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Some steps on the client's own batch, which it keeps beside the record for the test to look at."""
    node = int(context.node_config["partition-id"])
    chance = torch.Generator().manual_seed(node)
    images = interpolate(torch.rand(BATCH, 1, 4, 4, generator=chance), size=12, mode="bilinear")
    labels = torch.randperm(4, generator=chance).repeat(2)[:BATCH]
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    for _ in range(STEPS):
        loss = cross_entropy(model(images), labels)
        steps = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for value, change in zip(model.parameters(), steps, strict=True):
                value -= RATE * change
    np.savez(PLACE / f"images-{context.node_id}.npz", images=images.numpy(), labels=labels.numpy())
    metrics = MetricRecord({"num-examples": BATCH})
    content: Any = {"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}
    return Message(content=RecordDict(content), reply_to=message)


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """One round of federated averaging."""
    strategy = recorded(FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2), PLACE)
    strategy.start(grid=grid, initial_arrays=ArrayRecord(network().state_dict()), num_rounds=1)


if __name__ == "__main__":
    run_simulation(server_app=server_app, client_app=client_app, num_supernodes=2)
