"""Python files as code: their tokens without comments and docstrings, and what they import where they run.

What a text means is remembered by the text itself: a file that is read again is not parsed again.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

Import = tuple[str, str | None]
"""A module, and the name that is taken from it; None for the module itself."""
_LAYOUT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file; empty where it is no Python, which no import can run."""
    return _tree(path.read_bytes())


@cache
def _tree(data: bytes) -> ast.Module:
    try:
        return ast.parse(data)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


@cache
def code_of(path: Path) -> str:
    """The code of a file: its tokens, but for comments and texts that stand alone."""
    return "\n".join(text for _, text in _tokens(path.read_bytes()))


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    """What a file imports where it runs, at its top and in its functions."""
    return _imported(path.read_bytes())


@cache
def _imported(data: bytes) -> tuple[Import, ...]:
    return tuple(_imports(_tree(data)))


@cache
def _tokens(data: bytes) -> tuple[tuple[int, str], ...]:
    return tuple(_tokenized(data))


def _tokenized(data: bytes) -> Iterator[tuple[int, str]]:
    """Line and text of each token of the code of a file; of a file that is no Python, its text."""
    alone = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(_tree(data))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type not in _LAYOUT and not (token.type == tokenize.STRING and token.start in alone):
                yield token.start[0], token.string
    except (tokenize.TokenError, SyntaxError):
        yield 0, data.decode(errors="replace")


def _runs(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that runs: no annotation, and nothing for type checkers alone."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        if isinstance(node, ast.If) and name == "body" and _typing_alone(node.test):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield from _runs(item)


def _typing_alone(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _imports(node: ast.AST) -> Iterator[Import]:
    for item in _runs(node):
        if isinstance(item, ast.Import):
            yield from ((alias.name, None) for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and item.level == 0 and item.module:
            yield from ((item.module, alias.name) for alias in item.names)


@dataclass(frozen=True)
class Entry:
    """A definition in a file: with all of the file that it can reach, where a stage enters the code.

    Attributes:
        path: the file.
        name: of a function; ``OBJECT.method`` of a method of the class whose object is bound to a name.
    """

    path: Path
    name: str

    @cached_property
    def _reached(self) -> list[ast.AST]:
        """The statements of the file that the definition reaches, itself included.

        Raises:
            KeyError: there is no such definition.
        """
        known = _bound(parsed(self.path))
        first, _, method = self.name.partition(".")
        own = _methods(known, known[first]) if method else {}
        found: dict[int, ast.AST] = {}
        waiting: list[ast.AST] = [own[method] if method else known[first]]
        while waiting:
            node = waiting.pop()
            if id(node) in found:
                continue
            found[id(node)] = node
            given = _parameters(node)
            for item in _runs(node):
                if isinstance(item, ast.Name) and item.id in known and item.id not in given:
                    waiting.append(known[item.id])
                elif isinstance(item, ast.Attribute) and item.attr in own:
                    waiting.append(own[item.attr])
        return sorted(found.values(), key=lambda node: node.lineno)  # type: ignore[attr-defined]

    @property
    def exists(self) -> bool:
        """Whether the file has it: a class may take it from its base, which its other methods lead to."""
        try:
            return bool(self._reached)
        except KeyError:
            return False

    @cached_property
    def code(self) -> str:
        """The code of these statements, imports of other modules left out."""
        lines: set[int] = set()
        for node in self._reached:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                lines |= set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]
        return "\n".join(text for line, text in _tokens(self.path.read_bytes()) if line in lines)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """What these statements import."""
        return tuple(dict.fromkeys(item for node in self._reached for item in self._wanted(node)))

    def _wanted(self, node: ast.AST) -> Iterator[Import]:
        """The imports of a statement; of one at the top of the file, only the names that are reached."""
        top = isinstance(node, ast.Import | ast.ImportFrom)
        used = {item.id for other in self._reached for item in _runs(other) if isinstance(item, ast.Name)}
        for module, name in _imports(node):
            if not top or (name or module.partition(".")[0]) in used or _renamed(node, name, used):
                yield module, name


def _renamed(node: ast.AST, name: str | None, used: set[str]) -> bool:
    aliases = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
    return any(alias.asname in used and name in (alias.name, None) for alias in aliases)


def _bound(tree: ast.Module) -> dict[str, ast.AST]:
    """The statements at the top of a file by the names that they bind."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {item.id: node for item in node.targets if isinstance(item, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def _methods(known: dict[str, ast.AST], bound: ast.AST) -> dict[str, ast.AST]:
    """The methods of the class whose object a statement binds."""
    value = bound.value if isinstance(bound, ast.Assign | ast.AnnAssign) else None
    kind = known[value.func.id] if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else bound
    return {item.name: item for item in getattr(kind, "body", []) if isinstance(item, _Function)}


def _parameters(node: ast.AST) -> set[str]:
    """The names that a function is given, which hide those of its file."""
    return (
        {item.arg for item in ast.walk(node.args) if isinstance(item, ast.arg)}
        if isinstance(node, _Function)
        else set()
    )
