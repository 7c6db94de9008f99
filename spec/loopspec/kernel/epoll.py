"""EPOLL: registrations, the ready list, and the wait that takes batches from it.

The ready list is the whole secret. To be on it means *may be ready*; a wait takes keys from its front, asks
each description what holds now, and drops what is not ready any more. A level-triggered registration that
was reported goes to the end of the list at once, an edge-triggered one waits for the next wake-up to put it
there, a one-shot one is deaf until MOD. Level, edge, one-shot and the rotation are four lines apart.

fs/eventpoll.c does the same; the man pages say what of it may be relied on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, assert_never

from loopspec.clause import Kind
from loopspec.kernel.calls import DONE, Control, EpollControl, Events, Outcome
from loopspec.kernel.errors import lookup, refusals
from loopspec.kernel.law import Branch, Branches, Ids, law
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    EDGE,
    ERR,
    HUP,
    MODES,
    ONESHOT,
    FileId,
    Interest,
    Key,
    Mask,
    Number,
    Registration,
    State,
    Suspended,
)
from loopspec.kernel.wake import link

# --- epoll_ctl ------------------------------------------------------------------------------------------


@law("EPOLL.KEY.NUMBER_AND_DESCRIPTION", Kind.INV, source="epoll(7) Q0, Q1")
def key_of(number: Number, file: FileId) -> Key:
    """A registration is keyed by (number, open file description): a dup is another key, and one reused number
    can own two."""
    return Key(number, file)


@law("EPOLL.MASK.ERR_HUP_ALWAYS", Kind.STEP, source="epoll_ctl(2)")
def kept_mask(asked: Mask) -> Mask:
    """ERR and HUP are reported whether or not the mask asks for them, mask 0 included."""
    return Mask(asked | ERR | HUP)


def control(state: State, call: EpollControl) -> tuple[Outcome, ...]:
    """epoll_ctl(2)."""
    refused = refusals(state, call)
    if refused:
        return refused
    epoll, target = lookup(state, call, call.epfd), lookup(state, call, call.fd)
    assert epoll is not None
    assert target is not None
    key = key_of(call.fd, target)
    registration = Registration(kept_mask(call.mask), call.data)
    ids = _key_clauses(state.epolls[epoll], key)
    branches = _controlled(state, call.op, epoll, key, registration)
    return tuple(branch.because(*ids).ends(DONE) for branch in branches)


def _controlled(state: State, op: Control, epoll: FileId, key: Key, registration: Registration) -> Branches:
    match op:
        case Control.ADD:
            return _arm(state, epoll, key, registration)
        case Control.MOD:
            return modify(state, epoll, key, registration)
        case Control.DEL:
            return frozenset((Branch(_remove(state, epoll, key)),))
        case _:
            assert_never(op)


def _key_clauses(interest: Interest, key: Key) -> Ids:
    """Whether number and description are told apart here: another key shares one of them."""
    twin = any(
        other != key and (other.number == key.number or other.file == key.file)
        for other in interest.registrations
    )
    return frozenset(("EPOLL.KEY.NUMBER_AND_DESCRIPTION",)) if twin else frozenset()


def _with_interest(state: State, epoll: FileId, interest: Interest) -> State:
    return replace(state, epolls=state.epolls.put(epoll, interest))


def _arm(state: State, epoll: FileId, key: Key, registration: Registration) -> Branches:
    """Enter the registration; what is ready already counts as news."""
    interest = state.epolls[epoll]
    state = _with_interest(
        state, epoll, replace(interest, registrations=interest.registrations.put(key, registration))
    )
    state, mask, _ = poll(state, key.file)
    if mask & registration.mask and key not in state.epolls[epoll].ready:
        return link(state, epoll, key)
    return frozenset((Branch(state),))


@law("EPOLL.MOD.REARMS", Kind.STEP, source="epoll(7) Q8")
def modify(state: State, epoll: FileId, key: Key, registration: Registration) -> Branches:
    """MOD evaluates the condition anew: it re-arms edge and one-shot registrations, even with an equal
    mask."""
    silent = state.epolls[epoll].registrations[key].mask & (EDGE | ONESHOT)
    ids = ("EPOLL.MOD.REARMS",) if silent else ()
    return frozenset(branch.because(*ids) for branch in _arm(state, epoll, key, registration))


def _remove(state: State, epoll: FileId, key: Key) -> State:
    interest = state.epolls[epoll]
    return _with_interest(
        state,
        epoll,
        Interest(
            interest.registrations.without(key), tuple(other for other in interest.ready if other != key)
        ),
    )


@law("EPOLL.CLOSE.LIVES_WITH_DESCRIPTION", Kind.STEP, source="epoll(7) Q6")
def forget(state: State, file: FileId) -> State:
    """A registration outlives its number while a dup or a forked child keeps the description: it goes on
    being reported, and cannot be removed by that number."""
    # The only place where a registration goes without DEL; and it is asked when the description goes.
    for epoll, interest in state.epolls.items():
        for key in interest.registrations:
            if key.file == file:
                state = _remove(state, epoll, key)
    return state


# --- epoll_wait -----------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What a wait takes from the ready list, and the state after it."""

    state: State
    events: tuple[tuple[int, Mask], ...]
    clauses: Ids

    def ends(self) -> Outcome:
        """The wait returns this batch."""
        return Outcome(self.state, Events(self.events), self.clauses)


@law("EPOLL.WAIT.AT_MOST_MAX", Kind.STEP, source="epoll_wait(2)")
def room_left(reported: int, maxevents: int) -> bool:
    """One wait reports at most maxevents registrations; the rest keep their turn."""
    return reported < maxevents


