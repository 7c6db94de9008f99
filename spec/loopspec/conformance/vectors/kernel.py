"""Kernel vectors: drawn sequences of calls, and what the model allows of each.

What is allowed depends on what happened before, since the world may choose: after a write that was taken in
part other reads are right than after one that was taken whole. So a vector is not a list of allowed results
but a small automaton: a node is all that may be the case (a set of states of the model), a call leads from
each node by each result that is allowed there to another. Nothing of the model's states is written out;
whoever plays the vector needs a place in a table and no model.

Three make calls: a thread that is never suspended, a second one that may be, and a process forked from the
first. What a runner sees of a call is its result, or that its caller is suspended, and whether a suspended
call went on because of it: with what result. That is enough to tell a lost wake-up from a late one, since
what must go on has to do so before the next call is made. Left out are calls whose end is a matter of real
time, and two who wait at once: which of them goes on is one question more than a result can answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple, assert_never

import loopspec
from loopspec.conformance.drawing import CHILD, DRIVER, LONG, Drawer
from loopspec.conformance.vectors.motifs import WORKER, Motifs
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
from loopspec.kernel.state import (
    Buffer,
    Connection,
    Limits,
    Number,
    ObjectId,
    PipeEnd,
    State,
    ThreadId,
    initial,
)
from loopspec.kernel.step import must_go_on, step

FORMAT = 2
"""The version of the file's format. It grows when a runner of the old one would misread the new."""

VECTORS, CALLS = 160, 40
"""How many vectors, and how many calls each: so many ask every clause that can be asked here, and often."""

WAITING = 0.15
"""The share of motifs of who waits. A motif is ten calls."""

WIDEST = 12
"""A vector ends where more nodes than this would be possible at once."""

#: A stream holds more than a vector writes: how much a socket's buffer takes is a kernel's own affair.
LIMITS = Limits(unix=Buffer(sure=1 << 14, most=1 << 20))

_ACTORS = {DRIVER: 0, WORKER: 1, CHILD: 2}

_PIPE_UNIT = 2048

Json = Mapping[str, object]
States = frozenset[State]


class Seen(NamedTuple):
    """One thing that a runner may see: the result of the call, and of the suspended one that it let go on."""

    result: Result
    woken: Result | None
    state: State
    clauses: frozenset[str]


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
    random = Random(number)
    drawer, motifs = Drawer(random, (WORKER,)), Motifs(random)
    steps: list[Json] = []
    clauses: set[str] = set()
    while len(steps) < CALLS and len(level) <= WIDEST:
        draw = motifs.next if random.random() < WAITING else drawer.next
        for call in draw(_one(level[0])):
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
    if isinstance(call, EpollWait) and call.timeout == LONG:
        call = replace(call, timeout=None)
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
            next_node = following.setdefault(frozenset(seen.state for seen in those), len(following))
            ids = frozenset().union(*(seen.clauses for seen in those))
            fired |= ids
            woken = None if those[0].woken is None else _result(those[0].woken)
            allowed[-1].append(
                {
                    "result": _result(those[0].result),
                    "woken": woken,
                    "next": next_node,
                    "clauses": sorted(ids),
                }
            )
    return {"call": plain, "allowed": allowed}, tuple(following), frozenset(fired)


def _outcomes(node: States, call: Call) -> dict[str, list[Seen]]:
    """All that may be seen, in the order of the results' texts; none if the first thread or the child might
    be suspended."""
    found: dict[str, list[Seen]] = {}
    try:
        for state in node:
            for outcome in step(state, call):
                if isinstance(outcome.result, Sleeps) and call.thread != WORKER:
                    return {}
                for seen in _rested(outcome):
                    if call.thread == WORKER:
                        seen = seen._replace(result=seen.woken or seen.result, woken=None)
                    found.setdefault(f"{seen.result} {seen.woken}", []).append(seen)
    except NotModelledError:
        return {}
    return dict(sorted(found.items()))


