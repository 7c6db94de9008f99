"""The adapter: how a loop lets itself be judged. This docstring is all that an author needs.

An adapter is a class, found through the entry-point group ``loopspec.loops``; its name there is what
``loopspec check NAME`` takes. One instance is one loop, made anew for each scenario, and used by one
thread. It does two things and nothing else.

*It gives the loop its surroundings.* The constructor gets a :class:`World` and makes a loop that reads
the time from ``world.now`` only, waits with ``world.poller()`` in place of an epoll instance of its own,
and tells ``world.report`` of every exception that a handler lets out. Descriptors and readiness are the
real kernel's; time is the world's: it passes only while the loop waits, by exactly what the loop asked
for, or while a handler says it works. So a run depends on nothing but its script, and no scenario ever
takes long.

*It offers the loop's own public operations under the names below*, each as thinly as it can: the
operations are what is judged, not the adapter. What the loop does not have is left out of ``operations``
or of ``shows``, and the clauses that need it are then *not observed*; a wrapper that adds a check, a
yield or a lock would have the wrapper judged. Operations may raise whatever the loop raises: a refusal is
an exception, and the harness records it.

The harness records the trace around these calls; the adapter itself records nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from loopspec.trace import EVENTS, Direction, Outcome, RpcOutcome, Trigger

Job = Callable[[], Coroutine[object, object, str]]
"""A coroutine function without arguments: what a task is made of."""

RPC = frozenset(name for name in EVENTS if name.startswith("Rpc"))
"""What a loop can show besides whose adapter is :class:`OffersRpc`, too."""

MODES = frozenset(("Triggered", "Rearm", "Drained", "Interest"))
"""What a loop can show besides whose adapter is :class:`OffersModes`."""

CONNECTS = frozenset(("Dial", "Dialed", "DialSettle"))
"""What a loop can show besides whose adapter is :class:`OffersConnects`."""

BUFFERS = frozenset(("HighWater", "Buffered"))
"""What a loop can show besides whose adapter is :class:`OffersBuffers`."""

ACCEPTS = frozenset(("Accept", "Exhausted", "Relieved"))
"""What a loop can show besides that accepts by the listener's own ``accept``, as Python's loops do: the
listener that ``serve_echo`` is given tells of it."""

GROUPS = frozenset({"GroupEnter", "GroupStart", "GroupLeave", "GroupExit"})
"""What a loop can show besides whose adapter is :class:`OffersGroups`, too."""

ALONE = frozenset({"Alone", "Deadlock"})
"""What a loop can show besides whose adapter is :class:`RunsAlone`, too."""

_SERVED = frozenset({"Serves", "Hold", "Free", "Crash", "AtRest", "Shown"})

EVERYTHING = frozenset(EVENTS) - RPC - MODES - CONNECTS - BUFFERS - ACCEPTS - GROUPS - ALONE - _SERVED
"""For ``shows`` of a loop that has every operation of :class:`Adapter`. The rest is shown by servers: an
adapter with an attribute ``servers``, the command of each by its architecture, has those judged as well
(:mod:`loopspec.conformance.servers`)."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A clause that the loop does not keep, and says so: ``link`` is where its documentation or its authors
    do, ``line`` what they say. An adapter may have an attribute ``deviations``, a mapping of these by clause
    id; what is broken then is shown as such, with the link, and is neither a failure nor a pass."""

    link: str
    line: str


class IncompatibleError(ImportError):
    """For the module of an adapter to raise when its loop is installed, and cannot run on this interpreter or
    system. The text is one line, why. The loop is then named and skipped, as one that is not installed is."""


class Poller(Protocol):
    """The part of :class:`select.epoll` that loops use, with its signatures and its units."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...

    def modify(self, fd: int, eventmask: int, /) -> None: ...

    def unregister(self, fd: int, /) -> None: ...

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class World(Protocol):
    """What an adapter builds its loop on."""

    def now(self) -> int:
        """The time, in nanoseconds: a monotonic clock that the world moves."""
        ...

    def poller(self) -> Poller:
        """A real epoll instance, whose ``poll`` is the world's: for wherever the loop would make one."""
        ...

    def report(self, error: BaseException) -> None:
        """A handler has let this exception out, and the loop says so: what its exception handler is told."""
        ...


