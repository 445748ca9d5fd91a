"""Ranks as intervals: a strict order exists only where the paired intervals say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

from bench.report.statistics.bootstrap import Interval


@dataclass(frozen=True)
class Place:
    """The place of one competitor.

    Attributes:
        first: the best place that the comparisons allow it.
        last: the worst one.
        letters: its tie groups; two competitors that share a letter cannot be told apart.
    """

    first: int
    last: int
    letters: str

    def tied(self, other: Place) -> bool:
        """Whether the two cannot be told apart."""
        return bool(set(self.letters) & set(other.letters))

    @property
    def rank(self) -> str:
        """``1``, or an interval such as ``1–3``."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


def places(count: int, difference: Callable[[int, int], Interval]) -> list[Place]:
    """Places of ``count`` competitors, in the order of the competitors.

    Args:
        count: how many.
        difference: of i and j, i < j: an interval above zero means that i is certainly ahead of j, below zero
            that it is behind; anything else, or no interval at all, is a tie.
    """
    ahead, behind = [0] * count, [0] * count
    tied = {(i, i) for i in range(count)}
    for i, j in combinations(range(count), 2):
        value = difference(i, j)
        if value.low > 0 or value.high < 0:
            winner, loser = (i, j) if value.low > 0 else (j, i)
            ahead[loser] += 1
            behind[winner] += 1
        else:
            tied |= {(i, j), (j, i)}
    letters = _letters(count, tied)
    return [Place(1 + ahead[i], count - behind[i], letters[i]) for i in range(count)]


def _letters(count: int, tied: set[tuple[int, int]]) -> list[str]:
    """One letter per largest set of competitors that are all tied with each other."""
    groups = sorted(_cliques(set(), set(range(count)), set(), tied), key=sorted)
    names = [_name(number) for number in range(len(groups))]
    named = list(zip(names, groups, strict=True))
    return ["".join(name for name, group in named if i in group) for i in range(count)]


def _name(number: int) -> str:
    prefix = "" if number < len(ascii_lowercase) else _name(number // len(ascii_lowercase) - 1)
    return prefix + ascii_lowercase[number % len(ascii_lowercase)]


def _cliques(
    chosen: set[int], open_: set[int], closed: set[int], tied: set[tuple[int, int]]
) -> list[set[int]]:
    """Bron and Kerbosch's search for maximal cliques; there are a handful of competitors."""
    if not open_ and not closed:
        return [chosen] if chosen else []
    found: list[set[int]] = []
    pool, done = set(open_), set(closed)
    for i in sorted(open_):
        near = {j for j in range(max(pool | done) + 1) if j != i and (i, j) in tied}
        found += _cliques(chosen | {i}, pool & near, done & near, tied)
        pool.discard(i)
        done.add(i)
    return found
