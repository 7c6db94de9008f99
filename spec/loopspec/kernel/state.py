"""What the kernel knows, frozen and hashable all the way down.

Each layer is a table of its own, as in Linux: process → number → open file description → object. Two ends of
a pipe are two descriptions of one object; a dup is two numbers of one description; a fork is two processes
whose numbers share descriptions. Registrations live in the epoll set and are keyed by number *and*
description, so that a number may own two of them and a closed number still one.

A hash is asked for at every transition, so tables remember theirs. Ids of descriptions and objects are the
lowest free ones: two states that differ only in their history are one state, which keeps the small scopes
finite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, NewType, TypeAlias, TypeVar

if TYPE_CHECKING:
    from loopspec.kernel.calls import Call

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)
V = TypeVar("V")

Number = NewType("Number", int)  #: a file descriptor, as one process sees it
FileId = NewType("FileId", int)  #: an open file description
ObjectId = NewType("ObjectId", int)  #: a pipe or a connection: what two descriptions share
ProcessId = NewType("ProcessId", int)
ThreadId = NewType("ThreadId", int)
Mask = NewType("Mask", int)  #: bits of <sys/epoll.h>

IN = Mask(0x1)
OUT = Mask(0x4)
ERR = Mask(0x8)
HUP = Mask(0x10)
RDHUP = Mask(0x2000)
EXCLUSIVE = Mask(1 << 28)
ONESHOT = Mask(1 << 30)
EDGE = Mask(1 << 31)

NOTHING = Mask(0)
MODES = Mask(EXCLUSIVE | ONESHOT | EDGE | 1 << 29)  #: how to report, as against what: EP_PRIVATE_BITS


class Errno(IntEnum):
    """The errors that the model can return, with the numbers of Linux."""

    EINTR = 4
    EBADF = 9
    EAGAIN = 11
    EFAULT = 14
    EEXIST = 17
    EINVAL = 22
    EMFILE = 24
    EPIPE = 32
    EPERM = 1
    ENOENT = 2
    ELOOP = 40
    ENOTSOCK = 88
    EOPNOTSUPP = 95
    EADDRINUSE = 98
    ECONNABORTED = 103
    ECONNRESET = 104
    EISCONN = 106
    ENOTCONN = 107
    ECONNREFUSED = 111
    EALREADY = 114
    EINPROGRESS = 115


class Table(Mapping[K, V]):
    """An immutable mapping that remembers its hash; ``put`` and ``without`` give new ones."""

    __slots__ = ("_entries", "_hash")
    _entries: dict[K, V]
    _hash: int | None

    def __init__(self, entries: Iterable[tuple[K, V]] = ()) -> None:
        self._entries = dict(entries)
        self._hash = None

    def __getitem__(self, key: K, /) -> V:
        return self._entries[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Table) and hash(self) == hash(other) and self._entries == other._entries

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._entries.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"Table({sorted(self._entries.items(), key=repr)!r})"

    def put(self, key: K, value: V) -> Table[K, V]:
        """This table with ``key`` meaning ``value``."""
        changed = self._entries.copy()
        changed[key] = value
        return _table(changed)

    def without(self, key: K) -> Table[K, V]:
        """This table without ``key``; KeyError if it has none."""
        changed = self._entries.copy()
        del changed[key]
        return _table(changed)


def _table(entries: dict[K, V]) -> Table[K, V]:
    made: Table[K, V] = Table()
    made._entries = entries
    return made


# --- what a description can be of -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PipeEnd:
    """One end of a pipe: the one that ``writes``, or the one that reads."""

    pipe: ObjectId
    writes: bool


CLIENT = 0
"""The side of a TCP connection that connected."""


@dataclass(frozen=True, slots=True)
class SocketEnd:
    """Side 0 or 1 of a connection. Of a TCP connection side 0 is the client."""

    connection: ObjectId
    side: int


@dataclass(frozen=True, slots=True)
class FreshSocket:
    """A TCP socket that has neither listened nor connected."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket; ``queue`` holds connections that nobody has accepted yet, oldest first."""

    port: int
    backlog: int
    queue: tuple[ObjectId, ...] = ()


@dataclass(frozen=True, slots=True)
class EventCounter:
    """An eventfd."""

    count: int


@dataclass(frozen=True, slots=True)
class Timer:
    """A one-shot timerfd: ``expires`` at that instant, None when disarmed; ``ticks`` that nobody has read."""

    expires: int | None = None
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class Regular:
    """A regular file and the offset of this description in it."""

    data: bytes
    offset: int = 0


@dataclass(frozen=True, slots=True)
class EpollSet:
    """An epoll; its interest is in :attr:`State.epolls` under the description's id."""