class HasFileno(Protocol):
    """A socket, mostly."""

    def fileno(self) -> int: ...


class TimerHandle(Protocol):
    """An armed timer. ``deadline`` is the instant the loop has written down for it, in nanoseconds."""

    @property
    def deadline(self) -> int: ...

    def cancel(self) -> object: ...


class TaskHandle(Protocol):
    """A spawned task."""

    def cancel(self) -> object:
        """Ask for its cancellation."""
        ...

    def join(self) -> Awaitable[tuple[Outcome, str]]:
        """Wait for its end without disturbing it, and tell how the loop says that it ended.

        The text is the task's value, or its error as a text, or empty if it was cancelled.
        """
        ...


class Operation(Protocol):
    """One asynchronous operation that can be made ready: getting from a queue, taking a lock.

    A new one is not ready: :meth:`call` would wait. :meth:`ready` makes the next call succeed.
    """

    def ready(self) -> object: ...

    def call(self) -> Awaitable[object]: ...


class Holdable(Protocol):
    """A lock or a semaphore; of a condition, its lock."""

    def acquire(self) -> Awaitable[object]: ...

    def release(self) -> object: ...

    def locked(self) -> bool:
        """Whether nobody could acquire it without waiting."""
        ...


class Condition(Holdable, Protocol):
    """A condition with a lock of its own."""

    def wait(self) -> Awaitable[object]:
        """Give the lock up, wait to be notified, and return with the lock held again."""
        ...

    def notify(self, count: int, /) -> object: ...


class Queue(Protocol):
    """A bounded queue."""

    def put(self, item: int, /) -> Awaitable[object]: ...

    def get(self) -> Awaitable[int]: ...

    def qsize(self) -> int:
        """How many items are in it."""
        ...


class Primitives(Protocol):
    """What tasks can share. Each method makes a new one, inside the running loop."""

    def lock(self) -> Holdable: ...

    def semaphore(self, value: int, /) -> Holdable: ...

    def condition(self) -> Condition: ...

    def queue(self, capacity: int, /) -> Queue: ...


class Scope(Protocol):
    """A region of a task's code that can be cancelled by itself: ``async with``, once.

    It absorbs the cancellation that it issued, whether that was asked for by ``cancel``, if it is
    :class:`Cancellable`, or by its deadline, and nothing leaves it then; ``caught`` tells.
    """

    @property
    def caught(self) -> bool: ...

    def __aenter__(self) -> Awaitable[object]: ...

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Awaitable[bool | None]: ...


@runtime_checkable
class Cancellable(Protocol):
    """A scope that can be cancelled before its deadline."""

    def cancel(self) -> object: ...


