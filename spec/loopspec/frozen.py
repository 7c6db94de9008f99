"""The frozen mapping that rules keep their state in: a value, of which an operation gives another.

A rule's state has to be a value, so that a search can keep it beside its successors. But nearly always, in
reading a trace, nobody looks at the old state again, and a rule that follows hundreds of timers
must not copy hundreds of entries at each event. A :class:`Map` therefore is H. Baker's functional array
("Shallow binding makes functional arrays fast", 1991): the newest version owns a dict, which an operation
hands on, changed in one place, and the version that gave it away keeps the difference and knows
to whom. Whoever reads an old version gets it back, at the cost of the steps between. So a fold pays what a
mutable dict costs, and a search is still right. A set is a map to None.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, ValuesView
from enum import Enum
from typing import Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class _Absent(Enum):
    ABSENT = "absent"


class Map(Generic[K, V]):
    """An immutable mapping. Equal and hashed by its entries; their order is not part of it."""

    __slots__ = ("_key", "_next", "_owned", "_value")

    _next: Map[K, V]
    _key: K
    _value: V | _Absent

    def __init__(self, entries: dict[K, V] | None = None) -> None:
        """A map of ``entries``, a dict that becomes its own."""
        self._owned: dict[K, V] | None = {} if entries is None else entries

    # -- reading

    def _entries(self) -> dict[K, V]:
        """The dict, which this version now owns."""
        if self._owned is not None:
            return self._owned
        path = [self]
        while path[-1]._owned is None:
            path.append(path[-1]._next)
        entries = path.pop()._owned
        assert entries is not None
        for version in reversed(path):
            newer, key, value = version._next, version._key, version._value
            newer._key, newer._value = key, entries.get(key, _Absent.ABSENT)
            newer._next, newer._owned = version, None
            if isinstance(value, _Absent):
                del entries[key]
            else:
                entries[key] = value
        self._owned = entries
        return entries

    def __len__(self) -> int:
        return len(self._owned if self._owned is not None else self._entries())

    def __contains__(self, key: object) -> bool:
        return key in (self._owned if self._owned is not None else self._entries())

    def __getitem__(self, key: K) -> V:
        return (self._owned if self._owned is not None else self._entries())[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries())

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value under ``key``, or ``default``."""
        return (self._owned if self._owned is not None else self._entries()).get(key, default)

    def items(self) -> ItemsView[K, V]:
        """The entries, to be read before the next operation."""
        return self._entries().items()

    def values(self) -> ValuesView[V]:
        """The values, to be read before the next operation."""
        return self._entries().values()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Map) and {**self._entries()} == {**other._entries()})

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"Map({self._entries()})"

    # -- other versions

    def put(self, key: K, value: V) -> Map[K, V]:
        """This map with ``value`` under ``key``."""
        entries = self._owned if self._owned is not None else self._entries()
        if not entries:
            # The empty map is everybody's first state: it keeps its dict, so that no two share a history.
            return Map({key: value})
        other: Map[K, V] = Map.__new__(Map)
        other._owned = entries
        self._key = key
        self._value = entries.get(key, _Absent.ABSENT)
        self._next = other
        self._owned = None
        entries[key] = value
        return other

    def drop(self, key: K) -> Map[K, V]:
        """This map without ``key``; the same object if it does not have it."""
        entries = self._owned if self._owned is not None else self._entries()
        if key not in entries:
            return self
        other: Map[K, V] = Map.__new__(Map)
        other._owned = entries
        self._key = key
        self._value = entries.pop(key)
        self._next = other
        self._owned = None
        return other

    def drop_all(self, keys: Iterable[K]) -> Map[K, V]:
        """This map without any of ``keys``."""
        other = self
        for key in keys:
            other = other.drop(key)
        return other

    def add(self, keys: Iterable[K], value: V) -> Map[K, V]:
        """This map with ``value`` under those of ``keys`` that it does not have."""
        entries = self._entries()
        new = {key: value for key in keys if key not in entries}
        return Map({**entries, **new}) if new else self
