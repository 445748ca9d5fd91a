"""How a victim's architecture is written down: one of ours, a function of the user, or a file. No torch.

``lenet``, ``package.module:function``, ``network.pt2`` (torch.export), each with options in brackets:
``lenet[cut=2]``, ``resnet18[width=16]``, ``convnet[local_epochs=5]``, ``lenet[weights=start.pt]``,
``nets:small[epochs=5]``.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from bench.api.card_parts import Parameter, Value
from bench.api.errors import UsageError, unknown
from bench.models.names import ALIASES, CUTS, FEDERATION, MODELS, PARAMETERS, USER
from bench.models.options import shown, taken

SCHEDULE = ("epochs", "images_per_round", "learning_rate", "momentum", "weight_decay", "clip_norm")
_FILE = ".pt2"
_FORM = re.compile(r"(?P<head>[^\[\]]+)(\[(?P<options>[^\[\]]*)\])?")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_HELP = "write one of {known}, module:function, or a file of torch.export that ends in .pt2"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A parsed name.

    Attributes:
        text: as the user wrote it.
        head: the part before the brackets.
        weights: a state-dict file with the weights of round 0; None draws them from the seed.
        schedule: fields of the training schedule that replace the architecture's own.
        cut: convolutions of the client's half; None leaves the network whole.
        parameters: of the architecture, by name; those at their default are left out.
        federation: what is chosen of the federation that trains it, alike.
    """

    text: str
    head: str
    weights: Path | None = None
    schedule: tuple[tuple[str, float], ...] = ()
    cut: int | None = None
    parameters: tuple[tuple[str, Value], ...] = ()
    federation: tuple[tuple[str, Value], ...] = ()

    @property
    def plain(self) -> bool:
        """One of the project's own architectures, whole or cut, with nothing of the user's."""
        return self.head in MODELS and self.weights is None and not self.schedule

    @property
    def architecture(self) -> str:
        """The one form of an architecture that may be written in several, with its federation."""
        return self._with()

    @property
    def name(self) -> str:
        """The one name that records have for it, with the user's schedule and weights."""
        weights = () if self.weights is None else (("weights", str(self.weights)),)
        published = {architecture: alias for alias, architecture in ALIASES.items()}
        name = self._with(*self.schedule, *weights)
        return published.get(name, name)

    def _with(self, *more: tuple[str, Value]) -> str:
        cut = () if self.cut is None else (("cut", self.cut),)
        pairs = sorted((*cut, *self.parameters, *self.federation, *more))
        options = ",".join(f"{key}={shown(value)}" for key, value in pairs)
        return f"{self.head}[{options}]" if options else self.head

    @property
    def function(self) -> tuple[str, str] | None:
        """Module and name of the user's function, if there is one."""
        module, colon, name = self.head.partition(":")
        return (module, name) if colon and self.head not in MODELS else None

    @property
    def exported(self) -> Path | None:
        """The file of ``torch.export``, if there is one."""
        return _file(self.head) if self.head not in MODELS and self.function is None else None

    @property
    def weights_file(self) -> Path | None:
        """The state-dict file where it lies: ``~`` is the home directory."""
        return None if self.weights is None else _file(self.weights)

    @property
    def batch_norm(self) -> str:
        """By what the BatchNorm layers of a function's network normalise; see :data:`USER`."""
        return str(dict(self.parameters).get("batch_norm", USER["batch_norm"].default))

    def sources(self) -> list[Path]:
        """The user's Python files that build the network: a package as a whole, or a module and its siblings.

        Raises:
            UsageError: there is no such module.
        """
        return _sources(self.function[0], self.text) if self.function else []

    def files(self) -> list[Path]:
        """The user's data files: their content is part of a result's identity."""
        return [path for path in (self.exported, self.weights_file) if path is not None]


def parse_model(text: str, *, where: str = "") -> ModelSpec:
    """Reads a model's name, without running anybody's code.

    Args:
        text: what the user or the matrix file says.
        where: file and field that say it, for the message.

    Raises:
        UsageError: no such architecture, module or file, or an option that does not exist.
    """
    prefix = f"{where}: " if where else ""
    match = _FORM.fullmatch(ALIASES.get(text.strip(), text.strip()))
    if not match:
        raise UsageError(f"{prefix}model {text!r}: write name or name[option=value,...]")
    head = match["head"].strip()
    options = _options(match["options"] or "", head, f"{prefix}model {text!r}")
    cut = _cut(options.pop("cut", None), head, f"{prefix}model {text!r}")
    parameters = taken(options, _parameters(head), f"{prefix}model {text!r}")
    federation = taken(options, FEDERATION, f"{prefix}model {text!r}")
    weights = Path(options.pop("weights")) if "weights" in options else None
    schedule = ((key, _number(key, value, f"{prefix}model {text!r}")) for key, value in options.items())
    spec = ModelSpec(
        text=text,
        head=head,
        weights=weights,
        schedule=tuple(sorted(schedule)),
        cut=cut,
        parameters=parameters,
        federation=federation,
    )
    if why := _no_local_steps(spec):
        raise UsageError(f"{prefix}model {text!r}: {why}")
    if spec.head not in MODELS:
        _check_head(spec, where)
    if spec.exported and spec.weights:
        raise UsageError(f"{prefix}model {text!r}: an exported network holds its weights; leave weights= out")
    for path in spec.files():
        if not path.is_file():
            raise UsageError(f"{prefix}model {text!r}: there is no file {path} (seen from {Path.cwd()})")
    return replace(spec, federation=_deciding(spec.federation))


