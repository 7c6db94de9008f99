"""The frozen containers that rules keep their state in: values, of which an operation gives another.

A rule's state has to be a value, so that a search can keep it beside its successors. But nearly always, in
reading a trace, nobody looks at the old state again, and a rule that follows hundreds of timers
must not copy hundreds of entries at each event. A :class:`Map` therefore is H. Baker's functional array
("Shallow binding makes functional arrays fast", 1991): the newest version owns a dict, which an operation
hands on, changed in one place, and the version that gave it away keeps the difference and knows
to whom. Whoever reads an old version gets it back, at the cost of the steps between. So a fold pays what a
mutable dict costs, and a search is still right. A set is a map to None. A :class:`Sorted` is the same over a
sorted list.

A state of several fields is a :func:`value`, and :func:`replace` gives another that differs in some.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, ItemsView, Iterable, Iterator, ValuesView
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar, dataclass_transform, overload

C = TypeVar("C")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
T = TypeVar("T", bound=tuple[int, ...])


_new = object.__new__


@dataclass_transform(frozen_default=True)
def value(cls: type[C]) -> type[C]:
    """Make a class of fields the type of frozen values: equal and hashed by them, changed by none.

    That nobody changes one is the type checker's to see, and is not looked at again when it is made: a frozen
    dataclass or a named tuple takes two to four times as long, and judging a run is mostly making values.
    """
    made = dataclass(slots=True, unsafe_hash=True)(cls)
    _COPIES[made] = _copying(made)
    return made


_COPIES: dict[type, Callable[[object], object]] = {}


def _copying(cls: type) -> Callable[[object], object]:
    """What gives a copy of a value of type ``cls``: an assignment a field, one after another."""
    lines = [f"    other.{each.name} = self.{each.name}" for each in fields(cls)]
    made: dict[str, Callable[[object], object]] = {}
    exec(
        "\n".join(("def copy(self):", "    other = new(cls)", *lines, "    return other")),
        {"new": _new, "cls": cls},
        made,
    )
    return made["copy"]


if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(state, /, **changes):
        """``state``, a :func:`value`, with other values in the fields that ``changes`` names.

        What the standard library gives under this name looks at every field each time, and takes three
        times as long.
        """
        other = _COPIES[type(state)](state)
        for name, field in changes.items():
            setattr(other, name, field)
        return other


class _Absent(Enum):
    ABSENT = "absent"


_ABSENT = _Absent.ABSENT  # looked up once: to look it up in its class is a quarter of a put


class Map(Generic[K, V]):
    """An immutable mapping. Equal and hashed by its entries; their order is not part of it."""

    __slots__ = ("_entries", "_key", "_newer", "_value")

    def __init__(self, entries: dict[K, V] | None = None) -> None:
        """A map of ``entries``, a dict that becomes its own."""
        self._entries: dict[K, V] = {} if entries is None else entries
        self._newer: Map[K, V] | None = None  # to whom it was handed on
        # What is other there: set along with it, each for itself, for a tuple would be a fifth of a put.
        self._key: K
        self._value: V | _Absent

    # -- reading

    def _own(self) -> dict[K, V]:
        """The dict, which this version now owns."""
        if self._newer is None:
            return self._entries
        path = [self]
        while (newer := path[-1]._newer) is not None:
            path.append(newer)
        entries = self._entries
        for version in path[-2::-1]:
            assert version._newer is not None
            owner, key, value = version._newer, version._key, version._value
            owner._newer, owner._key, owner._value = version, key, entries.get(key, _ABSENT)
            version._newer = None
            if isinstance(value, _Absent):
                del entries[key]
            else:
                entries[key] = value
        return entries

    def __len__(self) -> int:
        return len(self._entries if self._newer is None else self._own())

    def __contains__(self, key: object) -> bool:
        return key in (self._entries if self._newer is None else self._own())

    def __getitem__(self, key: K) -> V:
        return (self._entries if self._newer is None else self._own())[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._own())

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value under ``key``, or ``default``."""
        return (self._entries if self._newer is None else self._own()).get(key, default)

    def items(self) -> ItemsView[K, V]:
        """The entries, to be read before the next operation."""
        return self._own().items()

    def values(self) -> ValuesView[V]:
        """The values, to be read before the next operation."""
        return self._own().values()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Map) and {**self._own()} == {**other._own()})

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"Map({self._own()})"

    # -- other versions

    def put(self, key: K, value: V) -> Map[K, V]:
        """This map with ``value`` under ``key``."""
        entries = self._entries if self._newer is None else self._own()
        if not entries:
            # The empty map is everybody's first state: it keeps its dict, so that no two share a history.
            return Map({key: value})
        other: Map[K, V] = _new(Map)
        other._entries = entries
        other._newer = None
        self._newer = other
        self._key = key
        self._value = entries.get(key, _ABSENT)
        entries[key] = value
        return other

    def drop(self, key: K) -> Map[K, V]:
        """This map without ``key``; the same object if it does not have it."""
        entries = self._entries if self._newer is None else self._own()
        if key not in entries:
            return self
        other: Map[K, V] = _new(Map)
        other._entries = entries
        other._newer = None
        self._newer = other
        self._key = key
        self._value = entries.pop(key)
        return other

    def drop_all(self, keys: Iterable[K]) -> Map[K, V]:
        """This map without any of ``keys``."""
        other = self
        for key in keys:
            other = other.drop(key)
        return other

    def add(self, keys: Iterable[K], value: V) -> Map[K, V]:
        """This map with ``value`` under those of ``keys`` that it does not have."""
        entries = self._own()
        new = {key: value for key in keys if key not in entries}
        return Map({**entries, **new}) if new else self


