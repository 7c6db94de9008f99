"""What a thread may ask of the kernel, what it may be told, and what the world does by itself.

Two closed unions. A call carries its thread. Three of them are no system calls but moves of the world, so
that the model stays one function: time passes (:class:`Advance`), the network carries a handshake
(:class:`Handshake`), and a suspended call is completed (:class:`Resume`).

Amounts are in bytes, and a byte of a stream is a *unit*: a runner on a real kernel may let it stand for
a page. An eventfd and a timerfd speak the kernel's own eight bytes. Times are nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

from loopspec.kernel.state import NOTHING, Errno, Mask, Number, ObjectId, State, ThreadId


class Control(Enum):
    """The operations of epoll_ctl(2)."""

    ADD = 1
    DEL = 2
    MOD = 3


class How(Enum):
    """The directions of shutdown(2)."""

    RD = 0
    WR = 1
    RDWR = 2


@dataclass(frozen=True, slots=True)
class _Call:
    thread: ThreadId = field(default=ThreadId(0), kw_only=True)


@dataclass(frozen=True, slots=True)
class OpenPipe(_Call):
    """pipe2(2): the reading number, then the writing one."""

    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenPair(_Call):
    """socketpair(2) of Unix streams."""

    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenSocket(_Call):
    """socket(2) of TCP."""

    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenEvent(_Call):
    """eventfd2(2)."""

    count: int = 0
    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenTimer(_Call):
    """timerfd_create(2) on CLOCK_MONOTONIC."""

    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenFile(_Call):
    """open(2) of a regular file that holds ``data``, for reading and writing, at offset 0."""

    data: bytes = b""
    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class OpenEpoll(_Call):
    """epoll_create1(2)."""


@dataclass(frozen=True, slots=True)
class Listen(_Call):
    """bind(2) to ``port`` of the loopback, then listen(2)."""

    fd: Number
    port: int
    backlog: int = 8


@dataclass(frozen=True, slots=True)
class Connect(_Call):
    """connect(2) to ``port`` of the loopback."""

    fd: Number
    port: int


@dataclass(frozen=True, slots=True)
class Accept(_Call):
    """accept4(2); ``nonblocking`` is the flag for the new description."""

    fd: Number
    nonblocking: bool = False


@dataclass(frozen=True, slots=True)
class Read(_Call):
    """read(2) of at most ``size`` units, at least one."""

    fd: Number
    size: int


@dataclass(frozen=True, slots=True)
class Write(_Call):
    """write(2) of ``data``, at least one unit."""

    fd: Number
    data: bytes


@dataclass(frozen=True, slots=True)
class Shutdown(_Call):
    """shutdown(2)."""

    fd: Number
    how: How


@dataclass(frozen=True, slots=True)
class Close(_Call):
    """close(2)."""

    fd: Number


@dataclass(frozen=True, slots=True)
class Abort(_Call):
    """close(2) of a TCP socket after SO_LINGER with time 0: a reset.

    Not modelled if the description has another reference: the option stays with it.
    """

    fd: Number


@dataclass(frozen=True, slots=True)
class Dup(_Call):
    """dup(2)."""

    fd: Number


@dataclass(frozen=True, slots=True)
class SetNonblocking(_Call):
    """fcntl(2) F_SETFL with or without O_NONBLOCK."""

    fd: Number
    nonblocking: bool


@dataclass(frozen=True, slots=True)
class GetError(_Call):
    """getsockopt(2) of SO_ERROR: takes the pending error, 0 for none."""

    fd: Number


@dataclass(frozen=True, slots=True)
class SetTimer(_Call):
    """timerfd_settime(2): once, ``after`` nanoseconds from now; 0 disarms."""

    fd: Number
    after: int


@dataclass(frozen=True, slots=True)
class EpollControl(_Call):
    """epoll_ctl(2). ``readable`` is False for an event pointer that the kernel cannot read."""

    epfd: Number
    op: Control
    fd: Number
    mask: Mask = NOTHING
    data: int = 0
    readable: bool = True


@dataclass(frozen=True, slots=True)
class EpollWait(_Call):
    """epoll_wait(2); ``timeout`` in nanoseconds, None for ever."""

    epfd: Number
    maxevents: int
    timeout: int | None = 0


@dataclass(frozen=True, slots=True)
class Fork(_Call):
    """fork(2): a copy of the table of numbers for the new process whose one thread is ``child``."""

    child: ThreadId


@dataclass(frozen=True, slots=True)
class Exit(_Call):
    """_exit(2) of a process with no other thread: every number is closed."""


@dataclass(frozen=True, slots=True)
class Advance(_Call):
    """The world: it is now ``to`` nanoseconds."""

    to: int


@dataclass(frozen=True, slots=True)
class Handshake(_Call):
    """The world: the handshake of ``connection`` is carried, if its listener has room; or it is refused."""

    connection: ObjectId


@dataclass(frozen=True, slots=True)
class Resume(_Call):
    """The world: the suspended call of ``thread`` goes on. There is no outcome while it cannot."""


SystemCall: TypeAlias = (
    OpenPipe
    | OpenPair
    | OpenSocket
    | OpenEvent
    | OpenTimer
    | OpenFile
    | OpenEpoll
    | Listen
    | Connect
    | Accept
    | Read
    | Write
    | Shutdown
    | Close
    | Abort
    | Dup
    | SetNonblocking
    | GetError
    | SetTimer
    | EpollControl
    | EpollWait
    | Fork
    | Exit
)

Move: TypeAlias = Advance | Handshake | Resume
"""What the world does by itself."""

Call: TypeAlias = SystemCall | Move


# --- results ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """0: the call succeeded and has nothing to tell."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The new numbers."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """How many units were taken, or the value of an option."""

    value: int


@dataclass(frozen=True, slots=True)
class Data:
    """What was read; empty is end of file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Events:
    """One batch: (data, mask) of each registration reported, in order."""

    batch: tuple[tuple[int, Mask], ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """-1, and errno."""

    errno: Errno


@dataclass(frozen=True, slots=True)
class Sleeps:
    """The caller is suspended: no result yet."""


Result: TypeAlias = Done | Opened | Count | Data | Events | Failed | Sleeps


class Outcome(NamedTuple):
    """One thing that may happen: the new state, the result, and the ids of the clauses that allow it."""

    state: State
    result: Result
    clauses: frozenset[str] = frozenset()


DONE = Done()
SLEEPS = Sleeps()
