"""Expansion of a matrix into an ordered list of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from bench.api.cards import AttackCard, Kind, Value, too_small
from bench.api.errors import UsageError
from bench.api.threat import Adversary, Channel
from bench.channels import channel as leak
from bench.channels import terms
from bench.matrix.cells import Cell, Variant
from bench.matrix.files import Block, Entry, Matrix
from bench.matrix.filters import Filters, narrowed, parse_named, unescaped
from bench.models.names import LINEAR_INPUT, MODELS
from bench.models.spec import parse_model
from bench.plugins import PUBLISHED, attack_card, dataset_card, defense_card, find, preset, resolve


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A block with its plug-ins checked and the filters applied."""

    block: Block
    attacks: list[Variant]
    defenses: list[Variant]
    datasets: list[Variant]
    models: list[str]


def variant(kind: Kind, spec: str, parameters: dict[str, Value], *, where: str = "") -> Variant:
    """A plug-in, ``name`` or ``name@preset``, with all its parameters, checked against its card."""
    name, given = preset(kind, spec, where=where)
    card = find(kind, name, where=where).card
    resolved = resolve(kind, name, {**given, **parameters}, where=where)
    swept = defense_card(name).strength if kind == "defense" else ""
    usual, label = {key: item.default for key, item in card.parameters.items()}, name
    if isinstance(card, AttackCard) and card.published and card.published.items() <= resolved.items():
        usual, label = usual | card.published, f"{name}@{PUBLISHED}"
    shown = [
        f"{key}={_shortest(value)}"
        for key, value in sorted(resolved.items())
        if key != swept and value != usual[key]
    ]
    strength = resolved.get(swept)
    return Variant(
        name=name,
        parameters=tuple(sorted(resolved.items())),
        label=f"{label}[{','.join(shown)}]" if shown else label,
        strength=float(strength) if isinstance(strength, int | float) else None,
    )


def _shortest(value: Value) -> str:
    """Text of a value that no other value has, so that labels stay apart."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short


def _swept(kind: Kind, entry: Entry, where: str) -> Iterator[Variant]:
    sweeps = entry.sweeps()
    lists: list[list[Value]] = []
    for key, value in sweeps.items():
        lists.append(value if isinstance(value, list) else [value])
        if not lists[-1]:
            raise UsageError(f"{where}: {key}: the list is empty")
    for values in product(*lists):
        yield variant(kind, entry.name, dict(zip(sweeps, values, strict=True)), where=where)


def _own(kind: Kind, entries: Sequence[Entry], where: str, problems: list[str]) -> list[Variant]:
    """A block's variants of one kind; what is wrong with an entry is added to ``problems``."""
    variants: list[Variant] = []
    for number, entry in enumerate(entries):
        try:
            variants += _swept(kind, entry, f"{where}.{number}")
        except UsageError as error:
            problems.append(str(error))
    return variants


def _checked(matrix: Matrix) -> list[_Choice]:
    """All blocks of a matrix, before any filter.

    Raises:
        UsageError: naming every unknown plug-in, parameter and model, and every value out of range.
    """
    problems: list[str] = []
    choices: list[_Choice] = []
    for number, block in enumerate(matrix.block):
        where = f"{matrix.where}: block.{number}"
        models: list[str] = []
        for position, name in enumerate(block.models):
            try:
                models.append(parse_model(name, where=f"{where}.models.{position}").name)
            except UsageError as error:
                problems.append(str(error))
        choice = _Choice(
            block=block,
            attacks=_own("attack", block.attacks, f"{where}.attacks", problems),
            defenses=_own("defense", block.defenses, f"{where}.defenses", problems),
            datasets=_own("dataset", block.datasets, f"{where}.datasets", problems),
            models=list(dict.fromkeys(models)),
        )
        problems += _too_many_classes(choice, where)
        choices.append(choice)
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return choices


def _too_many_classes(choice: _Choice, where: str) -> Iterator[str]:
    """Where classes are rebuilt a release is a class."""
    if not terms(choice.block.channel).by_class:
        return
    for dataset in choice.datasets:
        classes = dataset_card(dataset.name).num_classes
        if classes is not None and choice.block.releases > classes:
            yield f"{where}.releases: {choice.block.releases} classes, but {dataset.name} has {classes}"


def _restricted(kind: Kind, own: Sequence[list[Variant]], wanted: Sequence[str]) -> Sequence[list[Variant]]:
    """Every block's variants of one kind, restricted or replaced by what the user named."""
    if not wanted:
        return own
    picked: list[list[Variant]] = [[] for _ in own]
    for text in wanted:
        spec, parameters = parse_named(kind, text)
        named = variant(kind, spec, parameters, where=repr(text))
        given = {**preset(kind, spec)[1], **parameters}
        required = {key: named.arguments()[key] for key in given}.items()
        here = [[item for item in block if item.name == named.name] for block in own]
        found = [[item for item in block if required <= item.arguments().items()] for block in here]
        if not any(found):
            found = [[named] if block or not any(here) else [] for block in here]
        for block, items in zip(picked, found, strict=True):
            block += items
    return [list(dict.fromkeys(block)) for block in picked]


