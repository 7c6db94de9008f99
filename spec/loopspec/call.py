"""CALL: what blocking and nonblocking, synchronous and asynchronous mean, and what follows.

The words are about two different things. *Blocking* is about the caller's thread: did the kernel suspend
it between the call and its return? *Synchronous* is about the result: did the return bring it? So there are
four quadrants, and the theorem of this module is that one of them is empty: a caller is suspended *until the
result is there*, hence nobody who was suspended returns without it.

That law is one table, :data:`LIFE`: what each event makes of each state of a call, or why it is refused.
Everything that decides about a life is in it. The definitions (:func:`blocking` and the other three) do not
look at the table: they look at the bare :class:`Facts` of a life. That the two agree, and what follows from
it, is stated as contracts that CrossHair confirms over all paths; nothing is true here because of how a state
is named. A library's call is made of other calls, and can break the law where the kernel's own cannot: then
the law is a promise, and the rule that reads its life says that it is broken.

Each refusal is the breach of a clause, so that most rules are the table read for one kind of refusal.
The last four speak of the kernel's own calls, those that say what kind of object they act on, and are
judged on a survey of such calls, which :mod:`loopspec.conformance.calls` makes on the live kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.trace import (
    Await,
    Call,
    Deliver,
    Event,
    Quiescent,
    Resume,
    Return,
    Step,
    Suspend,
    WaitBegin,
)

LOOP_THREAD: Final = "loop"
"""The name of the loop's own thread in a trace."""


# --- the life of a call -------------------------------------------------------------------------------


class State(Enum):
    """Where a call is in its life; a call that has ended is in one of the last four for ever."""

    # Members are equal when they are identical; Enum's own hash is slow, and rules look states up.
    __hash__ = object.__hash__

    NEW = "not called"
    RUNNING = "inside, never suspended"
    SUSPENDED = "inside, suspended"
    WOKEN = "inside, running again"
    PENDING = "returned, the result to come"
    ANSWERED = "returned with its result, never suspended"
    WAITED = "returned with its result, after a suspension"
    SETTLED = "returned, and then the result came"


class Move(Enum):
    """What happens to a call; ``REST`` is the end of the world, after which nothing happens any more."""

    __hash__ = object.__hash__

    CALL = "is called"
    SUSPEND = "its thread is suspended"
    RESUME = "its thread runs again"
    ANSWER = "returns with its result"
    PROMISE = "returns before its result"
    DELIVER = "its result is delivered otherwise"
    REST = "nothing happens any more"


class Refusal(Enum):
    """Why the table refuses a move: what would have been allowed, and what was seen instead."""

    CALLED_AGAIN = ("one call of one name", "it was called again")
    NOBODY_INSIDE = ("one return of a call that was made", "it returned, and nobody was inside")
    ASLEEP = ("a return once the thread runs again", "it returned while its thread was suspended")
    FOR_NOTHING = ("a return with the result", "it suspended its caller and returned without the result")
    INSIDE = ("delivery after the return", "its result was delivered inside the call")
    ANSWERED_BEFORE = ("silence: the return brought the result", "the result was delivered once more")
    NOT_PENDING = ("one delivery of a result that is due", "it was delivered, and none was due")
    NEVER = ("delivery of the result", "nothing happens any more, and it never came")


_NEW, _RUNNING, _SUSPENDED, _WOKEN = State.NEW, State.RUNNING, State.SUSPENDED, State.WOKEN
_PENDING, _ANSWERED, _WAITED, _SETTLED = State.PENDING, State.ANSWERED, State.WAITED, State.SETTLED
_AGAIN, _NOBODY, _ASLEEP, _NOTHING = (
    Refusal.CALLED_AGAIN,
    Refusal.NOBODY_INSIDE,
    Refusal.ASLEEP,
    Refusal.FOR_NOTHING,
)
_INSIDE, _BEFORE, _UNDUE, _NEVER = (
    Refusal.INSIDE,
    Refusal.ANSWERED_BEFORE,
    Refusal.NOT_PENDING,
    Refusal.NEVER,
)

