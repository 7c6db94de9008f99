"""The steps of the rules of CALL; what their table says is proved beside it (:mod:`loopspec.call`)."""

from __future__ import annotations

from enum import Enum

from loopspec.call import (
    LIFE,
    AsyncResultAfterReturn,
    AsyncSettlesOnce,
    AwaitSuspendsTaskOnly,
    BlockingImpliesSync,
    BlockingSuspendsCaller,
    CallbackNeverInside,
    EagainInsteadOfSuspension,
    Move,
    NonblockingIsComplement,
    NonblockingNeedNotBeAsync,
    Refusal,
    RegularFileCannotPoll,
    State,
    SyncNeedNotBlock,
    SyncResultAtReturn,
)
from loopspec.proofs import Seen, after
from loopspec.trace import Await, Call, Deliver, Event, Quiescent, Resume, Return, Step, Suspend, WaitBegin

EVENTS: dict[Move, Event] = {
    Move.CALL: Call(0, "main", "call"),
    Move.SUSPEND: Suspend("main"),
    Move.RESUME: Resume("main"),
    Move.ANSWER: Return(0, "main", True),
    Move.PROMISE: Return(0, "main", False),
    Move.DELIVER: Deliver(0),
    Move.REST: Quiescent(1),
}
"""An event for each move of a call's life."""


class Rule(Enum):
    """The rules that are the table read for a kind of refusal, each with what it refuses."""

    BLOCKING = (BlockingSuspendsCaller, frozenset({Refusal.ASLEEP}))
    COMPLEMENT = (NonblockingIsComplement, frozenset({Refusal.CALLED_AGAIN, Refusal.NOBODY_INSIDE}))
    SYNC = (SyncResultAtReturn, frozenset({Refusal.ANSWERED_BEFORE}))
    ASYNC = (AsyncResultAfterReturn, frozenset({Refusal.NEVER}))
    IMPLIES = (BlockingImpliesSync, frozenset({Refusal.FOR_NOTHING}))
    ONCE = (AsyncSettlesOnce, frozenset({Refusal.NOT_PENDING, Refusal.NEVER}))
    INSIDE = (CallbackNeverInside, frozenset({Refusal.INSIDE}))


def life_is_read(rule: Rule, state: State, move: Move) -> bool:
    """Each of seven rules refuses exactly what the table refuses for its reasons.

    post: _ == _refuses(rule, state, move)
    """
    made, _ = rule.value
    return after(made(state, "main", "call"), EVENTS[move]).breaks


def _refuses(rule: Rule, state: State, move: Move) -> bool:
    _, reasons = rule.value
    return LIFE[state, move] in reasons


def one_fault_is_blamed_once(state: State, move: Move) -> Seen[AsyncSettlesOnce]:
    """Nothing is refused of a life that has been refused before.

    pre: state is not State.NEW
    post: not _.breaks
    """
    return after(AsyncSettlesOnce(state, "main", "call", lost=True), EVENTS[move])


class Awaiting(Enum):
    """What can happen after an await."""

    STEPS = Step(1, 1, 0)
    WAITS = WaitBegin(1, None)
    SLEEPS = Suspend("loop")
    ANOTHER_SLEEPS = Suspend("worker")
    AWAITS = Await(1, 1, "event", 0)


def await_suspends_task_only(awaiting: bool, event: Awaiting) -> Seen[AwaitSuspendsTaskOnly]:
    """A suspension is refused exactly if it is the loop's thread's, after an await and before anything else.

    post: _.breaks == (awaiting and event is Awaiting.SLEEPS)
    post: _.shows == (awaiting and event in (Awaiting.STEPS, Awaiting.WAITS))
    """
    return after(AwaitSuspendsTaskOnly(0 if awaiting else None), event.value)


class Error(Enum):
    """What a call may fail with."""

    NOT = None
    EAGAIN = "EAGAIN"
    EINPROGRESS = "EINPROGRESS"
    EPERM = "EPERM"


def eagain_instead_of_suspension(
    nonblocking: bool, connect: bool, sleeps: bool, error: Error, delivered: bool
) -> Seen[EagainInsteadOfSuspension]:
    """Of a call on a nonblocking descriptor is refused that it suspends its caller, and that it goes on, but
    for a connect that says so.

    post: _.breaks == (nonblocking and (sleeps or delivered == (connect and error is Error.EINPROGRESS)))
    """
    call = Call(0, "main", "connect" if connect else "recv", "socket", nonblocking)
    if sleeps:
        return after(EagainInsteadOfSuspension(), call, Suspend("main"))
    return after(EagainInsteadOfSuspension(), call, Return(0, "main", delivered, error.value))


def regular_file_cannot_poll(regular: bool, registers: bool, error: Error) -> Seen[RegularFileCannotPoll]:
    """Of a call on a regular file is refused EAGAIN, and that its registration is not EPERM, or anything else
    is.

    post: _.breaks == (regular and (registers != (error is Error.EPERM) or error is Error.EAGAIN))
    """
    call = Call(0, "main", "epoll_ctl" if registers else "read", "regular file" if regular else "socket")
    return after(RegularFileCannotPoll(), call, Return(0, "main", True, error.value))


class Kernel(Enum):
    """A call of the kernel: whether it suspends its caller, and returns with its result."""

    SYNC_NONBLOCKING = (False, True)
    SYNC_BLOCKING = (True, True)
    ASYNC_NONBLOCKING = (False, False)


def _made(kernel: Kernel) -> tuple[Event, ...]:
    suspends, delivered = kernel.value
    sleeps: tuple[Event, ...] = (Suspend("main"), Resume("main")) if suspends else ()
    return (Call(0, "main", "recv", "socket"), *sleeps, Return(0, "main", delivered))


def _lacks(kernel: Kernel, genus: Kernel, met: bool, found: bool) -> bool:
    """Whether a witness is wanting: that one is both."""
    return not found and (kernel is genus or (met and kernel is not Kernel.SYNC_NONBLOCKING))


def sync_need_not_block(kernel: Kernel, met: bool, found: bool) -> Seen[SyncNeedNotBlock]:
    """A survey is refused exactly if it has met a synchronous call, and none that is nonblocking.

    pre: met or not found
    post: _.breaks == _lacks(kernel, Kernel.SYNC_BLOCKING, met, found)
    """
    return after(SyncNeedNotBlock((), met, found), *_made(kernel), Quiescent(1))


def nonblocking_need_not_be_async(kernel: Kernel, met: bool, found: bool) -> Seen[NonblockingNeedNotBeAsync]:
    """A survey is refused exactly if it has met a nonblocking call, and none that is synchronous.

    pre: met or not found
    post: _.breaks == _lacks(kernel, Kernel.ASYNC_NONBLOCKING, met, found)
    """
    return after(NonblockingNeedNotBeAsync((), met, found), *_made(kernel), Quiescent(1))
