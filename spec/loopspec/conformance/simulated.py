"""The simulated kernel: the model, run, behind the port that a reactor has to the real one.

A reactor asks its kernel for a clock, a poller and a waker, and its sockets come from outside; here all of
them are one state of the model and calls on it. What the model leaves to the world is chosen by a schedule: a
function that is asked for a number below n whenever n things may happen, so that a run is a tape of small
integers and can be replayed. 0 is always what a calm Linux does. Faults are choices too, if they are asked
for.

Time is virtual. It stands still while the loop runs and passes only inside a wait that would sleep: up to the
next thing that the world has been told to do (:meth:`SimulatedKernel.later`), or to the timeout. A wait that
nothing will ever end is an error and not a hang.

The model is a function of hashable values, so its answers are remembered, and shared by all kernels of a
process; nearly every step of a loop in its steady state has been taken before. States are the nodes of a
graph for that, whose edges are calls: to take a step again is to hash what a call is made of, a kind and a
few integers, and neither a state nor the call itself, which is not even made then.
"""

from __future__ import annotations

import heapq
import math
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Final, Literal, NamedTuple, TypeAlias

from loopspec.kernel import codec
from loopspec.kernel.calls import (
    DONE,
    Abort,
    Accept,
    Call,
    Close,
    Connect,
    Control,
    Count,
    Data,
    EpollControl,
    EpollWait,
    Events,
    Failed,
    GetError,
    Handshake,
    How,
    Listen,
    Opened,
    OpenEpoll,
    OpenEvent,
    OpenPair,
    OpenSocket,
    Outcome,
    Read,
    Result,
    SetNonblocking,
    Shutdown,
    Sleeps,
    Write,
)
from loopspec.kernel.fd import names_of
from loopspec.kernel.readiness import poll
from loopspec.kernel.state import (
    IN,
    ONESHOT,
    OUT,
    Connection,
    Errno,
    EventCounter,
    Limits,
    Listener,
    Mask,
    Number,
    ObjectId,
    State,
    ThreadId,
    initial,
)
from loopspec.kernel.state import Buffer as KernelBuffer
from loopspec.kernel.step import step

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000

LOOP = ThreadId(0)

_ERRORS: Final[Mapping[int, str]] = {number.value: os.strerror(number) for number in Errno}

Choose: TypeAlias = Callable[[int], int]
"""The schedule: asked with n > 1, answers a number in range(n)."""

Bytes: TypeAlias = bytes | bytearray | memoryview

Made: TypeAlias = tuple[Callable[..., Call], *tuple[object, ...]]
"""What a call is made of: who makes it, and from which arguments."""

Fault: TypeAlias = Literal["EARLY", "SPURIOUS", "EMFILE", "ECONNABORTED", "ENOBUFS"]
"""``EARLY``: a wait ends with nothing before its timeout, as after a signal. ``SPURIOUS``: it reports a
registration that is not ready. The others: accept and send fail so. Short reads and writes are a limit of the
kernel: :attr:`~loopspec.kernel.state.Limits.short`."""

ROOMY = Limits(
    numbers=1024,
    pipe=KernelBuffer(sure=15 << 12, most=16 << 12, atomic=1 << 12),
    unix=KernelBuffer(sure=(1 << 16) - 1, most=1 << 16),
    tcp=KernelBuffer(sure=(1 << 16) - 1, most=1 << 16),
)
"""Buffers as large as Linux has them, writable while there is room; :func:`tight` is the opposite."""


class NothingWillHappenError(AssertionError):
    """The loop sleeps without a timeout, and the world has nothing left to do."""


class WouldBlockForEverError(AssertionError):
    """A call on a blocking descriptor would suspend the loop's thread, and nobody is there to wake it."""


def calm(_: int) -> int:
    """The schedule on which everything goes as it usually does."""
    return 0