def _restricted_models(own: Sequence[list[str]], wanted: Sequence[str]) -> Sequence[list[str]]:
    if not wanted:
        return own
    wanted = [parse_model(unescaped(name)).name for name in wanted]
    known = {name for block in own for name in block}
    return [list(dict.fromkeys(n for n in wanted if n in block or n not in known)) for block in own]


def _filtered(choices: Sequence[_Choice], filters: Filters) -> list[_Choice]:
    attacks = _restricted("attack", [choice.attacks for choice in choices], filters.attacks)
    defenses = _restricted("defense", [choice.defenses for choice in choices], filters.defenses)
    datasets = _restricted("dataset", [choice.datasets for choice in choices], filters.datasets)
    models = _restricted_models([choice.models for choice in choices], filters.models)
    blocks = narrowed([choice.block for choice in choices], filters)
    return [
        _Choice(block=block, attacks=a, defenses=d, datasets=x, models=m)
        for block, a, d, x, m in zip(blocks, attacks, defenses, datasets, models, strict=True)
    ]


def incompatible(
    attack: Variant, defense: Variant, adversary: Adversary, batch_size: int, channel: Channel, model: str
) -> str:
    """Why this combination is declared impossible; empty if it is not."""
    card, guard = attack_card(attack.name), defense_card(defense.name)
    for name, channels in ((attack.name, card.channels), (defense.name, guard.channels)):
        if channel not in channels:
            return f"{name} is made for the channel {' and '.join(channels)}"
    spec = parse_model(model)
    kind = leak(channel)
    if spec.cut is None and (kind.needs_cut or guard.needs_split):
        return f"{model} is not cut into a client's and a server's half"
    if spec.cut is not None and kind.refuses_cut:
        return f"{model} {kind.refuses_cut}"
    if spec.federation and not kind.federated:
        return f"no federation trains {model} on the channel {channel}"
    if spec.cut is not None and not spec.plain:
        return f"a network that is cut is trained as it is: {model} takes neither weights nor a schedule"
    if card.max_batch_size is not None and batch_size > card.max_batch_size:
        return card.max_batch_reason
    if guard.needs_batch and batch_size == 1:
        return f"{defense.name} hides images among the others of a batch, and B = 1 has none"
    if adversary is Adversary.ADAPTIVE and not guard.adaptive_view:
        return "nothing to adapt to"
    if card.needs_linear_input and spec.head in MODELS and spec.head not in LINEAR_INPUT:
        return f"{model} does not begin with a fully connected layer, which {attack.name} reads"
    if card.needs_labels and not kind.gives_labels:
        return "needs the private labels, which the protocol does not give"
    return ""


def _unmeasured(dataset: Variant) -> str:
    """Why no image of this data set can be scored; empty if its card does not say that."""
    shape = dataset_card(dataset.name).image_shape
    return "" if shape is None else too_small(shape)


def _cells(choice: _Choice, seed: int) -> Iterator[Cell]:
    block = choice.block
    shapes = product(choice.datasets, choice.models, block.checkpoints, block.batch_sizes)
    for (dataset, model, checkpoint, batch), defense, attack in product(
        shapes, choice.defenses, choice.attacks
    ):
        declared = attack_card(attack.name).adversaries
        adversaries = (item for item in block.adversaries if item in declared)
        for adversary, budget in product(adversaries, block.budget):
            yield Cell(
                dataset=dataset,
                model=model,
                checkpoint=checkpoint,
                channel=block.channel,
                batch_size=batch,
                releases=block.releases,
                epochs=block.epochs,
                defense=defense,
                attack=attack,
                adversary=adversary,
                seed=seed,
                budget=budget,
                incompatible=_unmeasured(dataset)
                or incompatible(attack, defense, adversary, batch, block.channel, model),
            )


def expand(matrix: Matrix, filters: Filters | None = None) -> list[Cell]:
    """All cells, in the order in which they should run.

    Seeds are the outermost loop: after the first seed every attack has met every defense, and each further
    seed only makes the tables more certain.

    Raises:
        UsageError: unknown plug-ins, models or parameters (all that the matrix file has, at once), or
            filters that select nothing.
    """
    filters = filters or Filters()
    choices = _filtered(_checked(matrix), filters)
    seeds = filters.seeds or tuple(matrix.seeds)
    cells = (cell for seed in seeds for choice in choices for cell in _cells(choice, seed))
    distinct = list({cell.id: cell for cell in cells}.values())
    if not distinct:
        raise UsageError(
            f"{matrix.where}: no cell is left: what you chose shares no block of the matrix, "
            "or no attack is one of the block's adversaries"
        )
    return distinct[: filters.limit]