class Adapter(Protocol):
    """One loop under judgement. Methods are called on the loop's thread, but for :meth:`post`."""

    version: ClassVar[str]
    """Of the loop, as a person would cite it."""

    shows: ClassVar[frozenset[str]]
    """The names of the trace events that this loop can show; :data:`EVERYTHING` if it has it all."""

    def __init__(self, world: World) -> None: ...

    def run(self, main: Callable[[], None]) -> None:
        """Call ``main()`` as the loop's first callback, and run the loop until :meth:`stop`."""
        ...

    def stop(self) -> None:
        """Have :meth:`run` return once the turn is over. May be called from inside the poller's ``poll``."""
        ...

    def close(self) -> None:
        """End what still runs, and give back every descriptor and thread."""
        ...

    # -- callbacks

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Queue ``callback``."""
        ...

    def post(self, callback: Callable[[], None], /) -> object:
        """Queue ``callback`` from another thread."""
        ...

    def call_later(self, delay: int, callback: Callable[[], None]) -> TimerHandle:
        """Arm a timer that fires ``delay`` nanoseconds from now."""
        ...

    def timers_held(self) -> int:
        """How many timers the loop keeps in memory, cancelled ones included."""
        ...

    def arm(self, sock: HasFileno, direction: Direction, callback: Callable[[], None]) -> object:
        """Have ``callback`` called whenever ``sock`` is ready; returns what :meth:`disarm` takes.

        Of a direction that has a handler already, the loop may refuse the second by raising, or let it
        replace the first.
        """
        ...

    def disarm(self, registration: object) -> None:
        """End what :meth:`arm` began."""
        ...

    def close_socket(self, sock: socket.socket) -> None:
        """Close a socket that handlers or tasks may wait for, in the way the loop asks for."""
        ...

    def on_signal(self, number: int, callback: Callable[[], None], /) -> object:
        """Have ``callback`` called in the loop when the process gets signal ``number``."""
        ...

    # -- coroutines

    def spawn(self, job: Job) -> TaskHandle:
        """Start a task; from a callback or from another task."""
        ...

    def checkpoint(self) -> Awaitable[object]:
        """Let others run."""
        ...

    def sleep(self, delay: int, /) -> Awaitable[object]:
        """Suspend the calling task for ``delay`` nanoseconds."""
        ...

    def receive(self, sock: socket.socket, size: int) -> Awaitable[bytes]:
        """At most ``size`` bytes from a nonblocking stream socket; empty at end of file."""
        ...

    def send_all(self, sock: socket.socket, data: bytes) -> Awaitable[object]:
        """Give all of ``data`` to a nonblocking stream socket."""
        ...

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        """The loop's other asynchronous operations by their public names, each with a maker of a new one.

        One of them, ``Event.wait``, is what scenarios use for a task to wait for another.
        """
        ...

    def primitives(self) -> Primitives | None:
        """What tasks can share; None if the loop has none of it, and ``Make`` is then not shown."""
        ...

    def scope(self, delay: int | None) -> Scope | None:
        """A new cancel scope that ends ``delay`` nanoseconds from now, None for never.

        None if the loop has no such thing; if it never has, ``ScopeEnter`` is not shown.
        """
        ...

    # -- worker threads

    def start_workers(self, count: int) -> None:
        """Have a pool of at most ``count`` worker threads for what follows; called once, before
        :meth:`run`."""
        ...

    def submit(self, function: Callable[[], str], done: Callable[[Callable[[], str]], None]) -> object:
        """Have a worker call ``function``, and then ``done`` be called with what gives the outcome: it
        returns the value or raises the error. A loop whose jobs are only awaited has an attribute ``submits``
        that is False, and is not asked for it."""
        ...

    def to_thread(self, function: Callable[[], str]) -> Awaitable[str]:
        """Have a worker call ``function``, and suspend the calling task until it has."""
        ...

    def from_thread(self, job: Job) -> str:
        """Called on a worker: run a task on the loop, and wait for its value."""
        ...

    def handle_on_workers(self, sock: socket.socket, handler: Callable[[], None]) -> object:
        """Have a worker call ``handler`` whenever ``sock`` is readable; returns what :meth:`disarm` takes. A
        loop that has no such thing leaves ``Handle`` out of :attr:`shows`, and is not asked for it."""
        ...

    # -- servers

    def serve_echo(self, listener: socket.socket) -> None:
        """Serve, with the loop's own streams: send every byte of every client back to it. A loop that accepts
        otherwise than by the listener's ``accept`` leaves ``Accept`` out of :attr:`shows`."""
        ...


# --- what a loop may have besides --------------------------------------------------------------------------


@runtime_checkable
class OffersModes(Protocol):
    """What the adapter of a loop has whose registrations can be edge-triggered or one-shot."""

    def arm_triggered(
        self, sock: HasFileno, direction: Direction, trigger: Trigger, callback: Callable[[], None]
    ) -> object:
        """As ``arm``; both directions of a descriptor have the same mode."""
        ...

    def rearm(self, registration: object) -> None:
        """Have the descriptor looked at anew."""
        ...


