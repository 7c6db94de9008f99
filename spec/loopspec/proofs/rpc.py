"""The steps of the rules of RPC; the life of a call is proved beside its table (:mod:`loopspec.rpc`)."""

from __future__ import annotations

from enum import Enum

from loopspec.proofs import Seen, after
from loopspec.rpc import (
    AsyncReturnsAtOnce,
    BlockingSuspendsCaller,
    CloseSettlesAll,
    IdNotReused,
    SettlesOnce,
    State,
    StylesAgree,
)
from loopspec.trace import (
    Quiescent,
    Resume,
    RpcBreak,
    RpcCall,
    RpcClose,
    RpcDropped,
    RpcReply,
    RpcRequest,
    RpcResult,
    RpcReturn,
    RpcSettle,
    Suspend,
    WaitBegin,
)


class Inside(Enum):
    """What can happen to a thread in a blocking call."""

    SLEEPS = Suspend("main")
    RUNS = Resume("main")
    REPLY = RpcReply(0, 0, 0, "a")
    SETTLED = RpcSettle(1, 0, 0, 0, "reply", "a")
    ENDED = RpcSettle(1, 0, 0, 0, "end", "")


def blocking_suspends_caller(
    asleep: bool, waited: bool, replied: bool, event: Inside
) -> Seen[BlockingSuspendsCaller]:
    """A settlement is refused exactly if the thread was not suspended before there was one, or is still.

    pre: not asleep or waited or replied
    post: _.breaks == (event is Inside.SETTLED and (asleep or not waited))
    post: event is not Inside.REPLY or replied or _.next.waited == asleep
    """
    return after(BlockingSuspendsCaller("main", asleep, waited, replied), event.value)


class Async(Enum):
    """What can happen in an asynchronous call."""

    RETURNS = RpcReturn(1, 0)
    SLEEPS = Suspend("loop")
    SETTLED = RpcSettle(1, 0, 0, 0, "reply", "a")


def async_returns_at_once(inside: bool, event: Async) -> Seen[AsyncReturnsAtOnce]:
    """Inside an asynchronous call everything but its return is refused.

    post: _.breaks == (inside and event is not Async.RETURNS)
    post: _.shows == (inside and event is Async.RETURNS)
    """
    return after(AsyncReturnsAtOnce("loop" if inside else None), event.value)


class Settling(Enum):
    """By what a call may be settled, and that nothing more happens."""

    REPLY = RpcSettle(1, 0, 0, 0, "reply", "a")
    ERROR = RpcSettle(1, 0, 0, 0, "error", "a")
    END = RpcSettle(1, 0, 0, 0, "end", "")
    CANCELLED = RpcSettle(1, 0, 0, 0, "cancelled", "")
    REST = Quiescent(1)


def settles_once(state: State, timed: bool, event: Settling) -> Seen[SettlesOnce]:
    """A second settlement is refused, and one by a reply that was not sent; and the end without one, if there
    was a reply or will be a time-out. What is settled stays so.

    pre: state is not State.NEW
    post: _.breaks == (not _may_settle(event, state) if event is not Settling.REST else _owes(state, timed))
    post: not _.shows or _.next.state in (State.OWED, State.OVER)
    """
    sent = ("a",) if state in (State.DUE, State.OVER) else ()
    return after(SettlesOnce(state, 5 if timed else None, sent), event.value)


def _may_settle(event: Settling, state: State) -> bool:
    by_reply = event in (Settling.REPLY, Settling.ERROR)
    return state is State.DUE or (state is State.PENDING and not by_reply)


def _owes(state: State, timed: bool) -> bool:
    return state is State.DUE or (state is State.PENDING and timed)


def no_timeout_before_its_time(made: int, timeout: int, at: int) -> Seen[SettlesOnce]:
    """A time-out is refused exactly if it comes before its time.

    post: _.breaks == (at < made + timeout)
    """
    call = RpcCall(1, 0, 0, "callback", "loop", made, timeout)
    return after(SettlesOnce(), call, RpcSettle(1, 0, 0, at, "timeout", ""))


class Fate(Enum):
    """What became of the first call of an id."""

    PENDING = ()
    REPLIED = (RpcReply(0, 0, 5, "a"),)
    ANSWERED = (RpcReply(0, 0, 5, "a"), RpcSettle(1, 0, 0, 0, "reply", "a"))
    GIVEN_UP = (RpcSettle(1, 0, 0, 0, "timeout", ""),)
    LATE = (RpcSettle(1, 0, 0, 0, "timeout", ""), RpcReply(0, 0, 5, "a"))


def id_not_reused(fate: Fate, same: bool) -> Seen[IdNotReused]:
    """A request is refused exactly if its id is one of a call to which a reply can still come.

    post: _.breaks == (same and fate not in (Fate.ANSWERED, Fate.LATE))
    """
    return after(IdNotReused(), RpcRequest(0, 0, 5), *fate.value, RpcRequest(0, 1, 5 if same else 6))


def superfluous_are_counted(superfluous: int, either: int, dropped: int, ended: bool) -> Seen[IdNotReused]:
    """A count of dropped replies is refused exactly if it is not among those that are possible.

    pre: 0 <= superfluous and 0 <= either
    post: _.breaks == (not ended and not superfluous <= dropped <= superfluous + either)
    """
    state = IdNotReused(superfluous=superfluous, either=either, ended=ended)
    return after(state, RpcDropped(1, 0, dropped))


def close_settles_all(made: int, ended: int, turn: int, settled: bool) -> Seen[CloseSettlesAll]:
    """The end of a turn is refused exactly if a call is not settled that was made, as was the end of the
    transport, in an earlier turn.

    post: _.breaks == (not settled and made < turn and ended < turn)
    """
    calls = (RpcCall(0, 0, 0, "callback", "loop", 0, None), RpcCall(made, 0, 1, "callback", "loop", 0, None))
    first = RpcSettle(ended, 0, 0, 0, "end", "")
    second = (RpcSettle(ended, 0, 1, 0, "end", ""),) if settled else ()
    return after(CloseSettlesAll(), *calls, RpcClose(0, 0), first, *second, WaitBegin(turn, None))


class Ending(Enum):
    """How the second of two calls may be settled when the transport has ended."""

    FIRST_BY_END = RpcSettle(1, 0, 0, 0, "end", "")
    SECOND_BY_END = RpcSettle(1, 0, 1, 0, "end", "")
    SECOND_CANCELLED = RpcSettle(1, 0, 1, 0, "cancelled", "")
    SECOND_BY_REPLY = RpcSettle(1, 0, 1, 0, "reply", "a")


def settled_in_order(broken: bool, event: Ending) -> Seen[CloseSettlesAll]:
    """A settlement by the end is refused exactly if there is none, or a call was made before and is pending.

    post: _.breaks == (event is Ending.SECOND_BY_END or (event is Ending.FIRST_BY_END and not broken))
    """
    calls = [RpcCall(0, 0, call, "callback", "loop", 0, None) for call in (0, 1)]
    return after(CloseSettlesAll(), *calls, *((RpcBreak(0, "close"),) if broken else ()), event.value)


def styles_agree(same_calls: bool, same_result: bool) -> Seen[StylesAgree]:
    """A form of a program is refused exactly if it made other calls or came to another result.

    post: _.breaks == (not (same_calls and same_result)) and _.shows != _.breaks
    """
    first = RpcResult(1, 0, "blocking", ("a",), "1")
    other = RpcResult(1, 0, "callback", ("a",) if same_calls else ("b",), "1" if same_result else "2")
    return after(StylesAgree(), first, other)
