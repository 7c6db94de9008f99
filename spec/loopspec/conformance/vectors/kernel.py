"""Kernel vectors: drawn sequences of calls, and what the model allows of each.

What is allowed depends on what happened before, since the world may choose: after a write that was taken in
part other reads are right than after one that was taken whole. So a vector is not a list of allowed results
but a small automaton: a node is all that may be the case (a set of states of the model), a call leads from
each node by each result that is allowed there to another. Nothing of the model's states is written out;
whoever plays the vector needs a place in a table and no model.

One thread makes all calls, and a call that might suspend it is left out: to observe a suspension one needs
means that no two systems share. Left out with it is TCP, whose packets travel in their own time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import assert_never

import loopspec
from loopspec.conformance.drawing import DRIVER, Drawer
from loopspec.kernel import timerfd
from loopspec.kernel.calls import (
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Count,
    Data,
    Done,
    Dup,
    EpollControl,
    EpollWait,
    Events,
    Exit,
    Failed,
    Fork,
    GetError,
    Handshake,
    Listen,
    Opened,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Outcome,
    Read,
    Result,
    Resume,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Sleeps,
    Write,
)
from loopspec.kernel.codec import decode, encode
from loopspec.kernel.fd import names_of
from loopspec.kernel.law import NotModelledError
from loopspec.kernel.state import Buffer, Limits, Number, PipeEnd, State, ThreadId, initial
from loopspec.kernel.step import step

FORMAT = 1
"""The version of the file's format. It grows when a runner of the old one would misread the new."""

VECTORS, CALLS = 120, 40
"""How many vectors, and how many calls each: so many ask every clause that can be asked here, and often."""

WIDEST = 12
"""A vector ends where more nodes than this would be possible at once."""

#: A stream holds more than a vector writes: how much a socket's buffer takes is a kernel's own affair.
LIMITS = Limits(unix=Buffer(sure=1 << 14, most=1 << 20))

_PIPE_UNIT = 2048

Json = Mapping[str, object]
States = frozenset[State]


def document() -> Json:
    """The whole file, as JSON takes it."""
    return {
        "loopspec-kernel-vectors": FORMAT,
        "loopspec": loopspec.__version__,
        "numbers": LIMITS.numbers,
        "pipe": {"unit": _PIPE_UNIT, "capacity": LIMITS.pipe.most},
        "vectors": [vector(number) for number in range(VECTORS)],
    }


def vector(number: int) -> Json:
    """One vector; ``number`` is the seed of its drawing."""
    level: tuple[States, ...] = (frozenset((initial(2, LIMITS),)),)
    drawer = Drawer(Random(number), (ThreadId(1),))
    steps: list[Json] = []
    clauses: set[str] = set()
    while len(steps) < CALLS and len(level) <= WIDEST:
        for call in drawer.next(_one(level[0])):
            found = None if len(steps) == CALLS else _played(level, call)
            if found is not None:
                entry, level, fired = found
                steps.append(entry)
                clauses |= fired
    return {"name": f"drawn-{number}", "clauses": sorted(clauses), "steps": steps}


def _one(states: States) -> State:
    """One of ``states``, and the same one whatever the order of a set: tables and all are made anew."""
    return decode(min(map(encode, states)))


def _played(level: tuple[States, ...], call: Call) -> tuple[Json, tuple[States, ...], frozenset[str]] | None:
    """``call`` from every node of ``level``: its entry, the nodes that follow, the clauses that were asked.

    None if one who plays the vector could not make it.
    """
    plain = _call(_one(level[0]), call)
    if plain is None:
        return None
    following: dict[States, int] = {}
    allowed: list[list[Json]] = []
    fired: set[str] = set()
    for node in level:
        outcomes = _outcomes(node, call)
        if not outcomes:
            return None
        allowed.append([])
        for those in outcomes.values():
            next_node = following.setdefault(frozenset(o.state for o in those), len(following))
            ids = frozenset().union(*(outcome.clauses for outcome in those))
            fired |= ids
            allowed[-1].append(
                {"result": _result(those[0].result), "next": next_node, "clauses": sorted(ids)}
            )
    return {"call": plain, "allowed": allowed}, tuple(following), frozenset(fired)


