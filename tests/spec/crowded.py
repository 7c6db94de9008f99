"""Crowded runs: few names, nearly all on the loop's own thread, turn upon turn, of one thing after another.

A strange run (:mod:`tests.spec.strange`) has most kinds of events that a rule reads, and a word or a number
means nothing in it. So it seldom comes to where a rule does its real work: that takes four events of the
right kinds in a row, in a turn that has begun and is over, of one registration, its descriptor and its
stream. Such rows come about here, by chance still: an event is mostly of what an event shortly before it
was of, and has the fields that both have in common from there. As there, a run is told by its seed.
"""

from __future__ import annotations

import random
import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

from loopspec.trace import Event, WaitBegin, WaitReturn

_WORDS = {
    "thread": ("loop", "loop", "loop", "a", "b"),
    "name": ("post", "submit", "connect tcp", "read"),
    "error": ("Boom1", "Boom2", "EAGAIN", "EMFILE", "EPERM", "EINPROGRESS"),
}
"""What words mean something to a rule, by the name of the field."""

_MASKS = (0, select.EPOLLIN, select.EPOLLOUT, select.EPOLLIN | select.EPOLLOUT, select.EPOLLHUP)

_NAMES = ((0,), (0, 0, 0, 1), (0, 1), (0, 1, 2), (0, 1, 2, 3, 4))
"""Of how many names a run is."""


_OF_THE_MOMENT = frozenset({"turn", "at", "thread", "deadline", "timeout", "batch", "outcome", "reason"})
"""What an event does not have from one before it."""


@dataclass
class _Run:
    """What is drawn of a run, and how far it has come."""

    draw: random.Random
    names: Sequence[int]
    order: float  # how likely it is that a wait returns before the next one begins
    faithful: float  # how likely an event is of what one before it was of
    lately: deque[dict[str, object]]
    turn: int = 1
    now: int = 0
    waiting: bool = False


def crowded(types: Sequence[type], count: int, seed: int) -> Iterator[Event]:
    """``count`` events of some of ``types``."""
    draw = random.Random(seed)
    some = draw.sample(types, min(len(types), draw.choice((2, 3, 4, 5, 6, 9, 99))))
    weights = [draw.choice((1, 2, 4)) for _ in some]
    order, faithful = draw.choice((0.5, 0.95, 1.0)), draw.choice((0.0, 0.6, 0.9))
    run = _Run(draw, draw.choice(_NAMES), order, faithful, deque(maxlen=draw.choice((3, 8))))
    for _ in range(count):
        (kind,) = draw.choices(some, weights)
        yield _made(run, _in_turn(run, kind, some))


def _in_turn(run: _Run, kind: type, some: Sequence[type]) -> type:
    """``kind``, or the wait's other end where the trace of a loop would have that."""
    if kind not in (WaitBegin, WaitReturn):
        return kind
    wanted = WaitReturn if run.waiting else WaitBegin
    if wanted in some and run.draw.random() < run.order:
        kind = wanted
    run.waiting = kind is WaitBegin
    run.turn += kind is WaitReturn
    return kind


def _made(run: _Run, kind: type) -> Event:
    run.now += run.draw.choice((0, 0, 0, 1, 1, 2, 3))
    values = {name: _value(run, name, hint) for name, hint in _hints(kind)}
    if run.lately and run.draw.random() < run.faithful:
        other = run.draw.choice(run.lately)
        values |= {name: value for name, value in other.items() if name in values}
    if run.draw.random() < 0.9 and {"at", "delay", "deadline"} <= values.keys():
        values["deadline"] = values["at"] + values["delay"]  # type: ignore[operator]
    run.lately.append({name: value for name, value in values.items() if name not in _OF_THE_MOMENT})
    make: Callable[..., Event] = kind
    return make(**values)


@cache
def _hints(kind: type) -> tuple[tuple[str, object], ...]:
    return tuple(get_type_hints(kind).items())


def _value(run: _Run, name: str, hint: object) -> object:
    draw, arguments = run.draw, get_args(hint)
    if name == "turn":
        return run.turn if draw.random() < 0.95 else run.turn + draw.choice((-1, 1))
    if name == "at":
        return run.now if draw.random() < 0.95 else max(0, run.now - 1)
    match get_origin(hint):
        case origin if origin is Literal:
            return draw.choice(arguments)
        case origin if origin is UnionType:
            inner = draw.choice(arguments)
            return None if inner is NoneType else _value(run, name, inner)
        case origin if origin is tuple and arguments[-1:] == (...,):
            return tuple(_value(run, name, arguments[0]) for _ in range(draw.randrange(4)))
        case origin if origin is tuple:  # a number of a descriptor, and what is reported of it
            return draw.choice(run.names), draw.choice(_MASKS)
        case _:
            return _plain(run, name, hint)


def _plain(run: _Run, name: str, hint: object) -> object:
    draw = run.draw
    match getattr(hint, "__supertype__", hint):
        case kind if kind is bool:
            return draw.random() < 0.5
        case kind if kind is int:
            if name in ("deadline", "key") and draw.random() < 0.3:
                return run.now + draw.choice((0, 1, 2, 5))
            return (
                draw.choice((0, 0, 1, 2, 5, 20)) if name in ("delay", "timeout") else draw.choice(run.names)
            )
        case kind if kind is bytes:
            return draw.choice((b"", b"a", b"b", b"ab"))
        case kind if kind is str:
            return draw.choice(_WORDS.get(name, ("", "a", "b")))
        case kind:
            raise TypeError(f"no value of {kind} is drawn: say here which")