class Tape:
    """A schedule that is a sequence of numbers, of which each is taken modulo what is asked; calm at its end.

    ``asked`` are the numbers of options so far: what an explorer needs to try the others.
    """

    def __init__(self, choices: Iterable[int]) -> None:
        self._choices = iter(choices)
        self.asked: list[int] = []

    def __call__(self, options: int) -> int:
        self.asked.append(options)
        return next(self._choices, 0) % options


# --- remembering ------------------------------------------------------------------------------------------


class Node:
    """A state of the model, and what has come of the calls that were made in it."""

    __slots__ = ("_digest", "_under_way", "answers", "holds", "quick", "state", "sure")

    def __init__(self, state: State) -> None:
        self.state = state
        self.answers: dict[Call, tuple[Answer, ...]] = {}
        self.quick: dict[Made, tuple[Answer, ...]] = {}  # the same, by what a call is made of
        self.sure: dict[Made, tuple[Node, Result]] = {}  # those of them that have one answer and succeed
        self.holds: dict[int, Mask] = {}
        self._digest: int | None = None
        self._under_way: tuple[ObjectId, ...] | None = None

    def under_way(self) -> tuple[ObjectId, ...]:
        """The connections whose handshake is not done."""
        if self._under_way is None:
            self._under_way = tuple(
                id
                for id, found in self.state.objects.items()
                if isinstance(found, Connection) and found.under_way
            )
        return self._under_way

    def poll(self, number: int) -> Mask:
        """What poll(2) says of a descriptor of the loop's process."""
        known = self.holds.get(number)
        if known is None:
            _, known, _ = poll(self.state, names_of(self.state, LOOP)[Number(number)])
            self.holds[number] = known
        return known

    @property
    def digest(self) -> int:
        """64 bits that tell this state from others, the same in every process."""
        if self._digest is None:
            encoded = codec.encode(self.state).encode()
            self._digest = int.from_bytes(blake2b(encoded, digest_size=8).digest())
        return self._digest


class Answer(NamedTuple):
    """``refusal`` is the errno of a failure, 0 for none, and :data:`_SUSPENDS` where the caller sleeps."""

    node: Node
    result: Result
    refusal: int


_SUSPENDS: Final = -1


_NODES: dict[State, Node] = {}
_NODES_AT_MOST = 200_000


def _node(state: State) -> Node:
    known = _NODES.get(state)
    if known is None:
        if len(_NODES) >= _NODES_AT_MOST:
            _NODES.clear()  # a kernel that runs keeps those that it knows
        known = _NODES[state] = Node(state)
    return known


@lru_cache
def _beginning(limits: Limits) -> Node:
    return _node(initial(1, limits))


def _answers(node: Node, call: Call) -> tuple[Answer, ...]:
    """The outcomes of ``call``, in an order that is the same in every process: what is usual first."""
    known = node.answers.get(call)
    if known is None:
        outcomes = list(step(node.state, call))
        if len(outcomes) > 1:
            outcomes.sort(key=_unusual)
            if len({_unusual(outcome) for outcome in outcomes}) < len(outcomes):
                outcomes.sort(key=lambda outcome: (_unusual(outcome), codec.encode(outcome.state)))
        known = tuple(
            Answer(_node(outcome.state), outcome.result, _refusal(outcome.result)) for outcome in outcomes
        )
        node.answers[call] = known
    return known


def _refusal(result: Result) -> int:
    match result:
        case Failed(errno=errno):
            return errno
        case Sleeps():
            return _SUSPENDS
        case _:
            return 0


def _unusual(outcome: Outcome) -> tuple[bool, int, str]:
    result = outcome.result
    size = 0
    if isinstance(result, Count):
        size = result.value
    elif isinstance(result, Data):
        size = len(result.data)
    # An edge where there may be one is what Linux does: the longer ready lists come first.
    listed = sum(len(interest.ready) for interest in outcome.state.epolls.values())
    place = _PRECEDENCE.get(result.errno, len(_PRECEDENCE)) if isinstance(result, Failed) else 0
    refused = isinstance(result, Failed | Sleeps)
    return refused, place - size - listed, repr(result)


