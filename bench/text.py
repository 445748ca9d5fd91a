"""Foreign words made harmless, which come from other people's files and code; pages with generated tables."""

from __future__ import annotations

import unicodedata


def clean(text: object) -> str:
    """One line without control characters: it can move no cursor, set no title and turn no words around."""
    words = " ".join(str(text).split())
    return "".join(char for char in words if unicodedata.category(char)[0] != "C")


def clean_lines(text: object) -> str:
    """The same for text of several lines; empty lines are dropped."""
    lines = (clean(line) for line in str(text).splitlines())
    return "\n".join(line for line in lines if line)


def storable(text: str, most: int, *, end: bool = False) -> str:
    """The first characters of a text, or the last, lone surrogates escaped, which no file can hold.

    Args:
        text: any string that Python can hold.
        most: how many characters are kept.
        end: keep the last ones.
    """
    kept = text[-most:] if end else text[:most]
    return kept.encode("utf-8", "backslashreplace").decode("utf-8")


BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"


def rewritten(page: str, tables: str) -> str:
    """A page with these tables between its marks.

    Raises:
        ValueError: it does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"
