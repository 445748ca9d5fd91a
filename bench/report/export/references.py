"""BibTeX of the papers behind attacks and defenses, from their cards."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from bench.api.cards import AttackCard, DefenseCard
from bench.report.text import latex
from bench.text import clean

Card = AttackCard | DefenseCard
_PAPER = re.compile(r"(?P<title>.+?) \((?P<venue>(?:[^()]|\([^()]*\))*?)[ ,]*\b\d{4}\)")
"""``Title (Venue Year)``; parentheses without a year belong to the title."""
_AUTHORS = re.compile(r"\s*,\s*|\s+and\s+|\s*&\s*")
_SMALL = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "into", "is", "of", "on", "the", "to", "with"]
)
"""Words of a title that its key leaves out."""
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0328": "k",
}  # fmt: skip
_LETTERS = {
    "ß": r"{\ss}", "ø": r"{\o}", "Ø": r"{\O}", "ł": r"{\l}", "Ł": r"{\L}", "æ": r"{\ae}", "Æ": r"{\AE}",
    "œ": r"{\oe}", "ı": r"{\i}", "đ": r"{\dj}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}",
    "–": "--", "’": "'",
}  # fmt: skip
"""Braces are spelt, as BibTeX counts escaped ones, too."""


@dataclass(frozen=True)
class Reference:
    r"""A paper.

    Attributes:
        key: what ``\cite`` names it by; it follows from the paper alone.
        fields: of the entry, escaped.
        more: what else the card names; no entry is made of it, as the card has no year or address for it.
    """

    key: str
    fields: Mapping[str, str]
    more: str = ""


def references(cards: Mapping[str, Card]) -> dict[str, Reference]:
    """The paper of each plug-in; plug-ins of one paper share it.

    Args:
        cards: by name of the plug-in.
    """
    found: dict[str, Reference] = {}
    taken: dict[str, str] = {}
    for name, card in sorted(cards.items()):
        made = _reference(card)
        if taken.setdefault(made.key, made.fields["title"]) != made.fields["title"]:
            digest = hashlib.sha256(made.fields["title"].encode()).hexdigest()[:4]
            made = replace(made, key=made.key + digest)
        found[name] = made
    return found


def bibtex(papers: Mapping[str, Reference]) -> str:
    """The file ``references.bib``: one entry for each paper, and what in the tables it stands for."""
    entries: dict[str, dict[str, str]] = {}
    for reference in papers.values():
        entries[reference.key] = {**reference.fields, **entries.get(reference.key, {})}
    texts = []
    for key, fields in sorted(entries.items()):
        users = [(name, reference.more) for name, reference in papers.items() if reference.key == key]
        notes = [f"% {name}{more and f', also: {more}'}\n" for name, more in users]
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        texts.append(f"{''.join(notes)}@misc{{{key},\n{lines}\n}}\n")
    return "\n".join(texts)


def _reference(card: Card) -> Reference:
    """Of several papers the first, as its year and address are those of the card."""
    (paper, more), (authors, _) = (_halves(text) for text in (card.paper, card.authors))
    parts = _PAPER.match(paper)
    title, venue = (parts["title"], parts["venue"]) if parts else (paper, "")
    names = [name for name in _AUTHORS.split(authors) if name]
    fields = {
        "title": f"{{{_escaped(title)}}}",
        "author": " and ".join(map(_author, names)),
        "howpublished": _escaped(venue),
        "year": str(card.year),
        "url": quote(card.url, safe=":/?&=#%~+,;@!()*'$"),
    }
    words = [word for word in re.findall("[a-z0-9]+", _ascii(title)) if word not in _SMALL]
    surname = "".join(re.findall("[a-z0-9]+", _ascii(names[0] if names else "")))
    key = f"{surname}{card.year}{''.join(words[:2])}"
    kept = {name: value for name, value in fields.items() if value}
    return Reference(key, kept, clean(more).replace("@", " at "))


def _halves(text: str) -> tuple[str, str]:
    first, _, more = text.partition(";")
    return first.strip(), more.strip()


def _author(name: str) -> str:
    """A family name; of several words it would be taken for a given and a family name."""
    if name == "et al.":
        return "others"
    return f"{{{_escaped(name)}}}" if " " in name else _escaped(name)


def _escaped(text: str) -> str:
    """A field's text as LaTeX in ASCII, accents as commands."""
    return "".join(map(_letter, unicodedata.normalize("NFC", text)))


def _letter(char: str) -> str:
    base, *marks = [*unicodedata.normalize("NFD", char)]
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        return f"{{\\{_ACCENTS[marks[0]]}{{{base}}}}}"
    return _LETTERS.get(char) or latex(char) or " "


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
