"""A state as JSON, and back, exactly.

A tagged form, since a state is a tree of closed unions: every dataclass is ``[name, field, …]`` in the order
of its fields, a table ``["Table", [key, value], …]`` in the order of its keys, a tuple ``["tuple", …]``, and
bytes ``["bytes", latin-1]``. What is equal has one encoding, so texts may be compared in place of states.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TypeAlias, get_args

from loopspec.kernel import calls, state
from loopspec.kernel.state import Key, State, Table

Json: TypeAlias = "int | str | bool | list[Json] | None"


class CodecError(ValueError):
    """A text that is no state; the message says what was met."""


_CLASSES: tuple[type, ...] = (
    *get_args(calls.Call),
    *get_args(state.FileKind),
    *get_args(state.Shared),
    state.File,
    state.End,
    state.Registration,
    state.Interest,
    state.Suspended,
    state.Thread,
    state.Buffer,
    state.Limits,
    state.State,
)
_ENUMS: tuple[type[Enum], ...] = (state.Errno, calls.Control, calls.How)

_MAKE: dict[str, Callable[..., object]] = {cls.__name__: cls for cls in _CLASSES}
_MEMBER: dict[str, Callable[[object], object]] = {cls.__name__: cls for cls in _ENUMS}
_FIELDS: dict[str, tuple[str, ...]] = {
    cls.__name__: tuple(entry.name for entry in fields(cls)) for cls in _CLASSES
}


def encode(value: State) -> str:
    """``value`` as one line of JSON."""
    return json.dumps(_plain(value), separators=(",", ":"))


def decode(text: str) -> State:
    """The state that ``text`` tells; :class:`CodecError` if it tells none."""
    try:
        made = _made(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise CodecError(f"no state: {error}") from error
    if not isinstance(made, State):
        raise CodecError(f"a {type(made).__name__}, and no state")
    return made


def _plain(value: object) -> Json:
    if isinstance(value, Enum):
        return [type(value).__name__, value.value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return ["bytes", value.decode("latin-1")]
    if isinstance(value, Table):
        return ["Table", *([_plain(key), _plain(value[key])] for key in sorted(value))]
    if isinstance(value, Key):
        return ["Key", *value]
    if isinstance(value, tuple):
        return ["tuple", *map(_plain, value)]
    if is_dataclass(value):
        name = type(value).__name__
        return [name, *(_plain(getattr(value, field)) for field in _FIELDS[name])]
    raise TypeError(f"{value!r} is no part of a state")


def _made(value: Json) -> object:
    if not isinstance(value, list):
        return value
    tag, *rest = value
    match tag:
        case "bytes":
            (text,) = rest
            return str(text).encode("latin-1")
        case "Table":
            return Table(_pairs(rest))
        case "Key":
            number, file = rest
            return Key(state.Number(_whole(number)), state.FileId(_whole(file)))
        case "tuple":
            return tuple(map(_made, rest))
        case str() if tag in _MEMBER:
            (member,) = rest
            return _MEMBER[tag](member)
        case str():
            named = zip(_FIELDS[tag], map(_made, rest), strict=True)
            return _MAKE[tag](**dict(named))
        case _:
            raise TypeError(f"{tag!r} is no tag")


def _pairs(entries: Iterable[Json]) -> Iterable[tuple[object, object]]:
    for entry in entries:
        if not isinstance(entry, list):
            raise TypeError(f"{entry!r} is no entry of a table")
        key, value = entry
        yield _made(key), _made(value)


def _whole(value: Json) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no number")
    return value