_PRECEDENCE: Final = {
    errno: place
    for place, errno in enumerate((Errno.EFAULT, Errno.EBADF, Errno.EPERM, Errno.ELOOP, Errno.EINVAL))
}
"""The order in which fs/eventpoll.c happens to look; no page promises it."""


# --- the kernel -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faults:
    """Which faults the schedule may choose, and how many of them in a run: with no end, nothing is live."""

    kinds: frozenset[Fault] = frozenset()
    most: int = 4


class SimulatedKernel:
    """A kernel for one loop and for the clients that it serves."""

    def __init__(self, choose: Choose = calm, limits: Limits = ROOMY, faults: Faults | None = None) -> None:
        self.node = _beginning(limits)
        self.now = 0
        self._choose = choose
        self._faults = faults or Faults()
        self._left = self._faults.most
        self.left = sys.maxsize
        """How many calls the run may still make."""
        self.usual = False
        """While this is set, what usually happens does, and the schedule is not asked."""
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._order = count()

    @property
    def state(self) -> State:
        """The state of the model."""
        return self.node.state

    def clock(self) -> int:
        """The virtual time, in nanoseconds."""
        return self.now

    def poller(self) -> SimulatedPoller:
        """A new epoll."""
        return SimulatedPoller(self, self.opened(OpenEpoll)[0])

    def waker(self) -> SimulatedWaker:
        """A new eventfd."""
        return SimulatedWaker(self, self.opened(OpenEvent, 0, True)[0])

    # --- the world ---

    def later(self, delay: int, action: Callable[[], object]) -> None:
        """Have the world do ``action`` once the loop sleeps and ``delay`` nanoseconds have passed from now.

        What is due at one instant is done in the order that the schedule chooses.
        """
        heapq.heappush(self._agenda, (self.now + delay, next(self._order), action))

    def pair(self) -> tuple[SimulatedSocket, SimulatedSocket]:
        """A Unix stream pair: one end for the loop, one for a client."""
        ours, theirs = self.opened(OpenPair)
        return SimulatedSocket(self, ours), SimulatedSocket(self, theirs)

    def connected(self, listener: SimulatedSocket) -> SimulatedSocket:
        """The client's end of a TCP connection, whose other end is in the queue of ``listener``."""
        client = SimulatedSocket(self, self.opened(OpenSocket, True)[0], socket.AF_INET)
        client.connect_ex(listener.getsockname())
        self.carry()
        return client

    def socket(self) -> SimulatedSocket:
        """A fresh TCP socket."""
        return SimulatedSocket(self, self.opened(OpenSocket)[0], socket.AF_INET)

    def listener(self, port: int, backlog: int = 128) -> SimulatedSocket:
        """A TCP socket that listens."""
        made = self.socket()
        made.listen_on(port, backlog)
        return made

    # --- calls ---

    def call(self, call: Call) -> Result:
        """Make ``call``; the schedule chooses its outcome. Raises the OSError that it may fail with.

        Raises :class:`WouldBlockForEverError` if it would suspend the loop's thread.
        """
        return self._taken(self.answers(call))

    def make(self, made: Made) -> Result:
        """:meth:`call` of what ``made`` makes, by a shorter way if that was made here before."""
        sure = self.node.sure.get(made)
        if sure is None or self.left < 1:
            return self._taken(self.node.quick.get(made) or self._learnt(made))
        self.left -= 1
        self.node, result = sure
        return result

    def answers(self, call: Call) -> tuple[Answer, ...]:
        """What may come of ``call`` now, what is usual first."""
        return _answers(self.node, call)

    def _learnt(self, made: Made) -> tuple[Answer, ...]:
        kind, *args = made
        answers = self.node.quick[made] = self.answers(kind(*args))
        if len(answers) == 1 and not answers[0].refusal:
            self.node.sure[made] = answers[0][:2]
        return answers

    def _taken(self, answers: tuple[Answer, ...]) -> Result:
        usual = len(answers) == 1 or self.usual
        node, result, refusal = answers[0] if usual else answers[self._choose(len(answers))]
        self.left -= 1
        if self.left < 0:
            raise self.cut_off()
        if refusal == _SUSPENDS:
            raise self.suspended()
        self.node = node
        if refusal:
            raise OSError(refusal, _ERRORS[refusal])
        return result

    def suspended(self) -> BaseException:
        """What is raised where a call would suspend the loop's thread for ever."""
        return WouldBlockForEverError("a call on a blocking descriptor would suspend the loop's thread")

    def cut_off(self) -> BaseException:
        """What is raised where a call is one too many."""
        return AssertionError("more calls than a run makes")

    def opened(self, *made: *Made) -> tuple[Number, ...]:
        """:meth:`make` a call that opens descriptors; their numbers."""
        result = self.make(made)
        assert isinstance(result, Opened), result
        return result.numbers

    def fault(self, kind: Fault) -> bool:
        """Whether the schedule has chosen this fault now."""
        if self.usual or kind not in self._faults.kinds or not self._left or not self._choose(2):
            return False
        self._left -= 1
        return True

    def carry(self) -> None:
        """The network carries every handshake that is under way and can be."""
        waiting = self.node.under_way()
        for id in waiting:
            made = (Handshake, id)
            answers = self.node.quick.get(made) or self._learnt(made)
            if answers:
                self.node = answers[self._choose(len(answers)) if len(answers) > 1 else 0].node

    # --- time ---

    def pass_time(self, until: int | None) -> bool:
        """Let the world act, or time pass, and say whether ``until`` has not come yet."""
        self.carry()
        if self._agenda and (until is None or self._agenda[0][0] <= until):
            self.now = max(self.now, self._agenda[0][0])
            due: list[tuple[int, int, Callable[[], object]]] = []
            while self._agenda and self._agenda[0][0] <= self.now:
                due.append(heapq.heappop(self._agenda))
            chosen = due.pop(self._choose(len(due)) if len(due) > 1 else 0)
            for entry in due:
                heapq.heappush(self._agenda, entry)
            chosen[2]()
            self.carry()
            return True
        if until is None:
            raise NothingWillHappenError("the loop sleeps, and nothing is left to wake it")
        self.now = until
        return False