@law("EPOLL.ONESHOT.DISARMS_ALL", Kind.STEP, source="epoll_ctl(2)")
def after_report(mask: Mask) -> Mask:
    """After one report a one-shot registration is silent in every direction, HUP and ERR included, until
    MOD."""
    return Mask(mask & MODES) if mask & ONESHOT else mask


@law("EPOLL.LT.REPORTS_WHILE_READY", Kind.STEP, source="epoll(7)")
def stays(mask: Mask) -> bool:
    """A level-triggered registration is reported by every wait while its condition holds."""
    return not (waits_for_an_edge(mask) or mask & ONESHOT)


@law("EPOLL.ET.ONE_PER_EDGE", Kind.STEP, source="epoll(7)")
def waits_for_an_edge(mask: Mask) -> bool:
    """An edge-triggered registration that was reported is not reported again until a new edge."""
    return bool(mask & EDGE)


@law("EPOLL.LT.ROTATES", Kind.BOUND, source="epoll_wait(2) NOTES")
def back_in_line(untouched: tuple[Key, ...], staying: tuple[Key, ...]) -> tuple[Key, ...]:
    """With n registrations that stay ready and maxevents m, each is reported at least once in every ⌈n/m⌉
    waits."""
    return untouched + staying


@law("EPOLL.ET.DRAIN_CANCELS", Kind.STEP, source="kernel probe")
def still_holds(conditions: Mask) -> bool:
    """A condition that is gone before the wait is not reported."""
    return bool(conditions)


@law("EPOLL.WAIT.COMBINES", Kind.STEP, source="epoll(7) Q7")
def reported_mask(holds: Mask, mask: Mask) -> Mask:
    """One wait reports a registration at most once, with all of its conditions."""
    return Mask(holds & mask)


def harvest(state: State, epoll: FileId, maxevents: int, names: Mapping[Number, FileId]) -> Batch:
    """Take at most ``maxevents`` reports from the front of the ready list.

    ``names`` is the caller's table of numbers; it has no say in what is reported.
    """
    line = state.epolls[epoll].ready
    events: list[tuple[int, Mask]] = []
    staying: list[Key] = []
    ids: set[str] = set()
    looked = 0
    for key in line:
        if not room_left(len(events), maxevents):
            ids.add("EPOLL.WAIT.AT_MOST_MAX")
            break
        looked += 1
        registration = state.epolls[epoll].registrations[key]
        state, holds, why = poll(state, key.file)
        mask = reported_mask(holds, registration.mask)
        if not still_holds(mask):
            ids.add("EPOLL.ET.DRAIN_CANCELS")
            continue
        events.append((registration.data, mask))
        ids |= why | _report_clauses(registration.mask, mask, named=names.get(key.number) == key.file)
        if stays(registration.mask):
            staying.append(key)
        else:
            state = _spend(state, epoll, key)
    if staying and looked < len(line):
        ids.add("EPOLL.LT.ROTATES")
    silent, state = _silent(state, epoll), _relist(state, epoll, back_in_line(line[looked:], tuple(staying)))
    return Batch(state, tuple(events), frozenset(ids | silent))


def _relist(state: State, epoll: FileId, ready: tuple[Key, ...]) -> State:
    interest = state.epolls[epoll]
    return state if interest.ready == ready else _with_interest(state, epoll, replace(interest, ready=ready))


def _spend(state: State, epoll: FileId, key: Key) -> State:
    interest = state.epolls[epoll]
    registration = interest.registrations[key]
    spent = replace(registration, mask=after_report(registration.mask))
    if spent == registration:
        return state
    return _with_interest(
        state, epoll, replace(interest, registrations=interest.registrations.put(key, spent))
    )


def _report_clauses(asked: Mask, reported: Mask, named: bool) -> Ids:
    """The clauses that this one report shows."""
    shown = (
        ("EPOLL.LT.REPORTS_WHILE_READY", stays(asked)),
        ("EPOLL.MASK.ERR_HUP_ALWAYS", bool(reported & (ERR | HUP))),
        ("EPOLL.WAIT.COMBINES", reported.bit_count() > 1),
        ("EPOLL.CLOSE.LIVES_WITH_DESCRIPTION", not named),
    )
    return frozenset(id for id, is_shown in shown if is_shown)


def _silent(state: State, epoll: FileId) -> set[str]:
    """The clauses that this wait's silence shows: who is ready, off the list, and rightly not reported."""
    interest = state.epolls[epoll]
    ids: set[str] = set()
    for key, registration in interest.registrations.items():
        if key in interest.ready or not registration.mask & (EDGE | ONESHOT):
            continue
        _, holds, _ = poll(state, key.file)
        # A one-shot registration that has not fired would be on the list.
        if holds & registration.mask:
            ids.add("EPOLL.ET.ONE_PER_EDGE")
        if not registration.mask & ~MODES and holds:
            ids.add("EPOLL.ONESHOT.DISARMS_ALL")
    return ids


@law("EPOLL.WAIT.ZERO_NEVER_SUSPENDS", Kind.INV, source="epoll_wait(2)")
def may_suspend(timeout: int | None) -> bool:
    """A wait with timeout 0 does not suspend its caller."""
    return timeout is None or timeout > 0


@law("EPOLL.WAIT.NOT_EARLY", Kind.BOUND, source="epoll_wait(2)")
def over(suspended: Suspended, now: int) -> bool:
    """A wait that reports nothing and was not interrupted lasted at least its timeout."""
    return suspended.deadline is not None and suspended.deadline <= now