# What its thread does outside the call is no move of this life: the state stays. So it does for a call that
# is still inside when the world comes to rest: the wait of an idle server is such a call.
# fmt: off
_ROWS: Mapping[State, tuple[State | Refusal, ...]] = {
    #            CALL      SUSPEND     RESUME      ANSWER     PROMISE    DELIVER   REST
    _NEW:       (_RUNNING, _NEW,       _NEW,       _NOBODY,   _NOBODY,   _UNDUE,   _NEW),
    _RUNNING:   (_AGAIN,   _SUSPENDED, _RUNNING,   _ANSWERED, _PENDING,  _INSIDE,  _RUNNING),
    _SUSPENDED: (_AGAIN,   _SUSPENDED, _WOKEN,     _ASLEEP,   _NOTHING,  _INSIDE,  _SUSPENDED),
    _WOKEN:     (_AGAIN,   _SUSPENDED, _WOKEN,     _WAITED,   _NOTHING,  _INSIDE,  _WOKEN),
    _PENDING:   (_AGAIN,   _PENDING,   _PENDING,   _NOBODY,   _NOBODY,   _SETTLED, _NEVER),
    _ANSWERED:  (_AGAIN,   _ANSWERED,  _ANSWERED,  _NOBODY,   _NOBODY,   _BEFORE,  _ANSWERED),
    _WAITED:    (_AGAIN,   _WAITED,    _WAITED,    _NOBODY,   _NOBODY,   _BEFORE,  _WAITED),
    _SETTLED:   (_AGAIN,   _SETTLED,   _SETTLED,   _NOBODY,   _NOBODY,   _UNDUE,   _SETTLED),
}
# fmt: on

LIFE: Final[Mapping[tuple[State, Move], State | Refusal]] = {
    (state, move): row[place] for state, row in _ROWS.items() for place, move in enumerate(Move)
}
"""The life cycle of a call, total: the state that a move leads to, or the refusal, which changes nothing."""

RETURNED: Final = frozenset({_PENDING, _ANSWERED, _WAITED, _SETTLED})
"""The states of a call that has returned."""


# --- definitions, over the bare facts -------------------------------------------------------------------


class Facts(NamedTuple):
    """What has happened to a call, without any law: ``deliveries`` counts those apart from the return."""

    called: bool = False
    suspended: bool = False
    returned: bool = False
    answered: bool = False
    deliveries: int = 0


def told(facts: Facts, move: Move) -> Facts:
    """``facts``, and ``move``, whatever it is: this records and judges nothing."""
    match move:
        case Move.CALL:
            return facts._replace(called=True)
        case Move.SUSPEND:
            return facts._replace(suspended=facts.suspended or (facts.called and not facts.returned))
        case Move.ANSWER:
            return facts._replace(returned=True, answered=True)
        case Move.PROMISE:
            return facts._replace(returned=True)
        case Move.DELIVER:
            return facts._replace(deliveries=facts.deliveries + 1)
        case Move.RESUME | Move.REST:
            return facts


def finished(facts: Facts) -> bool:
    """A call has finished when it has returned and its result has been delivered, by whatever means."""
    return facts.returned and (facts.answered or facts.deliveries > 0)


def blocking(facts: Facts) -> bool:
    """Of a returned call: its thread was suspended at some moment between the call and its return."""
    return facts.returned and facts.suspended


def nonblocking(facts: Facts) -> bool:
    """Of a returned call: its thread was suspended at no moment between the call and its return."""
    return facts.returned and not facts.suspended


def synchronous(facts: Facts) -> bool:
    """Of a finished call: its own return delivered its result."""
    return finished(facts) and facts.answered


def asynchronous(facts: Facts) -> bool:
    """Of a finished call: it returned first, and something else delivered its result later."""
    return finished(facts) and not facts.answered


FACTS: Final[Mapping[State, Facts]] = {
    _NEW: Facts(),
    _RUNNING: Facts(called=True),
    _SUSPENDED: Facts(called=True, suspended=True),
    _WOKEN: Facts(called=True, suspended=True),
    _PENDING: Facts(called=True, returned=True),
    _ANSWERED: Facts(called=True, returned=True, answered=True),
    _WAITED: Facts(called=True, suspended=True, returned=True, answered=True),
    _SETTLED: Facts(called=True, returned=True, deliveries=1),
}
"""What each state stands for: the invariant that :func:`live` keeps."""


# --- theorems, confirmed over all paths by CrossHair -----------------------------------------------------
#
# Each is a function, so that the tool has something to run. :func:`live` is the inductive step: a life begins
# with the facts of NEW, and so what holds of every state holds of every life, however long.


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


def blocking_is_synchronous(state: State) -> Facts:
    """Blocking ⊂ synchronous.

    pre: blocking(FACTS[state])
    post: synchronous(_)
    """
    return FACTS[state]


