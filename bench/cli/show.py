"""``bench show``: everything a card or a matrix file says, for the person who wants to use it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import click

from bench.api.threat import Adversary
from bench.channels import channel, terms
from bench.cli.text import clean, columns, value_text
from bench.models.weights import GENERATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.api.cards import AttackCard, Card, DatasetCard, DefenseCard, Parameter
    from bench.matrix import Matrix
    from bench.matrix.files import Block, Entry
    from bench.plugins import Plugin

Pairs = Iterable[tuple[str, object]]
_INDENT = "  "
_WRAP = 100


@click.command(short_help="One attack, defense, data set, model or matrix in full.")
@click.argument("name")
def show(name: str) -> None:
    """Shows what NAME is: card, paper, parameters, what it may see, notes and claims."""
    texts = list(_texts(name))
    if not texts:
        raise _nothing(name)
    click.echo("\n\n".join(texts))


def _texts(name: str) -> Iterator[str]:
    """One text for each thing of that name."""
    from bench.matrix import load_matrix, matrices
    from bench.models.names import ALIASES, FEDERATION, MODELS, PARAMETERS
    from bench.plugins import FOLDERS, discover, find

    for kind in FOLDERS:
        found = discover(kind)
        if name in found.plugins or name in found.broken:
            yield "\n".join(_plugin(find(kind, name)))
    name = ALIASES.get(name, name).partition("[")[0]
    if name in MODELS:
        yield f"model {name}\n{_INDENT}{clean(MODELS[name])}"
        for what, declared in (("parameters", PARAMETERS.get(name)), ("its federation", FEDERATION)):
            if declared:
                yield f"{what}\n{columns(_parameters(declared), indent=_INDENT)}"
        yield _pairs(_model_options(name))
    known = matrices()
    if name.endswith(".toml") or name in known or name in {key.split("@")[0] for key in known}:
        yield "\n".join(_matrix(load_matrix(name)))


def _model_options(name: str) -> Pairs:
    from bench.models.names import CUTS
    from bench.models.spec import SCHEDULE

    if name in CUTS:
        yield "cut in two", f"{name}[cut=1] to {name}[cut={CUTS[name]}]: convolutions of the client's half"
    yield "your weights", f"{name}[weights=FILE], a state dict"
    yield "schedule", f"{name}[{', '.join(f'{key}=...' for key in SCHEDULE)}]"
    yield "your network", "module:function, or a file of torch.export"
    yield "prove it", f"bench check {name}"


def _nothing(name: str) -> Exception:
    from bench.api.errors import unknown
    from bench.matrix import matrices
    from bench.models.names import MODELS
    from bench.plugins import FOLDERS, discover

    known = {*MODELS, *matrices(), *(key.split("@")[0] for key in matrices())}
    for kind in FOLDERS:
        known |= {*discover(kind).plugins, *discover(kind).broken}
    return unknown("attack, defense, dataset, model or matrix", name, known)


def _plugin(plugin: Plugin) -> Iterator[str]:
    card = plugin.card
    yield f"{plugin.kind} {clean(plugin.name)}"
    yield _pairs(
        [
            ("title", card.title),
            ("paper", card.paper),
            ("authors", card.authors),
            ("year", card.year),
            ("url", card.url or "-"),
            ("folder", plugin.folder),
        ]
    )
    heading, pairs = _nature(card)
    yield f"\n{heading}\n{_pairs(pairs)}"
    if card.parameters:
        yield f"\nparameters\n{columns(_parameters(card.parameters), indent=_INDENT)}"
    yield f"\nnotes\n{_wrapped(card.notes)}"
    if card.kind != "dataset" and card.claims:
        claims = "\n".join(_wrapped(f"{claim.text} ({claim.source})") for claim in card.claims)
        yield f"\nclaims\n{claims}"


def _nature(card: Card) -> tuple[str, Pairs]:
    if card.kind == "attack":
        return "may see", _attack(card)
    if card.kind == "defense":
        return "protects", _defense(card)
    return "data", _dataset(card)


_KNOWLEDGE = {
    Adversary.NAIVE: "naive: ignores that there is a defense",
    Adversary.ADAPTIVE: "adaptive: knows the defense",
}
_LABELS = "given in split learning, whose server computes the loss; nowhere else"


def _attack(card: AttackCard) -> Pairs:
    limit = card.max_batch_size
    yield "channels", ", ".join(card.channels)
    yield "adversaries", "; ".join(_KNOWLEDGE[adversary] for adversary in card.adversaries)
    yield "always", "; ".join(channel(name).public for name in card.channels)
    if card.access:
        half = any(channel(name).needs_cut for name in card.channels)
        yield "client's half" if half else "clients", card.access.words
    if any(channel(name).terms.by_class for name in card.channels):
        yield "classifier", card.classifier_access.words
    ignorant = "a control" if _only_classes(card) else "a prior that ignores it"
    yield "release", "yes" if card.observes_release else f"no: {ignorant}"
    yield "private labels", _LABELS if card.needs_labels else "no"
    if "gradients" in card.channels:
        yield "BatchNorm", "statistics only as the victim gives them away: bench show MODEL says which"
    spare = "no, but to undo a known change of the clients' images"
    yield "auxiliary images", _auxiliary(card) or spare
    if card.needs_generator:
        kinds = card.parameters["generator"].choices
        yield "generator", f"searches one learned from auxiliary images: {' | '.join(map(value_text, kinds))}"
        for kind in kinds:
            if weights := GENERATORS.get(str(kind)):
                here = weights.missing() or "on this machine"
                yield str(kind), f"its decoder was trained elsewhere: {weights.source}; {here}"
    yield "batch size", "any" if limit is None else f"at most {limit} ({card.max_batch_reason})"
    if card.floor:
        at = f"{card.floor.model}@{card.floor.checkpoint}"
        yield "floor", f"at least {card.floor.psnr:g} dB PSNR on the undefended {at}"


def _only_classes(card: AttackCard) -> bool:
    """Whether it rebuilds classes and no single images."""
    return all(terms(name).by_class for name in card.channels)


def _auxiliary(card: AttackCard) -> str:
    """What it needs of other images; empty if nothing."""
    only = _only_classes(card)
    if not card.needs_auxiliary and not card.needs_generator:
        return "no" if only else ""
    if not any(terms(name).by_class for name in card.channels):
        return "needed"
    return "needed, without labels" if only else "needed; on channel model without labels"


def _defense(card: DefenseCard) -> Pairs:
    yield "channels", ", ".join(card.channels)
    yield "strength", card.strength or "none"
    if card.strength and (sweep := card.parameters[card.strength].sweep):
        yield "compared at", ", ".join(map(value_text, sweep))
    yield "random", "yes: it draws anew for every release" if card.random else "no"
    yield "networks", "those that are cut in two" if card.needs_split else "any"
    yield "batch size", "at least 2" if card.needs_batch else "any"
    yield "adaptive attacks", "yes" if card.adaptive_view else "n/a: nothing to adapt to"


def _dataset(card: DatasetCard) -> Pairs:
    yield "licence", card.licence
    yield "source", card.source
    yours = "as your files have it"
    yield "classes", card.num_classes or yours
    yield "image shape", "x".join(map(str, card.image_shape)) if card.image_shape else yours
    yield "sha256", card.sha256 or "of your files, taken at every run"


def _parameters(parameters: Mapping[str, Parameter]) -> Iterator[Sequence[object]]:
    yield "name", "default", "published", "allowed", "description"
    for name, item in parameters.items():
        published = "-" if item.published is None else value_text(item.published)
        yield name, value_text(item.default), published, _allowed(item), item.description


def _allowed(parameter: Parameter) -> str:
    if parameter.path:
        return "a path of yours"
    if parameter.choices:
        return " | ".join(map(value_text, parameter.choices))
    if parameter.minimum is None and parameter.maximum is None:
        return type(parameter.default).__name__
    low = "" if parameter.minimum is None else f"{parameter.minimum:g}"
    high = "" if parameter.maximum is None else f"{parameter.maximum:g}"
    return f"{low}..{high}"


def _matrix(matrix: Matrix) -> Iterator[str]:
    from bench.matrix import expand

    cells = expand(matrix)
    reasons = [cell.incompatible for cell in cells if cell.incompatible]
    yield f"matrix {matrix.name}@{matrix.version}\n{_wrapped(matrix.description)}"
    count = f"{len(cells)}: {len(cells) - len(reasons)} to measure, {len(reasons)} n/a"
    yield _pairs([("seeds", ", ".join(map(str, matrix.seeds))), ("cells", count)])
    for reason in sorted(set(reasons)):
        yield f"{_INDENT * 2}{reasons.count(reason)} n/a: {clean(reason)}"
    for number, block in enumerate(matrix.block):
        yield f"\nblock {number}\n{_pairs(_block(block))}"


def _block(block: Block) -> Pairs:
    yield "channel", block.channel
    yield "datasets", _entries(block.datasets)
    yield "models", ", ".join(block.models)
    yield "checkpoints", ", ".join(block.checkpoints)
    yield "batch sizes", ", ".join(map(str, block.batch_sizes))
    yield "releases", f"{block.releases} in each cell"
    yield "budget", f"{', '.join(map(str, block.budget))} evaluations for each release"
    yield "epochs", "the model's own" if block.epochs is None else f"{block.epochs:g}"
    yield "attacks", _entries(block.attacks)
    yield "adversaries", ", ".join(block.adversaries)
    yield "defenses", _entries(block.defenses)


def _entries(entries: Iterable[Entry]) -> str:
    return ", ".join(map(_entry, entries))


def _entry(entry: Entry) -> str:
    values = (
        f"{key}={'|'.join(map(value_text, value)) if isinstance(value, list) else value_text(value)}"
        for key, value in entry.sweeps().items()
    )
    arguments = ", ".join(values)
    return f"{entry.name}[{arguments}]" if arguments else entry.name


def _pairs(pairs: Pairs) -> str:
    return columns(list(pairs), indent=_INDENT)


def _wrapped(text: str) -> str:
    return textwrap.fill(clean(text), _WRAP, initial_indent=_INDENT, subsequent_indent=_INDENT)
