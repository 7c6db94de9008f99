"""RPC: what a remote call owes its caller, whichever way it is made.

A remote call can end in more ways than a local one, and they race: the reply may come, or an error, or
neither in time, or the transport may end; and each of them may come after another one has. So its life is
one table, :data:`LIFE`, and has two ends in it: what the caller was told, and whether a reply is still to
come. The first says that a call is settled once, the second when an id is free again; that both follow from
the table is stated as contracts, which CrossHair confirms over all paths.

The peer is the harness's, so the trace tells what it has sent, and a call's outcome is held against that: a
reply that was never sent, a time-out before its time or the end of a transport that lives on settle
nothing. What the client keeps to itself, its count of dropped replies, it is asked for while it sleeps and
has read what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from loopspec.call import LOOP_THREAD
from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.trace import (
    Event,
    Quiescent,
    Resume,
    RpcBreak,
    RpcCall,
    RpcClose,
    RpcDropped,
    RpcForm,
    RpcOutcome,
    RpcReply,
    RpcRequest,
    RpcResult,
    RpcReturn,
    RpcSettle,
    Suspend,
    WaitBegin,
)

# --- the life of a remote call --------------------------------------------------------------------------


class State(Enum):
    """Where a remote call is in its life: what its caller was told, and what its peer has sent."""

    __hash__ = object.__hash__

    NEW = "not made"
    PENDING = "not settled, not replied to"
    DUE = "not settled, and a reply has been sent"
    OWED = "settled without a reply, which may still come"
    OVER = "settled, and replied to"


class Move(Enum):
    """What happens to a remote call."""

    __hash__ = object.__hash__

    CALL = "is made"
    REPLY = "is replied to"
    DELIVER = "is settled by its reply"
    GIVE_UP = "is settled otherwise"


class Refusal(Enum):
    """Why the table refuses a move: what would have been allowed, and what was seen instead."""

    UNMADE = ("nothing of a call that was not made", "it was settled")
    AGAIN = ("one call of one name", "it was made again")
    UNSENT = ("a reply that the peer has sent", "it was settled by a reply, and none was sent")
    TWICE = ("one settlement", "it was settled once more")


_NEW, _PENDING, _DUE, _OWED, _OVER = State
_UNMADE, _AGAIN, _UNSENT, _TWICE = Refusal

# A reply to what was not made is the peer's fault, and nothing to this life. A second one changes nothing.
# fmt: off
_ROWS: Mapping[State, tuple[State | Refusal, ...]] = {
    #          CALL      REPLY  DELIVER  GIVE_UP
    _NEW:     (_PENDING, _NEW,  _UNMADE, _UNMADE),
    _PENDING: (_AGAIN,   _DUE,  _UNSENT, _OWED),
    _DUE:     (_AGAIN,   _DUE,  _OVER,   _OVER),
    _OWED:    (_AGAIN,   _OVER, _TWICE,  _TWICE),
    _OVER:    (_AGAIN,   _OVER, _TWICE,  _TWICE),
}
# fmt: on

LIFE: Final[Mapping[tuple[State, Move], State | Refusal]] = {
    (state, move): row[place] for state, row in _ROWS.items() for place, move in enumerate(Move)
}
"""The life cycle of a remote call, total: the state that a move leads to, or the refusal, which changes
nothing."""


class Facts(NamedTuple):
    """What has happened to a call, without any law."""

    made: bool = False
    replied: bool = False
    settlements: int = 0


def told(facts: Facts, move: Move) -> Facts:
    """``facts``, and ``move``, whatever it is: this records and judges nothing."""
    match move:
        case Move.CALL:
            return facts._replace(made=True)
        case Move.REPLY:
            return facts._replace(replied=facts.replied or facts.made)
        case Move.DELIVER | Move.GIVE_UP:
            return facts._replace(settlements=facts.settlements + 1)


FACTS: Final[Mapping[State, Facts]] = {
    _NEW: Facts(),
    _PENDING: Facts(made=True),
    _DUE: Facts(made=True, replied=True),
    _OWED: Facts(made=True, settlements=1),
    _OVER: Facts(made=True, replied=True, settlements=1),
}
"""What each state stands for: the invariant that :func:`live` keeps."""


def is_free(state: State) -> bool:
    """Whether the id of a call in ``state`` may be given to another."""
    return state is _OVER


# --- theorems, confirmed over all paths by CrossHair -------------------------------------------------------


def total(state: State, move: Move) -> State | Refusal:
    """The table answers every move in every state.

    post: isinstance(_, (State, Refusal))
    """
    return LIFE[state, move]


def live(state: State, move: Move) -> Facts:
    """A move that the table accepts leads from a state and its facts to a state and its facts.

    pre: isinstance(LIFE[state, move], State)
    post: _ == FACTS[LIFE[state, move]]
    """
    return told(FACTS[state], move)


def settles_once(state: State, move: Move) -> Facts:
    """No accepted move settles a call a second time, by whatever means.

    pre: isinstance(LIFE[state, move], State)
    post: _.settlements <= 1
    """
    return told(FACTS[state], move)


def delivers_what_was_sent(state: State) -> Facts:
    """A call is settled by its reply only if its peer has sent one.

    pre: isinstance(LIFE[state, Move.DELIVER], State)
    post: _.replied
    """
    return FACTS[state]


def free_is_not_awaited(state: State) -> Facts:
    """Nobody waits for the reply to a free id, and it does not come: it has been.

    pre: is_free(state)
    post: _.replied and _.settlements == 1
    """
    return FACTS[state]


# --- one call ---------------------------------------------------------------------------------------------

_BY_REPLY: Final[frozenset[RpcOutcome]] = frozenset({"reply", "error"})


def _settlement(outcome: RpcOutcome) -> Move:
    return Move.DELIVER if outcome in _BY_REPLY else Move.GIVE_UP


@clause(
    "RPC.BLOCKING.SUSPENDS_CALLER",
    Level.MUST,
    Kind.WITNESS,
    Profile.RPC,
    source="asynchronous calls",
    watches={RpcCall: "call", RpcReply: "call", RpcSettle: "call", Suspend: EVERY, Resume: EVERY},
)
class BlockingSuspendsCaller(NamedTuple):
    """A blocking RPC suspends its thread until the reply is there."""

    # A call that the end of the transport settles may have found it ended. One that times out has been
    # suspended for as long as there was hope.

    thread: str | None = None
    asleep: bool = False
    waited: bool = False  # it was suspended when its reply was sent, or at all while none was
    replied: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case RpcCall(form="blocking", thread=thread, timeout=timeout) if timeout != 0:
                return BlockingSuspendsCaller(thread)
            case Suspend(thread=thread) if thread == self.thread:
                return self._replace(asleep=True, waited=self.waited or not self.replied)
            case Resume(thread=thread) if thread == self.thread:
                return self._replace(asleep=False)
            case RpcReply() if self.thread is not None and not self.replied:
                return self._replace(replied=True, waited=self.asleep)
            case RpcSettle(outcome="reply" | "error" | "timeout" as outcome) if self.thread is not None:
                if self.waited and not self.asleep:
                    return Kept(None)
                return Broken(
                    f"thread {self.thread} is suspended until the {outcome} is there",
                    "it was not" if not self.waited else "it went on in its sleep",
                    None,
                )
            case RpcSettle():
                return None
            case _:
                return self


@clause(
    "RPC.ASYNC.RETURNS_AT_ONCE",
    Level.MUST,
    Kind.INV,
    Profile.RPC,
    source="asynchronous calls",
    watches={RpcCall: "call", RpcReturn: "call", RpcSettle: "call", Suspend: EVERY},
)
class AsyncReturnsAtOnce(NamedTuple):
    """An asynchronous RPC returns before its reply, and suspends no thread."""

    thread: str | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case RpcCall(form="callback" | "coroutine", thread=thread):
                return AsyncReturnsAtOnce(thread)
            case Suspend(thread=thread) if thread == self.thread:
                return Broken(
                    "the call returns, and its thread runs on", f"thread {thread} was suspended", None
                )
            case RpcSettle(outcome=outcome) if self.thread is not None:
                return Broken("the call returns first", f"it was settled ({outcome}) inside the call", None)
            case RpcReturn() if self.thread is not None:
                return Kept(None)
            case _:
                return self


@clause(
    "RPC.CALL.SETTLES_ONCE",
    Level.MUST,
    Kind.INV,
    Profile.RPC,
    source="deepstream.io-client-js issue 551; Seastar issue 1146",
    watches={RpcCall: "call", RpcReply: "call", RpcSettle: "call", Quiescent: EVERY},
)
class SettlesOnce(NamedTuple):
    """A call is settled exactly once: by reply, error, timeout, cancellation or end of transport."""

    # That a transport has ended is RPC.CLOSE.SETTLES_ALL's to say. At rest, a call is not settled only if it
    # has no time-out and no reply was sent.

    state: State = State.NEW
    deadline: int | None = None
    sent: tuple[str, ...] = ()

    def after(self, event: Event) -> Progress:
        match event:
            case RpcCall(at=at, timeout=timeout):
                deadline = None if timeout is None else at + timeout
                return self._moved(Move.CALL, SettlesOnce(State.PENDING, deadline))
            case RpcReply(value=value) if self.state is not State.NEW:
                return self._moved(Move.REPLY, self._replace(sent=(*self.sent, value)))
            case RpcSettle():
                return self._settled(event)
            case Quiescent():
                return self._rests()
            case _:
                return self

    def _moved(self, move: Move, after: SettlesOnce) -> Progress:
        to = LIFE[self.state, move]
        if isinstance(to, Refusal):
            return Broken(*to.value, self)
        return after._replace(state=to)

    def _settled(self, event: RpcSettle) -> Progress:
        move = _settlement(event.outcome)
        to = LIFE[self.state, move]
        if isinstance(to, Refusal):
            allowed, observed = to.value
            return Broken(allowed, f"call {event.call}: {observed} ({event.outcome})", self)
        after = self._replace(state=to)
        if move is Move.DELIVER and event.value not in self.sent:
            return Broken(f"call {event.call} is settled by {self.sent[-1]!r}", f"by {event.value!r}", after)
        if event.outcome == "timeout" and (self.deadline is None or event.at < self.deadline):
            due = "no time-out" if self.deadline is None else f"a time-out at {self.deadline} ns or later"
            return Broken(f"call {event.call} has {due}", f"it timed out at {event.at} ns", after)
        return Kept(after)

    def _rests(self) -> Progress:
        if self.state is State.DUE or (self.state is State.PENDING and self.deadline is not None):
            return Broken(
                "the call is settled", f"nothing happens any more, and it is {self.state.value}", None
            )
        return self


# --- one transport ------------------------------------------------------------------------------------------


class _Issued(NamedTuple):
    """A call whose id is not free: what it is called, and where it is in its life."""

    call: int
    state: State


@clause(
    "RPC.ID.NOT_REUSED",
    Level.MUST,
    Kind.INV,
    Profile.RPC,
    source="JSON-RPC 2.0, section 5; ONC RPC (RFC 5531), section 9, xid",
    watches={RpcRequest: "transport", RpcReply: "transport", RpcSettle: "transport"},
    also={RpcDropped: "transport", RpcBreak: "transport", RpcClose: "transport"},
)
class IdNotReused(NamedTuple):
    """An id is not reused while a reply to it can still come; a late or unknown reply is counted and
    dropped."""

    # Replies sent are those that settled a call and those that were dropped, once the client has read all
    # there is. Of a call that was cancelled when its reply had been sent it may have counted the reply either
    # way. What is left unread of a transport that ends is nobody's.

    ids: Map[int, _Issued] = Map()
    calls: Map[int, int] = Map()  # the id of each call in ``ids``
    given_up: Map[int, None] = Map()  # calls that were settled before the peer had their request
    superfluous: int = 0
    either: int = 0
    ended: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case RpcRequest(call=call, id=id):
                return self._requested(call, id)
            case RpcReply(id=id):
                return self._replied(id)
            case RpcSettle(call=call, outcome=outcome):
                return self._settled(call, outcome)
            case RpcDropped(dropped=dropped):
                return self._counted(dropped)
            case RpcBreak() | RpcClose():
                return self._replace(ended=True)
            case _:
                return self

    def _requested(self, call: int, id: int) -> Progress:
        state = State.OWED if call in self.given_up else State.PENDING
        before = self.ids.get(id)
        after = self._replace(
            ids=self.ids.put(id, _Issued(call, state)),
            calls=self.calls.put(call, id),
            given_up=self.given_up.drop(call),
        )
        if before is not None:
            return Broken(
                f"another id for call {call}: to {id}, of call {before.call}, a reply can still come",
                f"call {call} has id {id}",
                after,
            )
        owed = any(issued.state is State.OWED for issued in self.ids.values())
        return Kept(after) if owed else after

    def _replied(self, id: int) -> IdNotReused:
        issued = self.ids.get(id)
        if issued is None or issued.state is State.DUE:
            return self._replace(superfluous=self.superfluous + 1)
        if issued.state is State.OWED:
            return self._moved(id, issued, Move.REPLY)._replace(superfluous=self.superfluous + 1)
        return self._moved(id, issued, Move.REPLY)

    def _settled(self, call: int, outcome: RpcOutcome) -> IdNotReused:
        id = self.calls.get(call)
        if id is None:
            return self._replace(given_up=self.given_up.put(call, None))
        issued = self.ids.get(id)
        if issued is None or issued.call != call:
            return self  # reused: said already
        moved = self._moved(id, issued, _settlement(outcome))
        if issued.state is not State.DUE or outcome in _BY_REPLY:
            return moved
        if outcome == "cancelled":
            return moved._replace(either=self.either + 1)
        return moved._replace(superfluous=self.superfluous + 1)

    def _moved(self, id: int, issued: _Issued, move: Move) -> IdNotReused:
        to = LIFE[issued.state, move]
        if isinstance(to, Refusal):
            return self
        if is_free(to):
            return self._replace(ids=self.ids.drop(id), calls=self.calls.drop(issued.call))
        return self._replace(ids=self.ids.put(id, _Issued(issued.call, to)))

    def _counted(self, dropped: int) -> Progress:
        if self.ended:
            return self
        if self.superfluous <= dropped <= self.superfluous + self.either:
            return Kept(self) if self.superfluous else self
        return Broken(
            f"{self.superfluous} replies, late or unknown, are counted and dropped",
            f"{dropped} are",
            self._replace(ended=True),
        )


class _Pending(NamedTuple):
    """A call that is not settled, the turn in which it was made, and whether the peer has its request."""

    call: int
    turn: int
    received: bool = False


@clause(
    "RPC.CLOSE.SETTLES_ALL",
    Level.MUST,
    Kind.BOUND,
    Profile.RPC,
    source="psrpc pull request 139; agentclientprotocol rust-sdk issue 250",
    watches={RpcCall: "transport", RpcSettle: "transport", RpcBreak: "transport", WaitBegin: EVERY},
    also={RpcRequest: "transport", RpcClose: "transport", Suspend: EVERY, Quiescent: EVERY},
)
@dataclass(frozen=True)
class CloseSettlesAll:
    """End of transport settles every pending call in issue order, those made by the callbacks of that very
    close included."""

    # The end is known to the client from the first call that it settles so, and to the world from what the
    # peer or the client itself did. From the one on all follow, each by the end of the next turn; with the
    # other the loop does not go to sleep. A peer that is merely deaf is found out by the next send, which
    # fails: what was never received is settled, too.

    pending: tuple[_Pending, ...] = ()
    may_end: bool = False
    must_end: bool = False
    ended: int | None = None  # the turn in which the first call was settled so

    def after(self, event: Event) -> Progress:
        match event:
            case RpcCall(turn=turn, call=call):
                return replace(self, pending=(*self.pending, _Pending(call, turn)))
            case RpcRequest(call=call):
                return replace(self, pending=tuple(_received(one, call) for one in self.pending))
            case RpcSettle():
                return self._settled(event)
            case RpcBreak(how=how):
                return replace(self, may_end=True, must_end=self.must_end or how != "deaf")
            case RpcClose():
                return replace(self, may_end=True, must_end=True)
            case WaitBegin(turn=turn) if self.ended is not None:
                left = [one.call for one in self.pending if max(one.turn, self.ended) < turn]
                return self._forgotten(left, f"turn {turn} ends") if left else self
            case Suspend(thread=thread) if thread == LOOP_THREAD and self.must_end and self.pending:
                return self._forgotten([one.call for one in self.pending], "the loop sleeps")
            case Quiescent() if self.may_end:
                unsent = [one.call for one in self.pending if not one.received]
                return self._forgotten(unsent, "nothing happens any more") if unsent else self
            case _:
                return self

    def _settled(self, event: RpcSettle) -> Progress:
        left = tuple(one for one in self.pending if one.call != event.call)
        after = replace(self, pending=left)
        if len(left) == len(self.pending) or event.outcome == "cancelled":
            return after
        if event.outcome != "end":
            if self.ended is None:
                return after
            return Broken(
                "settlement by the end of the transport", f"call {event.call}: {event.outcome}", after
            )
        if not self.may_end:
            return Broken("a transport that has ended", f"call {event.call} was settled by its end", after)
        ended = replace(after, ended=event.turn if self.ended is None else self.ended)
        first = self.pending[0].call
        if event.call != first:
            return Broken(f"call {first}, made earlier, is settled first", f"call {event.call} was", ended)
        # The premise is that there are several, or that one was made when it was over.
        return Kept(ended) if left or self.ended is not None else ended

    def _forgotten(self, calls: list[int], when: str) -> Progress:
        left = tuple(one for one in self.pending if one.call not in calls)
        names = ", ".join(map(str, calls))
        return Broken(
            f"the end of the transport settles {names}", f"{when} without it", replace(self, pending=left)
        )


def _received(pending: _Pending, call: int) -> _Pending:
    return pending._replace(received=True) if pending.call == call else pending


# --- three forms of one program -----------------------------------------------------------------------------


@clause(
    "RPC.STYLES.AGREE",
    Level.MUST,
    Kind.INV,
    Profile.RPC,
    source="coroutines: asynchronous programming in synchronous style",
    watches={RpcResult: "program"},
)
class StylesAgree(NamedTuple):
    """The blocking, the callback and the coroutine form of one program make the same calls and compute the
    same results."""

    form: RpcForm | None = None
    calls: tuple[str, ...] = ()
    result: str = ""

    def after(self, event: Event) -> Progress:
        match event:
            case RpcResult(form=form, calls=calls, result=result) if self.form is None:
                return StylesAgree(form, calls, result)
            case RpcResult(form=form, calls=calls, result=result):
                if (calls, result) == (self.calls, self.result):
                    return Kept(self)
                allowed = f"what the {self.form} form did: {_summary(self.calls, self.result)}"
                return Broken(allowed, f"the {form} form: {_summary(calls, result)}", self)
            case _:
                return self


def _summary(calls: tuple[str, ...], result: str) -> str:
    return f"{' '.join(calls)} → {result}"