def asynchronous_is_nonblocking(state: State) -> Facts:
    """The same from the other side: asynchronous ⊂ nonblocking.

    pre: asynchronous(FACTS[state])
    post: nonblocking(_)
    """
    return FACTS[state]


def returned_is_blocking_or_not(state: State) -> Facts:
    """Every returned call is exactly one of blocking and nonblocking.

    pre: FACTS[state].returned
    post: blocking(_) != nonblocking(_)
    """
    return FACTS[state]


def finished_is_synchronous_or_not(state: State) -> Facts:
    """Every finished call is exactly one of synchronous and asynchronous.

    pre: finished(FACTS[state])
    post: synchronous(_) != asynchronous(_)
    """
    return FACTS[state]


def settles_once(state: State, move: Move) -> Facts:
    """No accepted move delivers the result of a call a second time, by whatever means.

    pre: isinstance(LIFE[state, move], State)
    post: _.deliveries + _.answered <= 1
    """
    return told(FACTS[state], move)


def rests_settled(state: State) -> Facts:
    """Where the world may come to rest, every call that has returned has its result.

    pre: isinstance(LIFE[state, Move.REST], State)
    post: finished(_) or not _.returned
    """
    return FACTS[state]


# --- the table as trace rules ----------------------------------------------------------------------------


def _move_of(event: Event, thread: str) -> Move | None:
    """What ``event`` is to a call of ``thread``; None if it is nothing to it."""
    match event:
        case Call():
            return Move.CALL
        case Return(delivered=delivered):
            return Move.ANSWER if delivered else Move.PROMISE
        case Deliver():
            return Move.DELIVER
        case Suspend(thread=whose):
            return Move.SUSPEND if whose == thread else None
        case Resume(thread=whose):
            return Move.RESUME if whose == thread else None
        case Quiescent():
            return Move.REST
        case _:
            return None


@dataclass(frozen=True)
class _Life:
    """One call, read through :data:`LIFE`: the form of every rule that is a kind of refusal.

    A rule has been kept when the call enters one of the states ``shows``, is broken by the refusals
    ``forbids``, and has seen enough in the states ``ends``. A life that was refused once, for whatever
    reason, is ``lost``: what comes after has no meaning, and one fault is not blamed twice.
    """

    shows: ClassVar[frozenset[State]]
    forbids: ClassVar[frozenset[Refusal]]
    ends: ClassVar[frozenset[State]] = RETURNED

    state: State = State.NEW
    thread: str = ""
    name: str = ""
    lost: bool = False

    def after(self, event: Event) -> Progress:
        if self.lost:
            return None if isinstance(event, Return) and self.ends == RETURNED else self
        move = _move_of(event, self.thread)
        if move is None:
            return self
        to = LIFE[self.state, move]
        if isinstance(to, Refusal):
            return self._refused(to, event)
        if to is self.state:
            return self
        if isinstance(event, Call):
            return _in_state(type(self), to, event.thread, event.name)
        next = None if to in self.ends else _in_state(type(self), to, self.thread, self.name)
        return Kept(next) if to in self.shows else next

    def _refused(self, refusal: Refusal, event: Event) -> Progress:
        # A life that has not begun is one that has been forgotten, since it ended: there is nothing to lose.
        over = self.state is State.NEW or (isinstance(event, Return) and self.ends == RETURNED)
        next = None if over else replace(self, lost=True)
        if refusal not in self.forbids:
            return next
        allowed, observed = refusal.value
        return Broken(allowed, f"{self.name}: {observed}" if self.name else observed, next)


_LIVES: dict[tuple[type[_Life], State, str, str], _Life] = {}


def _in_state(rule: type[_Life], state: State, thread: str, name: str) -> _Life:
    """The life of a call that goes well. There are few such values and long traces: each is made once."""
    key = (rule, state, thread, name)
    life = _LIVES.get(key)
    if life is None:
        life = _LIVES[key] = rule(state, thread, name)
    return life


@clause(
    "CALL.BLOCKING.SUSPENDS_CALLER",
    Level.MUST,
    Kind.DEF,
    Profile.KERNEL,
    source="recap of blocking and nonblocking",
    watches={Call: "call", Return: "call", Suspend: EVERY, Resume: EVERY},
)
class BlockingSuspendsCaller(_Life):
    """A call is blocking iff its calling thread is suspended by the kernel at some moment between the call
    and its return."""

    shows = frozenset({State.WAITED})
    forbids = frozenset({Refusal.ASLEEP})


