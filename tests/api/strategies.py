"""Random damage to TOML files, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from bench.api.cards import Kind
from bench.api.errors import UsageError

T = TypeVar("T")
KINDS: tuple[Kind, ...] = ("attack", "defense", "dataset")

# What a TOML file can say; json.dumps leaves DEL as it is, which TOML forbids.
_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
_ODD = st.sampled_from(["", "name", "model_config", "__class__", "gradients", "lenet", "guess", "\x1b[31m"])
_KEYS = st.one_of(_WORDS, _ODD)
_SCALARS = st.one_of(
    st.booleans(), st.integers(), st.just(10**400), st.floats(width=32), st.dates(), _WORDS, _ODD
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, root: dict[str, Any]) -> dict[str, Any]:
    """A document with up to four values replaced, removed or added, anywhere in it."""
    for _ in range(draw(st.integers(1, 4))):
        node: Any = root
        while True:
            keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            _damage(draw, node, key)
            break
    return root


def _damage(draw: st.DrawFn, node: Any, key: Any) -> None:
    kind = draw(st.sampled_from(["replace", "remove", "add"]))
    if kind == "replace":
        node[key] = draw(VALUES)
    elif kind == "remove":
        del node[key]
    elif isinstance(node, dict):
        node[draw(_KEYS)] = draw(VALUES)
    else:
        node.append(draw(VALUES))


def read_or_refused(file: Path, text: str, read: Callable[[], T]) -> T | None:
    """What ``read`` returns, or None if it raises the one error that it may, which names the file."""
    file.write_text(text, encoding="utf-8", newline="", errors="replace")
    try:
        return read()
    except UsageError as error:
        assert str(file) in str(error)
        return None