FileKind: TypeAlias = PipeEnd | SocketEnd | FreshSocket | Listener | EventCounter | Timer | Regular | EpollSet


@dataclass(frozen=True, slots=True)
class File:
    """An open file description."""

    kind: FileKind
    nonblocking: bool


# --- what descriptions share ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipe. ``reader`` and ``writer`` are its ends, None once gone; ``writable`` is the world's choice."""

    data: bytes
    reader: FileId | None
    writer: FileId | None
    writable: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """One side of a connection, as its socket sees it.

    ``inbox`` has arrived and is unread; ``no_more_in`` and ``no_more_out`` are the two bits of sk_shutdown;
    ``finished`` says that the peer's FIN has come, ``sent_fin`` that ours has gone; ``dead`` is TCP's CLOSE;
    ``writable`` is the world's choice, within the bounds of :class:`Buffer`. ``file`` is None before
    accept and after close; ``closed`` tells these apart.
    """

    file: FileId | None = None
    inbox: bytes = b""
    no_more_in: bool = False
    no_more_out: bool = False
    finished: bool = False
    sent_fin: bool = False
    dead: bool = False
    closed: bool = False
    error: Errno | None = None
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """Two ends. ``port`` is None for a Unix stream pair; ``under_way`` is a TCP handshake not yet done, and
    ``noticed`` says that connect(2) has told the client what came of it."""

    ends: tuple[End, End]
    port: int | None = None
    under_way: bool = False
    noticed: bool = False


Shared: TypeAlias = Pipe | Connection


# --- epoll ----------------------------------------------------------------------------------------------


class Key(NamedTuple):
    """What a registration is known by."""

    number: Number
    file: FileId


@dataclass(frozen=True, slots=True)
class Registration:
    """``mask`` is what the kernel keeps: what was asked, ERR, HUP and the modes. ``data`` is the caller's."""

    mask: Mask
    data: int


@dataclass(frozen=True, slots=True)
class Interest:
    """An epoll set: its registrations, and the ready list in the order in which a wait will look at it."""

    registrations: Table[Key, Registration] = field(default_factory=Table)
    ready: tuple[Key, ...] = ()


# --- threads --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suspended:
    """A blocking call under way. It holds ``file`` open; ``deadline`` None is for ever; ``done`` units are
    written already; ``reserved`` is the number that an accept has taken before it began to wait."""

    call: Call
    file: FileId
    deadline: int | None = None
    done: int = 0
    reserved: Number | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of ``process``, running unless it is ``suspended``."""

    process: ProcessId
    suspended: Suspended | None = None


# --- the whole ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Buffer:
    """What is promised of a buffer that counts units.

    With at most ``sure`` units in it, it is writable; with more than ``most - atomic`` it is not; between,
    the world chooses, since kernels account in pages and in socket buffers. It never holds more than
    ``most``. A write of at most ``atomic`` units is never split.
    """

    sure: int
    most: int
    atomic: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.sure <= self.most - self.atomic:
            raise ValueError(f"{self}: a buffer that is surely writable has room for an atomic write")


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes of a kernel: descriptors a process, buffers, nesting, and whether transfers fall short.

    ``nesting`` is how many epolls may stand above one another. With ``short`` a read may give less than there
    is and a write take less than fits, as POSIX allows of sockets and real kernels do under pressure.
    """

    numbers: int = 16
    pipe: Buffer = Buffer(sure=0, most=4, atomic=2)
    unix: Buffer = Buffer(sure=0, most=2)
    tcp: Buffer = Buffer(sure=1 << 16, most=1 << 17)
    nesting: int = 5
    short: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The kernel at one instant, ``now`` in nanoseconds."""

    limits: Limits
    numbers: Table[ProcessId, Table[Number, FileId]]
    files: Table[FileId, File]
    objects: Table[ObjectId, Shared]
    epolls: Table[FileId, Interest]
    threads: Table[ThreadId, Thread]
    now: int = 0


def initial(threads: int = 1, limits: Limits | None = None) -> State:
    """One process, 0, with ``threads`` running threads from 0, and no descriptor."""
    process = ProcessId(0)
    return State(
        limits=limits or Limits(),
        numbers=Table([(process, Table())]),
        files=Table(),
        objects=Table(),
        epolls=Table(),
        threads=Table((ThreadId(thread), Thread(process)) for thread in range(threads)),
    )


def lowest_free(taken: Collection[int]) -> int:
    """The lowest id that ``taken`` does not have."""
    return next(candidate for candidate in range(len(taken) + 1) if candidate not in taken)