def _check_head(spec: ModelSpec, where: str) -> None:
    prefix = f"{where}: " if where else ""
    if ":" in spec.head:
        if not _FUNCTION.fullmatch(spec.head):
            raise UsageError(
                f"{prefix}model {spec.text!r}: {spec.head!r} is not module:function; {_known_forms()}"
            )
        module_file(spec.head.partition(":")[0], spec.text)
    elif not spec.head.endswith(_FILE):
        error = unknown("model", spec.head, MODELS, where=where)
        raise error if "did you mean" in str(error) else UsageError(f"{error}; {_known_forms()}")


def _parameters(head: str) -> dict[str, Parameter]:
    return USER if ":" in head else PARAMETERS.get(head, {})


def _file(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))  # Path.expanduser raises where there is no home


def _known_forms() -> str:
    return _HELP.format(known=", ".join(MODELS))


def _options(options: str, head: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    known = (*_parameters(head), *FEDERATION, "cut", "weights", *SCHEDULE)
    for part in filter(None, (item.strip() for item in options.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise UsageError(f"{where}: {part!r} is not option=value")
        if key not in known:
            raise unknown("option", key, known, where=where)
        if key in found:
            raise UsageError(f"{where}: {key} is given twice")
        found[key] = value
    return found


def _no_local_steps(spec: ModelSpec) -> str:
    """Why the clients of this network cannot take steps of their own; empty if they can, or take none."""
    if all(key == "clients" for key, _ in spec.federation):
        return ""
    if spec.cut is not None:
        return "local steps need the whole network, and a client of a network that is cut has half of it"
    if spec.head == "resnet18_shared":
        return "its clients send the statistics of one batch along, and local steps see several: use resnet18"
    return ""


def _deciding(federation: tuple[tuple[str, Value], ...]) -> tuple[tuple[str, Value], ...]:
    """Without the rate where clients take one step, which is the gradient at any rate."""
    steps = {"local_epochs", "local_batch"} & dict(federation).keys()
    return federation if steps else tuple(pair for pair in federation if pair[0] != "local_rate")


def _cut(value: str | None, head: str, where: str) -> int | None:
    if value is None:
        return None
    if head not in CUTS:
        raise UsageError(f"{where}: {head} cannot be cut; these can: {', '.join(CUTS)}")
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= CUTS[head]:
        raise UsageError(f"{where}: cut={value}: give the client 1 to {CUTS[head]} convolutions")
    return int(value)


def _number(key: str, value: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"{where}: {key}: {value!r} is no number") from None
    positive = key in ("epochs", "images_per_round", "learning_rate", "clip_norm")
    if not (number > 0 if positive else number >= 0) or number == float("inf"):
        raise UsageError(
            f"{where}: {key}: {value} must be a finite number {'above' if positive else 'from'} 0"
        )
    return number


def module_file(module: str, text: str) -> Path:
    """The file of a module on Python's path or in the working folder, found without importing anything.

    Raises:
        UsageError: there is none.
    """
    top, *rest = module.split(".")
    spec = _top_level(top)
    place = Path(spec.origin) if spec and spec.origin else None
    inside = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(inside))) if inside else None
    for part in rest:
        inner = folder / part if folder else None
        folder = inner if inner and inner.is_dir() else None
        place = _first_file(inner) if inner else None
    if place is None or not place.is_file():
        raise UsageError(
            f"model {text!r}: there is no module {module} on Python's path or in {Path.cwd()}; "
            "install it, or start bench in its folder"
        )
    return place


def _top_level(name: str) -> ModuleSpec | None:
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # a module without a specification, such as __main__
        found = None
    return found or PathFinder.find_spec(name, [os.getcwd()])


def _first_file(inner: Path) -> Path | None:
    candidates = (inner / "__init__.py", inner.with_name(f"{inner.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _sources(module: str, text: str) -> list[Path]:
    file, outer = module_file(module, text), module.split(".")[0]
    package = _top_level(outer)
    if package and package.submodule_search_locations:  # with or without an __init__.py
        inside = {path for place in package.submodule_search_locations for path in Path(place).rglob("*.py")}
        return sorted({file, *inside})
    top = module_file(outer, text)
    waiting, found = [top], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _siblings(path)
    return sorted(found)


def _siblings(path: Path) -> list[Path]:
    """What a module imports from its own folder; installed libraries answer to their version instead."""
    if "site-packages" in path.parts or path.suffix != ".py":
        return []
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # building the network will say so
        return []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {item.name.split(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    plain = [path.with_name(f"{name}.py") for name in names]
    whole = [file for name in names for file in path.parent.joinpath(name).rglob("*.py") if name != "bench"]
    return [file for file in plain if file.is_file()] + whole
