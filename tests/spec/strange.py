"""Strange runs: traces drawn at random, of few names and small numbers, so that events meet again and again.

No loop ran them, and most break what they come upon. That is what they are for: rules that are shown only
what loops do are seldom asked how they go on after a violation. The draw is :mod:`random`'s, which is the
same in every version of Python, and so a trace is told by its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

from loopspec.trace import Event, WaitReturn
from loopspec.work import SUBMIT

_NUMBERS = ((0, 0, 1), (0, 1, 2), (0, 1, 1, 2, 3, 64, 70_000, 300_000, 2_000_000_000))
"""What numbers a run is made of: few names, or also what is beyond the bounds that clauses set."""

_WORDS = {
    "thread": ("loop", "loop", "a"),
    "name": (SUBMIT, "connect", "epoll_ctl", "a"),
    "on": ("socket", "regular file"),
    "error": ("EAGAIN", "EINPROGRESS", "EPERM", "EMFILE"),
}
"""What fields are made of in whose words there is meaning. All others are made of two that have none."""


def strange(types: Sequence[type], count: int, seed: int) -> Iterator[Event]:
    """``count`` events of some of ``types``."""
    draw = random.Random(seed)
    some = draw.sample(types, draw.randint(max(1, len(types) // 2), len(types)))
    weights = [draw.choice((1, 4, 16)) for _ in some]
    numbers = draw.choice(_NUMBERS)
    turn, now = 1, 0
    for _ in range(count):
        (kind,) = draw.choices(some, weights)
        turn += kind is WaitReturn or draw.random() < 0.1
        now += draw.choice((0, 0, 1, 2))
        values = {
            name: turn if name == "turn" else now if name == "at" else _value(name, hint, numbers, draw)
            for name, hint in _hints(kind)
        }
        make: Callable[..., Event] = kind
        yield make(**values)


@cache
def _hints(kind: type) -> tuple[tuple[str, object], ...]:
    return tuple(get_type_hints(kind).items())


def _value(name: str, hint: object, numbers: Sequence[int], draw: random.Random) -> object:
    arguments = get_args(hint)
    match get_origin(hint):
        case origin if origin is Literal:
            return draw.choice(arguments)
        case origin if origin is UnionType:
            inner = draw.choice(arguments)
            return None if inner is NoneType else _value(name, inner, numbers, draw)
        case origin if origin is tuple and arguments[-1:] == (...,):
            return tuple(_value(name, arguments[0], numbers, draw) for _ in range(draw.randrange(3)))
        case origin if origin is tuple:
            return tuple(_value(name, each, numbers, draw) for each in arguments)
        case _:
            return _plain(name, hint, numbers, draw)


def _plain(name: str, hint: object, numbers: Sequence[int], draw: random.Random) -> object:
    match getattr(hint, "__supertype__", hint):
        case kind if kind is bool:
            return draw.random() < 0.5
        case kind if kind is int:
            return draw.choice(numbers)
        case kind if kind is bytes:
            return draw.choice((b"", b"a", b"ab"))
        case kind if kind is str:
            return draw.choice(_WORDS.get(name, ("a", "a", "b")))
        case kind:
            raise TypeError(f"no value of {kind} is drawn: say here which")
