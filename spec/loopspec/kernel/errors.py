"""The errors of epoll_ctl(2): each a predicate of its own, all asked, and any that holds may be returned.

The page lists errors and orders none of them, and the order is not the same in every kernel. So the
predicates know nothing of one another; each is False where its question makes no sense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from loopspec.clause import Kind
from loopspec.kernel.calls import Control, EpollControl, Outcome
from loopspec.kernel.law import law, refusal
from loopspec.kernel.regular import pollable
from loopspec.kernel.state import (
    EDGE,
    ERR,
    EXCLUSIVE,
    HUP,
    IN,
    OUT,
    Errno,
    FileId,
    Interest,
    Key,
    Number,
    State,
)

_PAGE = "epoll_ctl(2)"

EXCLUSIVE_ALLOWS = EXCLUSIVE | IN | OUT | ERR | HUP | EDGE | 1 << 29
"""The bits that may stand beside EXCLUSIVE."""


def lookup(state: State, call: EpollControl, number: Number) -> FileId | None:
    """The description that the caller knows as ``number``."""
    return state.numbers[state.threads[call.thread].process].get(number)


def _interest(state: State, call: EpollControl) -> Interest | None:
    epoll = lookup(state, call, call.epfd)
    return state.epolls.get(epoll) if epoll is not None else None


def _is_registered(state: State, call: EpollControl) -> bool | None:
    """None if there is no epoll or no target to ask about."""
    interest, target = _interest(state, call), lookup(state, call, call.fd)
    if interest is None or target is None:
        return None
    return Key(call.fd, target) in interest.registrations


@law("EPOLL.CTL.EBADF", Kind.ERROR, source=_PAGE)
def closed_number(state: State, call: EpollControl) -> bool:
    """A closed epoll or target number fails with EBADF."""
    return lookup(state, call, call.epfd) is None or lookup(state, call, call.fd) is None


@law("EPOLL.CTL.EEXIST", Kind.ERROR, source=_PAGE)
def registered_already(state: State, call: EpollControl) -> bool:
    """ADD of a key that is registered fails with EEXIST."""
    return call.op is Control.ADD and _is_registered(state, call) is True


@law("EPOLL.CTL.ENOENT", Kind.ERROR, source=_PAGE)
def not_registered(state: State, call: EpollControl) -> bool:
    """MOD or DEL of a key that is not registered fails with ENOENT."""
    return call.op is not Control.ADD and _is_registered(state, call) is False


@law("EPOLL.CTL.EINVAL", Kind.ERROR, source=f"{_PAGE}, epoll(7) Q4")
def misused(state: State, call: EpollControl) -> bool:
    """A non-epoll epfd, an epoll added to itself, or a forbidden use of EXCLUSIVE fails with EINVAL."""
    epoll, target = lookup(state, call, call.epfd), lookup(state, call, call.fd)
    if epoll is None:
        return _exclusive_misused(state, call, target)
    return epoll not in state.epolls or epoll == target or _exclusive_misused(state, call, target)


def _exclusive_misused(state: State, call: EpollControl, target: FileId | None) -> bool:
    """EXCLUSIVE is decided at ADD, for a target that is no epoll, without ONESHOT or RDHUP; and for good."""
    interest = _interest(state, call)
    if call.op is Control.MOD:
        held = interest.registrations.get(Key(call.fd, target)) if interest and target is not None else None
        return bool(call.mask & EXCLUSIVE or (held and held.mask & EXCLUSIVE))
    if call.op is Control.DEL or not call.mask & EXCLUSIVE:
        return False
    return bool(call.mask & ~EXCLUSIVE_ALLOWS) or target in state.epolls


@law("EPOLL.CTL.EPERM", Kind.ERROR, source=_PAGE)
def cannot_poll(state: State, call: EpollControl) -> bool:
    """A target that does not support poll fails with EPERM."""
    target = lookup(state, call, call.fd)
    return target is not None and not pollable(state.files[target].kind)


@law("EPOLL.CTL.ELOOP", Kind.ERROR, source=_PAGE)
def tangled(state: State, call: EpollControl) -> bool:
    """A cycle of epolls, or nesting that is too deep, fails with ELOOP (or EINVAL where the kernel says
    so)."""
    epoll, target = lookup(state, call, call.epfd), lookup(state, call, call.fd)
    if call.op is not Control.ADD or epoll is None or target is None or epoll == target:
        return False
    if epoll not in state.epolls or target not in state.epolls:
        return False
    return epoll in _below(state, target) or (
        _height(state, target) + _depth(state, epoll) > state.limits.nesting
    )


def _inner(state: State, epoll: FileId) -> set[FileId]:
    return {key.file for key in state.epolls[epoll].registrations if key.file in state.epolls}


def _below(state: State, epoll: FileId) -> set[FileId]:
    """Every epoll that can be reached from ``epoll`` downwards."""
    inner = _inner(state, epoll)
    return inner.union(*(_below(state, each) for each in inner))


def _height(state: State, epoll: FileId) -> int:
    """How many epolls stand in the longest chain from ``epoll`` downwards, itself counted."""
    return 1 + max((_height(state, inner) for inner in _inner(state, epoll)), default=0)


def _depth(state: State, epoll: FileId) -> int:
    """How many epolls stand in the longest chain from ``epoll`` upwards, itself counted."""
    outer = [other for other in state.epolls if epoll in _inner(state, other)]
    return 1 + max((_depth(state, each) for each in outer), default=0)


def unreadable(_: State, call: EpollControl) -> bool:
    """An event that the kernel cannot read fails with EFAULT; DEL does not read it."""
    return call.op is not Control.DEL and not call.readable


class Rule(NamedTuple):
    """An error clause: whether it holds, the errors it then allows, and its id."""

    holds: Callable[[State, EpollControl], bool]
    errors: tuple[Errno, ...]
    clause: str


RULES = (
    Rule(closed_number, (Errno.EBADF,), "EPOLL.CTL.EBADF"),
    Rule(registered_already, (Errno.EEXIST,), "EPOLL.CTL.EEXIST"),
    Rule(not_registered, (Errno.ENOENT,), "EPOLL.CTL.ENOENT"),
    Rule(misused, (Errno.EINVAL,), "EPOLL.CTL.EINVAL"),
    Rule(cannot_poll, (Errno.EPERM,), "EPOLL.CTL.EPERM"),
    Rule(tangled, (Errno.ELOOP, Errno.EINVAL), "EPOLL.CTL.ELOOP"),
    Rule(unreadable, (Errno.EFAULT,), "EPOLL.CTL.ANY_HELD_ERROR"),
)


@law("EPOLL.CTL.ANY_HELD_ERROR", Kind.ERROR, source="no authority orders them")
def held(state: State, call: EpollControl) -> tuple[Rule, ...]:
    """When several error clauses hold, any one of their errors is conformant."""
    return tuple(rule for rule in RULES if rule.holds(state, call))


@law("EPOLL.CTL.ERROR_CHANGES_NOTHING", Kind.INV, source="POSIX")
def refusals(state: State, call: EpollControl) -> tuple[Outcome, ...]:
    """A refused call leaves the state as it was."""
    rules = held(state, call)
    several = ("EPOLL.CTL.ANY_HELD_ERROR",) if len(rules) > 1 else ()
    regular = ("CALL.REGULAR_FILE.CANNOT_POLL",)
    return tuple(
        refusal(
            state,
            errno,
            rule.clause,
            "EPOLL.CTL.ERROR_CHANGES_NOTHING",
            *several,
            *(regular if errno is Errno.EPERM else ()),
        )
        for rule in rules
        for errno in rule.errors
    )