@clause(
    "CALL.NONBLOCKING.IS_COMPLEMENT",
    Level.MUST,
    Kind.INV,
    Profile.KERNEL,
    source="recap of blocking and nonblocking",
    watches={Call: "call", Return: "call", Suspend: EVERY, Resume: EVERY},
)
class NonblockingIsComplement(_Life):
    """Every returned call is exactly one of blocking and nonblocking."""

    shows = RETURNED
    forbids = frozenset({Refusal.CALLED_AGAIN, Refusal.NOBODY_INSIDE})


@clause(
    "CALL.SYNC.RESULT_AT_RETURN",
    Level.MUST,
    Kind.DEF,
    Profile.LOOP,
    source="recap of blocking and nonblocking",
    watches={Call: "call", Return: "call", Deliver: "call"},
)
class SyncResultAtReturn(_Life):
    """A call is synchronous iff its own return delivers its result."""

    shows = frozenset({State.ANSWERED, State.WAITED})
    forbids = frozenset({Refusal.ANSWERED_BEFORE})
    ends = frozenset({State.PENDING})


@clause(
    "CALL.ASYNC.RESULT_AFTER_RETURN",
    Level.MUST,
    Kind.DEF,
    Profile.LOOP,
    source="asynchronous calls and callbacks",
    watches={Call: "call", Return: "call", Deliver: "call", Quiescent: EVERY},
)
class AsyncResultAfterReturn(_Life):
    """A call is asynchronous iff it returns before its result is delivered, and a callback, a settled future
    or a resumption delivers it later."""

    shows = frozenset({State.SETTLED})
    forbids = frozenset({Refusal.NEVER})
    ends = frozenset({State.ANSWERED, State.WAITED, State.SETTLED})


@clause(
    "CALL.BLOCKING.IMPLIES_SYNC",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="recap of blocking and nonblocking",
    watches={Call: "call", Return: "call", Suspend: EVERY, Resume: EVERY},
)
class BlockingImpliesSync(_Life):
    """No call is both blocking and asynchronous: blocking ⊂ synchronous."""

    shows = frozenset({State.WAITED, State.PENDING})
    forbids = frozenset({Refusal.FOR_NOTHING})


@clause(
    "CALL.ASYNC.SETTLES_ONCE",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="asynchronous calls and callbacks",
    watches={Call: "call", Return: "call", Deliver: "call", Quiescent: EVERY},
)
class AsyncSettlesOnce(_Life):
    """The result of an asynchronous call is delivered exactly once."""

    shows = frozenset({State.SETTLED})
    forbids = frozenset({Refusal.NOT_PENDING, Refusal.NEVER})
    ends = frozenset({State.SETTLED})


@clause(
    "CALL.CALLBACK.NEVER_INSIDE",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="Isaac Z. Schlueter, Designing APIs for Asynchrony: Zalgo",
    watches={Call: "call", Return: "call", Deliver: "call"},
)
class CallbackNeverInside(_Life):
    """A callback never runs inside the call that registers it, whether or not its result is already there."""

    shows = frozenset({State.PENDING})
    forbids = frozenset({Refusal.INSIDE})


@clause(
    "CALL.AWAIT.SUSPENDS_TASK_ONLY",
    Level.MUST,
    Kind.INV,
    Profile.ASYNC,
    source="coroutines",
    watches={Await: None, Step: None, WaitBegin: None, Suspend: None},
)
class AwaitSuspendsTaskOnly(NamedTuple):
    """A suspended coroutine suspends no thread."""

    # From an await to what the thread does next: run another task, or begin the wait, where it may sleep.
    awaiting: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Await():
                return AwaitSuspendsTaskOnly(event.task)
            case Step() | WaitBegin() if self.awaiting is not None:
                return Kept(None)
            case Suspend(thread=thread) if self.awaiting is not None and thread == LOOP_THREAD:
                allowed = "the thread runs another task, or begins the loop's wait"
                return Broken(allowed, f"task {self.awaiting} awaits, and its thread is suspended", None)
            case _:
                return self


# --- the kernel's own calls -------------------------------------------------------------------------------