class SimulatedPoller:
    """``select.epoll`` on the simulated kernel."""

    def __init__(self, kernel: SimulatedKernel, number: Number) -> None:
        self._kernel = kernel
        self.number = number
        self.closed = False

    def fileno(self) -> int:
        """Its descriptor. Raises ValueError once closed, as all methods do but :meth:`close`."""
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")
        return self.number

    def close(self) -> None:
        """close(2). Idempotent."""
        if not self.closed:
            self.closed = True
            self._kernel.make((Close, self.number))

    def register(self, fd: int, eventmask: int = IN | OUT, /) -> None:
        """EPOLL_CTL_ADD; raises the OSError of epoll_ctl(2)."""
        self._kernel.make((_add, self.fileno(), fd, eventmask & _UNSIGNED))

    def modify(self, fd: int, eventmask: int, /) -> None:
        """EPOLL_CTL_MOD."""
        self._kernel.make((_modify, self.fileno(), fd, eventmask & _UNSIGNED))

    def unregister(self, fd: int, /) -> None:
        """EPOLL_CTL_DEL."""
        self._kernel.make((_delete, self.fileno(), fd))

    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]:
        """Wait for at most ``timeout`` seconds, rounded up to milliseconds; None or less than 0 is without
        end.

        Raises :class:`NothingWillHappenError` if nothing will ever end the wait.
        """
        kernel = self._kernel
        batch = self._batch(maxevents)
        if batch or timeout == 0:
            return batch
        until = None
        if timeout is not None and timeout >= 0:
            until = kernel.now + math.ceil(math.ceil(timeout * SECOND) / MILLISECOND) * MILLISECOND
        if kernel.fault("EARLY"):
            return []
        while not batch:
            going = kernel.pass_time(until)
            batch = self._batch(maxevents)
            if not going:
                break
        return batch

    def _batch(self, maxevents: int) -> list[tuple[int, int]]:
        most = 1023 if maxevents == -1 else maxevents
        result = self._kernel.make((EpollWait, self.fileno(), most, 0))
        assert isinstance(result, Events), result
        batch: list[tuple[int, int]] = list(result.batch)
        if self._kernel.fault("SPURIOUS"):
            batch += self._not_ready(batch, most - len(batch))
        return batch

    def _not_ready(self, batch: list[tuple[int, int]], room: int) -> list[tuple[int, int]]:
        """One registration that wants to read and was not reported. A counter is what it says it is, and a
        report of a one-shot would have silenced it."""
        state = self._kernel.state
        interest = state.epolls[names_of(state, LOOP)[self.number]]
        told = {fd for fd, _ in batch}
        silent = sorted(
            key.number
            for key, held in interest.registrations.items()
            if held.mask & IN
            and not held.mask & ONESHOT
            and not isinstance(state.files[key.file].kind, EventCounter)
        )
        return [(int(fd), int(IN)) for fd in silent if fd not in told][: min(room, 1)]


