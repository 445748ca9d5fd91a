"""A further channel is one file and one block of a matrix."""

from __future__ import annotations

import csv

from tests.world import World

CHANNEL = '''
"""What a careless client says of its images: their mean colour, and nothing else."""

from dataclasses import dataclass, replace

from bench.channels.gradients import CHANNEL as GRADIENTS
from bench.channels.shared.contract import ChannelKind
from bench.channels.shared.terms import OF_IMAGES


class Whispers(ChannelKind):
    terms = OF_IMAGES
    observes = "the mean of one private image"
    public = "image shape"

    def train(self, training):
        return GRADIENTS.train(training)

    def release(self, source):
        released = GRADIENTS.release(source)
        return replace(released, sent={"means": released.images.mean((-2, -1))})

    def observe(self, source, release, attacker):
        from types import SimpleNamespace

        return SimpleNamespace(means=release.sent["means"], image_shape=source.image_shape)

    def score(self, scoring):
        from bench.channels.shared.image_scores import image_scores

        return image_scores(scoring)


CHANNEL = Whispers()
'''
ATTACK = """
import torch
from bench.api import Attack, Reconstruction


class Listener(Attack):
    def reconstruct(self, observation, *, budget, seed):
        means = observation.means
        images = means[..., None, None].expand(*means.shape[:2], *observation.image_shape).contiguous()
        nothing = torch.zeros(len(means))
        return Reconstruction(images=images, cost=nothing, evaluations=nothing.long(), labels=None)
"""
CARD = """
channels = ["whispers"]
adversaries = ["naive"]
"""
BLOCK = """
name = "tiny"
version = 1
description = "for the tests"
seeds = [0]
[[block]]
channel = "whispers"
datasets = ["tiny"]
models = ["lenet"]
checkpoints = ["initial"]
batch_sizes = [1]
releases = 2
budget = 4
epochs = 0.2
attacks = ["listener"]
adversaries = ["naive"]
defenses = ["none"]
"""


def test_a_channel_of_the_users_reaches_a_row_of_the_leaderboard(world: World) -> None:
    folder = world.root / "plugins" / "channels"
    folder.mkdir(parents=True)
    (folder / "whispers.py").write_text(CHANNEL)
    world.plugin("attack", "listener", ATTACK, CARD)
    (world.root / "tiny.toml").write_text(BLOCK)
    done = world.process()
    assert done.returncode == 0, done.stdout + done.stderr
    with (world.out / "leaderboard.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["attack"] == "listener"]
    assert [(row["channel"], row["defense"]) for row in rows] == [("whispers", "none")]
    assert float(rows[0]["psnr"]) > 5


def test_a_channel_that_is_not_there_is_named_with_those_that_are(world: World) -> None:
    (world.root / "tiny.toml").write_text(BLOCK)
    world.plugin("attack", "listener", ATTACK, CARD.replace("whispers", "gradients"))
    done = world.process()
    assert done.returncode != 0
    assert all(word in done.stderr for word in ("whispers", "gradients", "smashed", "model"))