@clause(
    "CALL.EAGAIN.INSTEAD_OF_SUSPENSION",
    Level.MUST,
    Kind.STEP,
    Profile.KERNEL,
    source="POSIX recv, write, accept, connect",
    watches={Call: "call", Return: "call", Suspend: EVERY},
)
class EagainInsteadOfSuspension(NamedTuple):
    """A call on a nonblocking descriptor that would suspend its caller fails with EAGAIN and moves no byte;
    connect fails with EINPROGRESS and goes on."""

    thread: str | None = None
    name: str = ""

    def after(self, event: Event) -> Progress:
        match event:
            case Call(thread=thread, name=name, nonblocking=True):
                return EagainInsteadOfSuspension(thread, name)
            case Suspend(thread=thread) if thread == self.thread:
                return Broken("EAGAIN", f"{self.name} suspended its caller", None)
            case Suspend():
                return self
            case Return(delivered=delivered, error=error) if self.thread is not None:
                return self._returned(delivered, error)
            case _:
                return None

    def _returned(self, delivered: bool, error: str | None) -> Progress:
        goes_on = self.name.startswith("connect") and error == "EINPROGRESS"
        if delivered == goes_on:
            ending = "ended" if delivered else "went on"
            return Broken(
                "EAGAIN, and an end; or EINPROGRESS of connect", f"{self.name}: {error}, {ending}", None
            )
        return Kept(None) if goes_on or error == "EAGAIN" else None


@clause(
    "CALL.REGULAR_FILE.CANNOT_POLL",
    Level.MUST,
    Kind.STEP,
    Profile.KERNEL,
    source="open(2) O_NONBLOCK; epoll_ctl(2) EPERM",
    watches={Call: "call", Return: "call"},
)
class RegularFileCannotPoll(NamedTuple):
    """A regular file is never EAGAIN and cannot be registered: its I/O belongs on a worker."""

    name: str | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Call(name=name, on="regular file"):
                return RegularFileCannotPoll(name)
            case Return(error=error) if self.name is not None:
                registers = self.name.startswith("epoll_ctl")
                if registers != (error == "EPERM") or error == "EAGAIN":
                    return Broken(
                        "EPERM" if registers else "anything but EAGAIN", f"{self.name}: {error}", None
                    )
                return Kept(None)
            case _:
                return None


@dataclass(frozen=True)
class _Exists:
    """A survey of the kernel's calls, which is to show a witness at least, among those of a genus.

    Calls of a library are passed over: a loop may well offer none of the kind, and is no survey. What
    exists is shown by the first witness; that there is none can be said when the survey has come to rest.
    """

    genus_and_witness: ClassVar[tuple[Callable[[Facts], bool], Callable[[Facts], bool]]]

    inside: tuple[tuple[int, str, Facts], ...] = ()
    met: bool = False
    found: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Call(call=call, thread=thread, on=str()):
                return replace(self, inside=(*self.inside, (call, thread, Facts(called=True))))
            case Suspend(thread=whose):
                return replace(
                    self,
                    inside=tuple(
                        (call, thread, told(facts, Move.SUSPEND) if thread == whose else facts)
                        for call, thread, facts in self.inside
                    ),
                )
            case Return(call=returned, delivered=delivered):
                left = tuple(one for one in self.inside if one[0] != returned)
                ended = replace(self, inside=left)
                for call, _, facts in self.inside:
                    if call == returned:
                        return ended._met(told(facts, Move.ANSWER if delivered else Move.PROMISE))
                return ended
            case Quiescent() if self.met and not self.found:
                return Broken("at least one such call", "none in the whole survey", None)
            case _:
                return self

    def _met(self, facts: Facts) -> Progress:
        genus, witness = self.genus_and_witness
        if not genus(facts):
            return self
        if not witness(facts):
            return replace(self, met=True)
        return Kept(replace(self, met=True, found=True))


@clause(
    "CALL.SYNC.NEED_NOT_BLOCK",
    Level.MUST,
    Kind.WITNESS,
    Profile.KERNEL,
    source="recap of blocking and nonblocking",
    watches={Call: None, Return: None, Suspend: None, Quiescent: None},
    opens={Call},
)
class SyncNeedNotBlock(_Exists):
    """Some synchronous calls are nonblocking: the inclusion is strict."""

    genus_and_witness = (synchronous, nonblocking)


@clause(
    "CALL.NONBLOCKING.NEED_NOT_BE_ASYNC",
    Level.MUST,
    Kind.WITNESS,
    Profile.KERNEL,
    source="recap of blocking and nonblocking",
    watches={Call: None, Return: None, Suspend: None, Quiescent: None},
    opens={Call},
)
class NonblockingNeedNotBeAsync(_Exists):
    """Some nonblocking calls are synchronous: nonblocking does not mean asynchronous."""

    genus_and_witness = (nonblocking, synchronous)