_UNSIGNED: Final = 0xFFFFFFFF


def _add(epfd: Number, fd: Number, mask: Mask) -> Call:
    return EpollControl(epfd, Control.ADD, fd, mask, fd)


def _modify(epfd: Number, fd: Number, mask: Mask) -> Call:
    return EpollControl(epfd, Control.MOD, fd, mask, fd)


def _delete(epfd: Number, fd: Number) -> Call:
    return EpollControl(epfd, Control.DEL, fd, data=fd)


class SimulatedWaker:
    """One bit on an eventfd."""

    def __init__(self, kernel: SimulatedKernel, number: Number) -> None:
        self._kernel = kernel
        self._number = number
        self._closed = False

    def fileno(self) -> int:
        """Its descriptor, -1 once closed."""
        return -1 if self._closed else self._number

    def signal(self) -> None:
        """Set the bit; a full counter has it set already. Nothing after close."""
        if not self._closed and not self._is_set():
            self._kernel.make((Write, self._number, _ONE))

    def drain(self) -> None:
        """Clear the bit."""
        if not self._closed and self._is_set():
            self._kernel.make((Read, self._number, 8))

    def _is_set(self) -> bool:
        return bool(self._kernel.node.poll(self._number) & IN)

    def close(self) -> None:
        """close(2). Idempotent."""
        if not self._closed:
            self._closed = True
            self._kernel.make((Close, self._number))


_ONE = (1).to_bytes(8, "little")


def _shutdown(fd: Number, how: int) -> Call:
    return Shutdown(fd, How(how))


