"""Frozen collections for the state of a rule: they are never changed, only copied with a difference.

A rule's state has to be a value: compared, hashed, kept beside its successor. Persistent trees would give
that in logarithmic time; but what a rule remembers is what is outstanding at one moment, a few hundred
entries at most, and copying a dict of that size is one memory copy in C, cheaper than any tree in Python.
So a :class:`Map` is a dict that refuses assignment. Sets whose members are never forgotten, the events ever
set, say, would make copying quadratic: names in a trace are small integers given in order of appearance,
so those are :data:`Bits`, an integer with a bit for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Map(dict[K, V]):
    """A dict that is never changed; :meth:`put` and :meth:`drop` give another. Keeps the order of putting."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __setitem__(self, key: K, value: V) -> NoReturn:
        raise TypeError("a Map is never changed: put() gives another")

    def __delitem__(self, key: K) -> NoReturn:
        raise TypeError("a Map is never changed: drop() gives another")

    def put(self, key: K, value: V) -> Map[K, V]:
        """This map with ``value`` under ``key``; a key that was there keeps its place."""
        other: Map[K, V] = Map(self)
        dict.__setitem__(other, key, value)
        return other

    def drop(self, *keys: K) -> Map[K, V]:
        """This map without ``keys``; the same object if it has none of them."""
        if not any(key in self for key in keys):
            return self
        other: Map[K, V] = Map(self)
        for key in keys:
            dict.pop(other, key, None)
        return other

    def add(self, keys: Iterable[K], value: V) -> Map[K, V]:
        """This map with ``value`` under those of ``keys`` that it does not have."""
        new = [key for key in keys if key not in self]
        if not new:
            return self
        other: Map[K, V] = Map(self)
        for key in new:
            dict.__setitem__(other, key, value)
        return other


Bits = NewType("Bits", int)
"""A set of small integers, one bit each: what is never forgotten."""

NONE = Bits(0)


def has(bits: Bits, member: int) -> bool:
    """Whether ``member`` is in the set."""
    return bool(bits >> member & 1)


def with_bit(bits: Bits, member: int) -> Bits:
    """The set and ``member``."""
    return Bits(bits | 1 << member)


def without_bit(bits: Bits, member: int) -> Bits:
    """The set but for ``member``."""
    return Bits(bits & ~(1 << member))
