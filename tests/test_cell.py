"""One cell of the benchmark, step by step: read this first.

A cell asks one question: what does THIS attack rebuild from what THIS victim releases under THIS defense? The
harness does the same steps with a cache between them (`bench/cells/stages.py`).
"""

from __future__ import annotations

import torch

from bench.api import Adversary, Channel, Checkpoint
from bench.channels import channel
from bench.channels.shared.contract import Attacker
from bench.matrix.cells import Cell, Variant
from bench.metrics import score_releases
from bench.plugins import attack_card, build_attack, build_dataset, build_defense
from bench.victims.releases import Source, release_gradients
from bench.victims.training import train_victim

CPU = torch.device("cpu")


def test_one_cell_from_the_data_to_the_scores() -> None:
    # The question, as plain data. A matrix file expands to many of these.
    cell = Cell(
        dataset=Variant(name="mnist5k", parameters=(), label="mnist5k"),
        model="lenet",
        checkpoint=Checkpoint.INITIAL,  # the release of round 0
        channel=Channel.GRADIENTS,  # federated learning: gradients leave the client
        batch_size=1,  # one private image per release
        releases=4,  # independent clients, all attacked at once
        epochs=0.5,  # half a pass, so that this test is fast; None is the architecture's own schedule
        defense=Variant(name="none", parameters=(), label="none"),
        attack=Variant(name="idlg", parameters=(), label="idlg"),
        adversary=Adversary.NAIVE,  # does not know the defense
        seed=0,
        budget=400,  # gradient evaluations that the attack may spend on each release
    )

    # 1. Data: three disjoint splits. Private images are trained on and attacked; the auxiliary ones are all
    #    that an attacker's prior may see.
    dataset = build_dataset(cell.dataset.name, cell.dataset.arguments())
    splits = dataset.splits(seed=cell.seed)
    assert [len(s) for s in (splits.private_train, splits.private_test, splits.auxiliary)] == [
        2500,
        1000,
        1500,
    ]

    # 2. Victim: federated training in which every gradient passes the defense's hooks. Its accuracy is the
    #    utility that stands beside the leak.
    defense = build_defense(cell.defense.name, cell.defense.arguments())
    victim = train_victim(
        model=cell.model,
        splits=splits,
        num_classes=dataset.num_classes,
        image_shape=dataset.image_shape,
        defense=defense,
        batch_size=cell.batch_size,
        epochs=cell.epochs,
        seed=cell.seed,
        device=CPU,
    )
    assert 0 <= victim.accuracy <= 1

    # 3. Release: four clients compute the gradient of one private image each, at the cell's checkpoint and
    #    through the same hooks.
    weights = victim.initial if cell.checkpoint is Checkpoint.INITIAL else victim.trained
    source = Source(
        model=cell.model,
        parameters=weights,
        private=splits.private_train,
        num_classes=dataset.num_classes,
        image_shape=dataset.image_shape,
        defense=defense,
        releases=cell.releases,
        batch_size=cell.batch_size,
        seed=cell.seed,
        device=CPU,
    )
    release = release_gradients(source)
    assert release.images.shape == (4, 1, 1, 32, 32)

    # 4. Observation: the only thing that the attacker receives. The private images and labels stay behind.
    attacker = Attacker(
        card=attack_card(cell.attack.name), adversary=cell.adversary, auxiliary=splits.auxiliary
    )
    observation = channel(cell.channel).observe(source, release, attacker)
    assert observation.labels is None and observation.defense is None and observation.auxiliary is None

    # 5. Attack: all releases at once, one budget each.
    attack = build_attack(cell.attack.name, cell.attack.arguments())
    rebuilt = attack.reconstruct(observation, budget=cell.budget, seed=cell.seed)
    assert rebuilt.images.shape == release.images.shape
    assert (rebuilt.evaluations <= cell.budget).all()

    # 6. Scores: only here do reconstructions meet the originals. The pool holds other private images,
    #    among which a reconstruction must find its own. (LPIPS and the evaluator are left out here.)
    others = torch.ones(len(splits.private_train), dtype=torch.bool)
    others[release.indices.flatten()] = False
    scores = score_releases(
        release.images,
        rebuilt.images,
        release.labels,
        rebuilt.labels,
        pool=splits.private_train.images[others][:200],
        lpips=None,
        evaluator=None,
    )

    # An untrained sigmoid LeNet without a defense gives its images away, to the pixel.
    assert scores.psnr.median() > 40
    assert scores.label_correct.eq(1).all()
    assert scores.identified.float().mean() >= 0.75