class SimulatedSocket(socket.socket):
    """The methods of ``socket.socket`` that a loop and its clients use, on the simulated kernel.

    It is a ``socket.socket``, which owns no descriptor, because a loop may treat what it knows to be one
    otherwise than what merely looks so. The ends of a client are nonblocking in fact: where a real one would
    be suspended, :class:`WouldBlockForEverError` is raised, since there is one thread and it is the loop's.
    """

    __slots__ = ("_family", "_kernel", "_number", "_peer", "_resets")

    def __init__(
        self, kernel: SimulatedKernel, number: Number, family: socket.AddressFamily = socket.AF_UNIX
    ) -> None:
        self._kernel = kernel
        self._number = number
        self._family = family
        self._peer = ("127.0.0.1", 0)
        self._resets = False

    def __repr__(self) -> str:
        return f"<simulated socket {self._number}>"

    @property
    def family(self) -> socket.AddressFamily:
        """AF_UNIX for a pair, AF_INET for TCP."""
        return self._family

    def fileno(self) -> int:
        """Its descriptor, -1 once closed."""
        return self._number

    def setblocking(self, flag: bool, /) -> None:
        """O_NONBLOCK of the description."""
        self._kernel.make((SetNonblocking, self._number, not flag))

    def recv(self, size: int, _flags: int = 0, /) -> bytes:
        """recv(2); empty is end of file. Raises its OSError, BlockingIOError for one."""
        result = self._kernel.make((Read, self._number, size))
        assert isinstance(result, Data), result
        return result.data

    def send(self, data: Bytes, _flags: int = 0, /) -> int:  # type: ignore[override]  # of no other buffer
        """send(2): how many bytes were taken. Raises its OSError, BlockingIOError for one."""
        if self._kernel.fault("ENOBUFS"):
            raise OSError(105, os.strerror(105))
        taken = bytes(data)
        if not taken:
            return 0
        result = self._kernel.make((Write, self._number, taken))
        assert isinstance(result, Count), result
        return result.value

    def sendall(self, data: Bytes, _flags: int = 0, /) -> None:  # type: ignore[override]  # ditto
        """All of ``data``, which must fit; for clients."""
        rest = bytes(data)
        while rest:
            rest = rest[self.send(rest) :]

    def shutdown(self, how: int, /) -> None:
        """shutdown(2)."""
        self._kernel.make((_shutdown, self._number, int(how)))

    def listen_on(self, port: int, backlog: int) -> None:
        """bind(2) to ``port`` and listen(2)."""
        self._kernel.make((Listen, self._number, port, backlog))
        self._peer = ("127.0.0.1", port)

    def getsockname(self) -> tuple[str, int]:
        """Where it listens."""
        return self._peer

    def connect_ex(self, address: object, /) -> int:
        """connect(2): 0 or the errno."""
        try:
            match address:
                case (str(), int(port)):
                    assert self._kernel.make((Connect, self._number, port)) == DONE
                case _:
                    raise TypeError(f"{address!r} is no host and port")
        except OSError as error:
            return error.errno or 0
        return 0

    def getsockopt(self, level: int, option: int, /) -> int:  # type: ignore[override]  # of a size there is none
        """SO_ERROR, whatever is asked for."""
        del level, option
        result = self._kernel.make((GetError, self._number))
        assert isinstance(result, Count), result
        return result.value

    def setsockopt(self, level: int, option: int, value: object, /, *_: object) -> None:
        """SO_LINGER makes the close a reset; what else there is to set, the model does not know."""
        del value
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._resets = True

    def accept(self) -> tuple[SimulatedSocket, tuple[str, int]]:
        """accept(2). Raises its OSError: BlockingIOError, and EMFILE or ECONNABORTED as faults."""
        if self._kernel.fault("EMFILE"):
            raise OSError(Errno.EMFILE, os.strerror(Errno.EMFILE))
        if self._kernel.fault("ECONNABORTED") and self._lose_one():
            raise OSError(Errno.ECONNABORTED, os.strerror(Errno.ECONNABORTED))
        result = self._kernel.make((Accept, self._number))
        assert isinstance(result, Opened), result
        (number,) = result.numbers
        return SimulatedSocket(self._kernel, number, self._family), ("127.0.0.1", 0)

    def _lose_one(self) -> bool:
        """The oldest connection of the queue is gone before it was accepted."""
        state = self._kernel.state
        kind = state.files[names_of(state, LOOP)[self._number]].kind
        if not isinstance(kind, Listener) or not kind.queue:
            return False
        (number,) = self._kernel.opened(Accept, self._number)
        self._kernel.make((Abort, number))
        return True

    def close(self) -> None:
        """close(2). Idempotent."""
        if self._number >= 0 and self._resets:
            self.reset()
        elif self._number >= 0:
            number, self._number = self._number, Number(-1)
            self._kernel.make((Close, number))

    def reset(self) -> None:
        """Close with a reset, as SO_LINGER with time 0 does; for clients over TCP."""
        number, self._number = self._number, Number(-1)
        self._kernel.make((Abort, number))


def tight(unix: int = 2, short: bool = True) -> Limits:
    """Limits with buffers of ``unix`` bytes and short transfers: backpressure at once, on every path."""
    small = KernelBuffer(sure=0, most=unix)
    return replace(ROOMY, unix=small, tcp=small, short=short)