def _rested(outcome: Outcome) -> Iterator[Seen]:
    """What comes of ``outcome`` once the network has carried what was sent, and nobody waits who must not."""
    news = [Seen(outcome.result, None, state, outcome.clauses) for state in _carried(outcome.state)]
    known = set(news)
    while news:
        seen = news.pop()
        if not seen.state.threads[WORKER].suspended:
            yield seen
            continue
        if not must_go_on(seen.state, WORKER):
            yield seen
        for going in step(seen.state, Resume(thread=WORKER)):
            woken = None if isinstance(going.result, Sleeps) else going.result
            after = Seen(outcome.result, woken, going.state, seen.clauses | going.clauses)
            if after not in known:
                known.add(after)
                news.append(after)


def _carried(state: State) -> set[State]:
    states = {state}
    for id in sorted(id for id in state.objects if _is_under_way(state, id)):
        carried = {outcome.state for each in states for outcome in step(each, Handshake(id))}
        states = carried | {each for each in states if not _is_under_way(each, id)}
    return states


def _is_under_way(state: State, id: ObjectId) -> bool:
    found = state.objects.get(id)
    return isinstance(found, Connection) and found.under_way


# --- in plain words -------------------------------------------------------------------------------------


def _call(state: State, call: Call) -> Json | None:
    """``call`` as JSON; None for one whose end is a matter of time, or that is no call of a vector."""
    if isinstance(call, Advance):
        return _advance(state, call.to)
    if isinstance(call, EpollWait) and call.timeout not in (0, None):
        return None
    if call.thread not in state.threads or state.threads[call.thread].suspended:
        return None
    named = _named(state, call)
    return None if named is None else {"by": _ACTORS[call.thread], **named}


def _named(state: State, call: Call) -> Json | None:
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
            return {"name": "read", "fd": fd, "size": size, "unit": _unit(state, call.thread, fd)}
        case Write(fd=fd, data=data):
            return {"name": "write", "fd": fd, "data": data.hex(), "unit": _unit(state, call.thread, fd)}
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
            return {"name": "epoll_wait", "epfd": epfd, "maxevents": maxevents, "forever": timeout is None}
        case OpenSocket(nonblocking=nonblocking):
            return {"name": "socket", "nonblocking": nonblocking}
        case Listen(fd=fd, port=port, backlog=backlog):
            return {"name": "listen", "fd": fd, "port": port, "backlog": backlog}
        case Connect(fd=fd, port=port):
            return {"name": "connect", "fd": fd, "port": port}
        case Accept(fd=fd, nonblocking=nonblocking):
            return {"name": "accept", "fd": fd, "nonblocking": nonblocking}
        case Abort(fd=fd):
            return {"name": "abort", "fd": fd}
        case Fork():
            return {"name": "fork"}
        case Exit():
            return {"name": "exit"}
        case Advance() | Handshake() | Resume():
            return None
        case _:
            assert_never(call)


def _unit(state: State, thread: ThreadId, fd: Number) -> int:
    """How many bytes one unit of what ``fd`` names is."""
    file = names_of(state, thread).get(fd)
    return _PIPE_UNIT if file is not None and isinstance(state.files[file].kind, PipeEnd) else 1


def _advance(state: State, to: int) -> Json | None:
    """The timers that expire on the way, each by a number; None if one of them has none."""
    numbers = {file: number for number, file in sorted(names_of(state, DRIVER).items(), reverse=True)}
    due = timerfd.due(state, to)
    if not all(file in numbers for file in due):
        return None
    return {"by": 0, "name": "advance", "to": to, "expire": [numbers[file] for file in due]}


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
            return ["suspended"]
        case _:
            assert_never(result)


def clauses_of(written: Json) -> Iterator[str]:
    """Every clause that any vector of a document asks of a kernel, as often as it does."""
    vectors = written["vectors"]
    assert isinstance(vectors, list)
    for entry in vectors:
        yield from entry["clauses"]
