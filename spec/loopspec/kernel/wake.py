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
from itertools import chain, combinations, permutations, product
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
def chosen(hits: tuple[_Hit, ...], waited_on: frozenset[FileId]) -> Iterator[tuple[_Hit, ...]]:
    """An event wakes at least one of the epolls that registered its target EXCLUSIVE."""
    # The kernel goes on until somebody who waits has been woken; a set without a waiter does not count.
    awaited = [hit for hit in hits if hit.epoll in waited_on]
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
        for some in chosen(exclusive, _waited_on(state))
        for branch in _all_of(state, rest + some)
    )


def _waited_on(state: State) -> frozenset[FileId]:
    return frozenset(
        thread.suspended.file
        for thread in state.threads.values()
        if thread.suspended and isinstance(thread.suspended.call, EpollWait)
    )


def _all_of(state: State, hits: tuple[_Hit, ...]) -> Branches:
    """Link every hit. In which order one wake-up links two keys of one epoll, nobody says."""
    by_epoll: dict[FileId, list[Key]] = {}
    for hit in hits:
        by_epoll.setdefault(hit.epoll, []).append(hit.key)
    orders = [
        [(epoll, order) for order in permutations(_not_linked(state, epoll, keys))]
        for epoll, keys in by_epoll.items()
    ]
    return frozenset(chain.from_iterable(_link_each(state, order) for order in product(*orders)))


def _not_linked(state: State, epoll: FileId, keys: Iterable[Key]) -> list[Key]:
    ready = state.epolls[epoll].ready
    return [key for key in keys if key not in ready]


def _link_each(state: State, order: Iterable[tuple[FileId, tuple[Key, ...]]]) -> Branches:
    branches = certain(state)
    for epoll, keys in order:
        branches = then(branches, partial(_link_into, epoll=epoll, keys=keys))
    return branches


def _link_into(state: State, epoll: FileId, keys: tuple[Key, ...]) -> Branches:
    return link(state, epoll, *keys)


def link(state: State, epoll: FileId, *keys: Key) -> Branches:
    """Put ``keys`` at the end of the ready list of ``epoll``, and tell the epolls above it."""
    interest = state.epolls[epoll]
    if keys:
        linked = replace(interest, ready=interest.ready + keys)
        state = replace(state, epolls=state.epolls.put(epoll, linked))
    return wake(state, epoll, IN)
