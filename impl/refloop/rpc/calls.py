"""The calls of one transport: the life of each, and the book of those that are pending. No input, no output.

A call is settled exactly once, by whatever comes first, and :data:`LIFE` is all there is to say about that:
it is total, what it refuses changes nothing, and each client form asks it and nothing else. The inductive
step, that no life is ever settled twice, stands below as contracts that CrossHair confirms over all paths.

The :class:`Book` gives each call the next id and never an old one. It so needs no memory of the calls that
were given up: a reply to one of those, like one that nobody asked for, is an id that the book does not
have, to be counted and dropped. Reuse would be cheap to have and expensive to get right, since after a
time-out the reply may still come, and would settle a stranger.

*The end of the transport* settles what is pending in the order of issue. Whoever is settled may make another
call at once; that one stands last in the book, and is settled by the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from refloop.rpc.wire import CallId, Failure, Json, Reply

# --- how a call ends --------------------------------------------------------------------------------------


class RemoteError(Exception):
    """The procedure raised, on the other side; the text is what it said."""


class EndedError(ConnectionError):
    """The transport ended before the reply came, or before the call was made; the text says how it ended."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The procedure returned ``value``."""

    value: Json


@dataclass(frozen=True, slots=True)
class Failed:
    """The procedure raised, and said ``error``."""

    error: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No reply came in time. Whether the procedure runs, has run or will run is not known."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The transport ended first; ``reason`` says how. What became of the procedure is not known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Who made the call has cancelled it, and is told of nothing."""


Outcome: TypeAlias = Replied | Failed | TimedOut | Ended
"""What a callback is called with."""


def value_of(outcome: Outcome) -> Json:
    """The value of a call that has one; else raises :class:`RemoteError`, TimeoutError or
    :class:`EndedError`: the outcome as a call that looks synchronous delivers it."""
    match outcome:
        case Replied(value):
            return value
        case Failed(error):
            raise RemoteError(error)
        case TimedOut():
            raise TimeoutError("no reply came in time")
        case Ended(reason):
            raise EndedError(reason)


# --- the life of a call -------------------------------------------------------------------------------------


class State(Enum):
    """Where a call is in its life."""

    NEW = "not made"
    PENDING = "made, and not settled"
    REPLIED = "settled by its reply"
    FAILED = "settled by an error of the other side"
    TIMED_OUT = "settled by its time-out"
    ENDED = "settled by the end of the transport"
    WITHDRAWN = "settled by its caller, who has cancelled it"


class Move(Enum):
    """What can happen to a call."""

    ISSUE = "it is made"
    REPLY = "its reply comes"
    ERROR = "an error comes for it"
    TIMEOUT = "its time is over"
    END = "the transport ends"
    CANCEL = "its caller cancels it"


class Refusal(Enum):
    """Why a move is refused."""

    UNKNOWN = "no such call has been made"
    TAKEN = "that call has been made already"
    SETTLED = "that call has been settled"


_SETTLES: Final[Mapping[Move, State]] = {
    Move.REPLY: State.REPLIED,
    Move.ERROR: State.FAILED,
    Move.TIMEOUT: State.TIMED_OUT,
    Move.END: State.ENDED,
    Move.CANCEL: State.WITHDRAWN,
}


def _rule(state: State, move: Move) -> State | Refusal:
    if state is State.NEW:
        return State.PENDING if move is Move.ISSUE else Refusal.UNKNOWN
    if move is Move.ISSUE:
        return Refusal.TAKEN
    return _SETTLES[move] if state is State.PENDING else Refusal.SETTLED


LIFE: Final[Mapping[tuple[State, Move], State | Refusal]] = {
    (state, move): _rule(state, move) for state in State for move in Move
}
"""The life cycle of a call, total: the state that a move leads to, or the refusal, which changes nothing."""

SETTLED: Final[frozenset[State]] = frozenset(_SETTLES.values())


def settlements(state: State) -> int:
    """How often a call in ``state`` has been settled."""
    return int(state in SETTLED)


def total(state: State, move: Move) -> State | Refusal:
    """The table answers every move in every state.

    post: isinstance(_, (State, Refusal))
    """
    return LIFE[state, move]


