"""Wake-ups: how news of a description reaches the epolls that registered it.

The kernel calls every waiter on a wait queue with a key, the conditions that changed, or with none when
anything may have. A registration that listens to the key is put at the end of its epoll's ready list unless
it is there already. That is all an edge is: being put there. Whether the condition still holds is asked
later, by the wait. An epoll that is itself registered passes the news on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, permutations
from typing import NamedTuple

from loopspec.clause import Kind
from loopspec.kernel.calls import EpollWait
from loopspec.kernel.law import Branches, certain, law, then
from loopspec.kernel.state import (
    EDGE,
    EXCLUSIVE,
    IN,
    MODES,
    FileId,
    Key,
    Mask,
    Registration,
    State,
)

ANYTHING = Mask(0)
"""The key of a wake-up that does not say what has changed."""


class _Hit(NamedTuple):
    """A registration that listens."""

    epoll: FileId
    key: Key
    mask: Mask


@law(
    "EPOLL.ET.EMPTY_TO_READY_IS_EDGE",
    Kind.STEP,
    source="epoll(7); kernel 5.5–5.14",
)
def edges(was_ready: bool) -> tuple[bool, ...]:
    """A change from not ready to ready is an edge; more data on a ready stream may be one, and nothing may
    rely on either."""
    return (True, False) if was_ready else (True,)


@law("EPOLL.EXCLUSIVE.AT_LEAST_ONE", Kind.INV, source="epoll_ctl(2)")
def chosen(hits: tuple[_Hit, ...], waited_on: frozenset[FileId], rivals: bool) -> Iterator[tuple[_Hit, ...]]:
    """An event wakes at least one of the epolls that registered its target EXCLUSIVE."""
    # The kernel goes on until somebody who waits has been woken; a set without a waiter does not count.
    # A thread that waits in accept or in a pipe is a rival of the same rank: it alone may be woken.
    awaited = [hit for hit in hits if hit.epoll in waited_on]
    if rivals:
        yield ()
    for size in range(1, len(hits) + 1):
        for some in combinations(hits, size):
            if not awaited or any(hit in awaited for hit in some):
                yield some


def wake(
    state: State, file: FileId | None, key: Mask, *, was_ready: bool = False, everyone: bool = False
) -> Branches:
    """Tell the epolls that registered ``file`` of ``key``.

    ``was_ready``: the condition held already, so the world may leave it at that. ``everyone``: an end of the
    connection, which EXCLUSIVE does not ration.
    """
    hits = tuple(_hits(state, file, key)) if file is not None else ()
    if not hits:
        return certain(state)
    reached = _all_of(state, hits) if everyone else _rationed(state, hits)
    if not any(hit.mask & EDGE for hit in hits):
        return reached | certain(state) if was_ready else reached
    tagged = frozenset(branch.because("EPOLL.ET.EMPTY_TO_READY_IS_EDGE") for branch in reached)
    return frozenset(
        branch for happens in edges(was_ready) for branch in (tagged if happens else certain(state))
    )


def _hits(state: State, file: FileId, key: Mask) -> Iterator[_Hit]:
    for epoll, interest in state.epolls.items():
        for at, registration in interest.registrations.items():
            if at.file == file and listens(registration, key):
                yield _Hit(epoll, at, registration.mask)


def listens(registration: Registration, key: Mask) -> bool:
    """Whether a wake-up with ``key`` concerns this registration; a one-shot that has fired hears nothing."""
    conditions = registration.mask & ~MODES
    return bool(conditions) and (key == ANYTHING or bool(key & conditions))


def _rationed(state: State, hits: tuple[_Hit, ...]) -> Branches:
    exclusive = tuple(hit for hit in hits if hit.mask & EXCLUSIVE)
    if not exclusive:
        return _all_of(state, hits)
    rest = tuple(hit for hit in hits if not hit.mask & EXCLUSIVE)
    return frozenset(
        branch.because("EPOLL.EXCLUSIVE.AT_LEAST_ONE")
        for some in chosen(exclusive, _waited_on(state), _is_waited_for(state, exclusive[0].key.file))
        for branch in _all_of(state, rest + some)
    )


def _is_waited_for(state: State, file: FileId) -> bool:
    """Whether a thread is suspended in a call on ``file`` itself."""
    return any(thread.suspended and thread.suspended.file == file for thread in state.threads.values())


def _waited_on(state: State) -> frozenset[FileId]:
    return frozenset(
        thread.suspended.file
        for thread in state.threads.values()
        if thread.suspended and isinstance(thread.suspended.call, EpollWait)
    )


def _all_of(state: State, hits: tuple[_Hit, ...]) -> Branches:
    """Link every hit. In which order one wake-up finds its waiters, nobody says."""
    orders = permutations(hits) if _order_shows(state, hits) else (hits,)
    return frozenset(chain.from_iterable(_link_each(state, order) for order in orders))


def _order_shows(state: State, hits: tuple[_Hit, ...]) -> bool:
    """Whether two of the hits end up in one ready list: in that of one epoll, or of one above both."""
    epolls = [hit.epoll for hit in hits]
    above = any(key.file in epolls for interest in state.epolls.values() for key in interest.registrations)
    return len(set(epolls)) < len(epolls) or (above and len(epolls) > 1)


def _link_each(state: State, order: Iterable[_Hit]) -> Branches:
    branches = certain(state)
    for hit in order:
        branches = then(branches, partial(link, epoll=hit.epoll, key=hit.key))
    return branches


def link(state: State, epoll: FileId, key: Key) -> Branches:
    """Put ``key`` at the end of the ready list of ``epoll`` unless it is on it, and tell the epolls above."""
    interest = state.epolls[epoll]
    if key not in interest.ready:
        linked = replace(interest, ready=(*interest.ready, key))
        state = replace(state, epolls=state.epolls.put(epoll, linked))
    return wake(state, epoll, IN)