def _outcomes(node: States, call: Call) -> dict[str, list[Outcome]]:
    """All outcomes by result, in the order of the results' texts; none if the caller might be suspended."""
    found: dict[str, list[Outcome]] = {}
    try:
        for state in node:
            for outcome in step(state, call):
                if isinstance(outcome.result, Sleeps):
                    return {}
                found.setdefault(repr(outcome.result), []).append(outcome)
    except NotModelledError:
        return {}
    return dict(sorted(found.items()))


# --- in plain words -------------------------------------------------------------------------------------


def _call(state: State, call: Call) -> Json | None:
    """``call`` as JSON; None for one that a single thread cannot make, or not in the same way everywhere."""
    if not isinstance(call, Advance) and call.thread != DRIVER:
        return None
    match call:
        case OpenPipe(nonblocking=nonblocking):
            return {"name": "pipe", "nonblocking": nonblocking}
        case OpenPair(nonblocking=nonblocking):
            return {"name": "socketpair", "nonblocking": nonblocking}
        case OpenEvent(count=count, nonblocking=nonblocking):
            return {"name": "eventfd", "count": count, "nonblocking": nonblocking}
        case OpenTimer(nonblocking=nonblocking):
            return {"name": "timerfd", "nonblocking": nonblocking}
        case OpenFile(data=data, nonblocking=nonblocking):
            return {"name": "file", "data": data.hex(), "nonblocking": nonblocking}
        case OpenEpoll():
            return {"name": "epoll"}
        case Read(fd=fd, size=size):
            return {"name": "read", "fd": fd, "size": size, "unit": _unit(state, fd)}
        case Write(fd=fd, data=data):
            return {"name": "write", "fd": fd, "data": data.hex(), "unit": _unit(state, fd)}
        case Shutdown(fd=fd, how=how):
            return {"name": "shutdown", "fd": fd, "how": how.name}
        case Close(fd=fd):
            return {"name": "close", "fd": fd}
        case Dup(fd=fd):
            return {"name": "dup", "fd": fd}
        case SetNonblocking(fd=fd, nonblocking=nonblocking):
            return {"name": "set_nonblocking", "fd": fd, "nonblocking": nonblocking}
        case GetError(fd=fd):
            return {"name": "get_error", "fd": fd}
        case SetTimer(fd=fd, after=after):
            return {"name": "timerfd_settime", "fd": fd, "after": after}
        case EpollControl(epfd=epfd, op=op, fd=fd, mask=mask, data=cookie, readable=readable):
            place = {"epfd": epfd, "op": op.name, "fd": fd}
            return {"name": "epoll_ctl", **place, "mask": mask, "data": cookie, "readable": readable}
        case EpollWait(epfd=epfd, maxevents=maxevents, timeout=timeout):
            return {"name": "epoll_wait", "epfd": epfd, "maxevents": maxevents} if timeout == 0 else None
        case Advance(to=to):
            return _advance(state, to)
        case OpenSocket() | Listen() | Connect() | Accept() | Abort() | Handshake():
            return None
        case Fork() | Exit() | Resume():
            return None
        case _:
            assert_never(call)


def _unit(state: State, fd: Number) -> int:
    """How many bytes one unit of what ``fd`` names is."""
    file = names_of(state, DRIVER).get(fd)
    return _PIPE_UNIT if file is not None and isinstance(state.files[file].kind, PipeEnd) else 1


def _advance(state: State, to: int) -> Json | None:
    """The timers that expire on the way, each by a number; None if one of them has none."""
    numbers = {file: number for number, file in sorted(names_of(state, DRIVER).items(), reverse=True)}
    due = timerfd.due(state, to)
    if not all(file in numbers for file in due):
        return None
    return {"name": "advance", "to": to, "expire": [numbers[file] for file in due]}


def _result(result: Result) -> Sequence[object]:
    match result:
        case Done():
            return ["done"]
        case Opened(numbers=numbers):
            return ["opened", *numbers]
        case Count(value=value):
            return ["count", value]
        case Data(data=data):
            return ["data", data.hex()]
        case Events(batch=batch):
            return ["events", *([data, mask] for data, mask in batch)]
        case Failed(errno=errno):
            return ["error", errno.name]
        case Sleeps():
            raise AssertionError("a call that suspends its caller is in no vector")
        case _:
            assert_never(result)


def clauses_of(written: Json) -> Iterator[str]:
    """Every clause that any vector of a document asks of a kernel, as often as it does."""
    vectors = written["vectors"]
    assert isinstance(vectors, list)
    for entry in vectors:
        yield from entry["clauses"]