def settles_at_most_once(state: State, move: Move) -> State | Refusal:
    """A move that settles was made by a call that had not been settled.

    pre: LIFE[state, move] in SETTLED
    post: settlements(state) == 0
    """
    return LIFE[state, move]


def settled_for_good(state: State, move: Move) -> State | Refusal:
    """What is settled stays as it is, whatever comes: every move is refused.

    pre: state in SETTLED
    post: isinstance(_, Refusal)
    """
    return LIFE[state, move]


def always_settled_by_the_end(state: State) -> State | Refusal:
    """No call outlives its transport unsettled: the end settles what was made and is not settled.

    pre: state is not State.NEW and state not in SETTLED
    post: _ is State.ENDED
    """
    return LIFE[state, Move.END]


# --- the book -----------------------------------------------------------------------------------------------


class Call:
    """One call; ``settle`` is told its outcome, once, unless it is withdrawn. Made by :meth:`Book.issue`."""

    __slots__ = ("_settle", "id", "state")

    def __init__(self, id: CallId, settle: Callable[[Outcome], object]) -> None:
        self.id: Final = id
        self.state = State.NEW
        self._settle: Callable[[Outcome], object] | None = settle

    def move(self, move: Move) -> bool:
        """Make ``move`` if the table allows it; whether it does."""
        to = LIFE[self.state, move]
        if isinstance(to, Refusal):
            return False
        self.state = to
        return True

    def tell(self, outcome: Outcome | Withdrawn) -> None:
        """Let go of whoever waits, and tell them ``outcome``."""
        settle, self._settle = self._settle, None
        if settle is not None and not isinstance(outcome, Withdrawn):
            settle(outcome)


class Book:
    """The pending calls of one transport, in the order of issue.

    ``dropped`` counts the replies that came for no pending call: late, twice, or never asked for. ``ended``
    is set from the end of the transport on.
    """

    __slots__ = ("_issued", "_pending", "_settling", "dropped", "ended")

    def __init__(self) -> None:
        self._pending: dict[CallId, Call] = {}
        self._issued = 0
        self._settling = False
        self.dropped = 0
        self.ended: Ended | None = None

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def next_id(self) -> CallId:
        """The id of the call that is issued next."""
        return CallId(self._issued)

    def issue(self, settle: Callable[[Outcome], object]) -> Call:
        """Enter a call. Where the transport has ended it is settled before this returns, unless the calls
        before it are just being settled: then with them, as the last."""
        call = Call(self.next_id, settle)
        self._issued += 1
        call.move(Move.ISSUE)
        self._pending[call.id] = call
        if self.ended is not None:
            self._settle_all(self.ended)
        return call

    def answer(self, message: Reply | Failure) -> None:
        """A reply has come: settle its call, or count and drop it."""
        call = self._pending.get(message.id)
        if call is None:
            self.dropped += 1
            return
        match message:
            case Reply(_, result):
                self._settle(call, Move.REPLY, Replied(result))
            case Failure(_, error):
                self._settle(call, Move.ERROR, Failed(error))

    def expire(self, call: Call) -> None:
        """The time of ``call`` is over; without effect on one that is settled."""
        self._settle(call, Move.TIMEOUT, TimedOut())

    def cancel(self, call: Call) -> None:
        """Whoever made ``call`` wants to hear no more of it; without effect on one that is settled."""
        self._settle(call, Move.CANCEL, Withdrawn())

    def end(self, reason: str) -> None:
        """The transport has ended, for ``reason``. Idempotent: the first reason stands."""
        if self.ended is None:
            self.ended = Ended(reason)
            self._settle_all(self.ended)

    def _settle_all(self, ended: Ended) -> None:
        if self._settling:
            return
        self._settling = True
        try:
            while self._pending:
                for call in tuple(self._pending.values()):
                    self._settle(call, Move.END, ended)
        finally:
            self._settling = False

    def _settle(self, call: Call, move: Move, outcome: Outcome | Withdrawn) -> None:
        if call.move(move):
            del self._pending[call.id]
            call.tell(outcome)