class Sorted(Generic[T]):
    """An immutable sorted sequence in which nothing occurs twice. Equal and hashed by its items."""

    __slots__ = ("_items", "_newer")

    def __init__(self) -> None:
        """The empty sequence."""
        self._items: list[T] = []
        self._newer: tuple[Sorted[T], T, bool] | None = None  # as in a map: and whether this one has the item

    def _own(self) -> list[T]:
        """The list, which this version now owns."""
        if self._newer is None:
            return self._items
        path = [self]
        while (newer := path[-1]._newer) is not None:
            path.append(newer[0])
        items = self._items
        for version in path[-2::-1]:
            assert version._newer is not None
            owner, item, had = version._newer
            owner._newer, version._newer = (version, item, not had), None
            if had:
                insort(items, item)
            else:
                del items[bisect_left(items, item)]
        return items

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[T]:
        return iter(self._own())

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Sorted) and [*self] == [*other])

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Sorted({self._own()})"

    @property
    def first(self) -> T | None:
        """The least item, None if there is none."""
        items = self._own()
        return items[0] if items else None

    def before(self, item: T) -> list[T]:
        """Those that are less than ``item``."""
        items = self._own()
        return items[: bisect_left(items, item)]

    def put(self, item: T) -> Sorted[T]:
        """This sequence and ``item``; the same object if it has it."""
        items = self._items if self._newer is None else self._own()
        place = bisect_left(items, item)
        if place < len(items) and items[place] == item:
            return self
        other: Sorted[T] = _new(Sorted)
        other._newer = None
        if items:
            other._items = items
            self._newer = (other, item, False)
            items.insert(place, item)
        else:  # as with maps, the empty one keeps its list
            other._items = [item]
        return other

    def drop(self, item: T) -> Sorted[T]:
        """This sequence without ``item``; the same object if it does not have it."""
        items = self._items if self._newer is None else self._own()
        place = bisect_left(items, item)
        if place == len(items) or items[place] != item:
            return self
        other: Sorted[T] = _new(Sorted)
        other._items = items
        other._newer = None
        self._newer = (other, item, True)
        del items[place]
        return other