class Connection(Protocol):
    """What a connect gives."""

    def close(self) -> None: ...


@runtime_checkable
class OffersConnects(Protocol):
    """What the adapter of a loop has that connects over TCP."""

    def connect(self, host: str, port: int) -> Awaitable[Connection]:
        """Connect to a numeric address; raises an OSError if that fails, and leaves nothing open then."""
        ...


class BufferedWriter(Protocol):
    """The writing side of a stream, with a buffer. ``accepted`` is how many bytes it has taken in all."""

    @property
    def accepted(self) -> int: ...

    def write(self, data: bytes, /) -> Awaitable[object]: ...


@runtime_checkable
class OffersBuffers(Protocol):
    """What the adapter of a loop has whose streams buffer what is written."""

    def buffered(self, sock: socket.socket, mark: int) -> Awaitable[BufferedWriter]:
        """The writing side of a nonblocking stream socket, which suspends its writers when it holds more than
        ``mark`` bytes; asked for once a socket."""
        ...


# --- more of tasks ------------------------------------------------------------------------------------------


class Group(Protocol):
    """A task group: ``async with``, once. It ends after all of its children, and what they and the block
    raised leaves it together, as an exception group."""

    def start(self, job: Job, /) -> TaskHandle:
        """Start a child. May raise, and then there is none."""
        ...

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...


@runtime_checkable
class OffersGroups(Protocol):
    """What the adapter of a loop with task groups has besides."""

    def group(self) -> Group: ...


@runtime_checkable
class RunsAlone(Protocol):
    """What the adapter of a loop has besides that can be told that nobody else will make anything ready, or
    that need not be told."""

    def run_alone(self, main: Callable[[], None]) -> Sequence[TaskHandle]:
        """Call ``main()`` as the first thing, and run the loop until all spawned tasks have ended, or until
        :meth:`Adapter.stop`; what it reports as waiting for each other and for nothing else, in its order."""
        ...


# --- remote calls -------------------------------------------------------------------------------------------
#
# A loop that has them offers them in three forms, over a connected socket whose other end is the harness's.
# What goes over it are frames: four bytes, the length in network order, and so many bytes of JSON. A
# request is {"id": ..., "method": "ask", "params": [...]}, a reply {"id": ..., "result": ...} or {"id":
# ..., "error": "..."}.

RpcEnding: TypeAlias = tuple[RpcOutcome, str]
"""How a call ended, and the text that was replied."""


class BlockingSocket(Protocol):
    """The part of a connected, blocking :class:`socket.socket` that a blocking client uses."""

    def settimeout(self, value: float | None, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class RpcClient(Protocol):
    """One end of one transport, in whichever form."""

    def dropped(self) -> int:
        """How many replies it has dropped, by its own count."""
        ...

    def close(self) -> None: ...


class BlockingRpc(RpcClient, Protocol):
    """Calls that suspend their thread."""

    def ask(self, params: tuple[int, str], timeout: int | None) -> RpcEnding: ...


class CallbackRpc(RpcClient, Protocol):
    """Calls that return at once; what they return cancels them."""

    def ask(
        self, params: tuple[int, str], timeout: int | None, settled: Callable[[RpcOutcome, str], None]
    ) -> Callable[[], object]: ...


class CoroutineRpc(RpcClient, Protocol):
    """Calls that suspend their task."""

    def ask(self, params: tuple[int, str], timeout: int | None) -> Awaitable[RpcEnding]: ...


@runtime_checkable
class OffersRpc(Protocol):
    """What the adapter of a loop with remote calls has besides; time-outs are in nanoseconds."""

    def rpc_blocking(self, sock: BlockingSocket, now: Callable[[], int]) -> BlockingRpc:
        """A client for a thread without a loop, which reads the time from ``now`` only."""
        ...

    def rpc_callback(self, sock: socket.socket) -> CallbackRpc: ...

    def rpc_coroutine(self, sock: socket.socket) -> CoroutineRpc: ...
