"""What poll(2) says of an open file description, whatever it is of."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from loopspec.kernel import eventfd, pipe, tcp, timerfd, unix
from loopspec.kernel.law import NO_IDS, Ids
from loopspec.kernel.state import (
    IN,
    NOTHING,
    EpollSet,
    EventCounter,
    FileId,
    FreshSocket,
    Key,
    Listener,
    Mask,
    PipeEnd,
    Regular,
    SocketEnd,
    State,
    Timer,
)
from loopspec.kernel.stream import connection


def poll(state: State, file: FileId) -> tuple[State, Mask, Ids]:
    """The conditions that hold, the clauses that say so, and the state: to look at an epoll tidies it."""
    kind = state.files[file].kind
    match kind:
        case EpollSet():
            return _poll_epoll(state, file)
        case PipeEnd():
            return (state, *pipe.ready(state, kind))
        case SocketEnd():
            found = connection(state, kind.connection)
            return (state, *(unix if found.port is None else tcp).ready(state, kind))
        case FreshSocket():
            return state, tcp.fresh_mask(), NO_IDS
        case Listener():
            return state, tcp.listener_mask(kind), NO_IDS
        case EventCounter():
            return state, eventfd.mask(kind), NO_IDS
        case Timer():
            return state, timerfd.mask(kind), NO_IDS
        case Regular():
            return state, NOTHING, NO_IDS
        case _:
            assert_never(kind)


def _poll_epoll(state: State, file: FileId) -> tuple[State, Mask, Ids]:
    """An epoll is readable while something on its ready list is ready; what is found stale falls off."""
    ready = state.epolls[file].ready
    for position, key in enumerate(ready):
        state, mask, _ = poll(state, key.file)
        if mask & state.epolls[file].registrations[key].mask:
            return _with_ready(state, file, ready[position:]), IN, NO_IDS
    return _with_ready(state, file, ()), NOTHING, NO_IDS


def _with_ready(state: State, file: FileId, ready: tuple[Key, ...]) -> State:
    interest = state.epolls[file]
    if interest.ready == ready:
        return state
    return replace(state, epolls=state.epolls.put(file, replace(interest, ready=ready)))
