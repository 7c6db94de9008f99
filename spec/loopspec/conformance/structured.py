"""What the adapters of loops of tasks have in common: trio, AnyIO, curio.

Such a loop arms no timers and registers no descriptors for callbacks: it has tasks that wait. The
harness leaves out of a scenario what a loop does not show (:data:`CALLED_BACK`), so that the operations of
:class:`TasksOnly` are never asked for; they are there because every adapter has them.

trio and AnyIO moreover call things by the same names: cancel scopes, events, memory channels. :class:`Names`
holds whose they are, and everything below is made of them once. Under *structured concurrency* an error that
leaves a task ends the task group, and that is the documented contract: who wants to go on supervises what
he starts, and so does :class:`Supervised`.
"""

from __future__ import annotations

import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NoReturn, Protocol

from loopspec.conformance.adapter import EVERYTHING, Condition, Holdable, Job, Operation, Queue, World
from loopspec.trace import Outcome

SECOND = 1_000_000_000

CALLED_BACK = frozenset(
    {"TimerArm", "TimerFire", "TimerCancel", "TimersHeld"}
    | {"Arm", "Disarm", "StaleDisarm", "Dispatch", "Handle", "Handled"}
)
"""The events that only timers and handlers show which are called back."""

TASKS = EVERYTHING - CALLED_BACK
"""What a loop can show that has tasks and no such handlers."""


class StockSelector(selectors.EpollSelector):
    """The standard library's selector; the attribute is where it looks for the class of its epoll object."""

    def __init__(self, world: World) -> None:
        self._selector_cls = world.poller
        super().__init__()


class TasksOnly:
    """The operations of :class:`~loopspec.conformance.adapter.Adapter` that a loop of tasks does not have."""

    def timers_held(self) -> int:
        return 0

    def call_later(self, *_: object) -> NoReturn:
        raise NotImplementedError("this loop calls nothing back")

    submits = False
    arm = disarm = submit = handle_on_workers = call_later


class CallbacksOnly:
    """The operations of :class:`~loopspec.conformance.adapter.Adapter` that a loop of callbacks does not
    have."""

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        return {}

    def primitives(self) -> None:
        return None

    def spawn(self, *_: object) -> NoReturn:
        raise NotImplementedError("this loop has no tasks")

    checkpoint = sleep = receive = send_all = scope = serve_echo = spawn
    start_workers = submit = to_thread = from_thread = handle_on_workers = on_signal = spawn


CALLBACKS = frozenset(
    {"WaitBegin", "WaitReturn", "Interrupted", "Suspend", "Resume", "Call", "Return", "Deliver", "Quiescent"}
    | {"Enqueue", "Run", "HandlerEnd", "Report", "Post", "Worked", "TimerArm", "TimerFire", "TimerCancel"}
    | {"TimersHeld", "Arm", "Disarm", "Dispatch", "Refuse", "Close", "Shut", "Abandon", "Snatch", "Connect"}
    | {"Read", "Write", "Send", "HalfClose", "Leave", "Reset", "StopReading", "Threads", "Room"}
    | {"Receive", "Objects", "Rehearsal"}
)
"""What a loop can show that has callbacks, timers and handlers, and nothing else."""


@dataclass(frozen=True, slots=True)
class Op:
    """An :class:`~loopspec.conformance.adapter.Operation`, of two callables."""

    ready: Callable[[], object]
    call: Callable[[], Awaitable[object]]


class _Event(Protocol):
    def set(self) -> object: ...
    def wait(self) -> Awaitable[object]: ...


class _Semaphore(Protocol):
    @property
    def value(self) -> int: ...
    def acquire(self) -> Awaitable[object]: ...
    def release(self) -> object: ...


class _CancelScope(Protocol):
    @property
    def cancelled_caught(self) -> bool: ...
    def cancel(self) -> object: ...
    def __enter__(self) -> object: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...


class _Statistics(Protocol):
    @property
    def current_buffer_used(self) -> int: ...


class _Sender(Protocol):
    def send(self, item: int, /) -> Awaitable[object]: ...
    def send_nowait(self, item: int, /) -> object: ...
    def statistics(self) -> _Statistics: ...


class _Receiver(Protocol):
    def receive(self) -> Awaitable[int]: ...
    def receive_nowait(self) -> int: ...


class _Nursery(Protocol):
    def start_soon(self, run: Callable[[], Coroutine[object, object, object]], /) -> object: ...


@dataclass(frozen=True, slots=True)
class Names:
    """A library's own. ``scope`` takes the seconds until its deadline, None for never."""

    event: Callable[[], _Event]
    scope: Callable[[float | None], _CancelScope]
    lock: Callable[[], Holdable]
    semaphore: Callable[[int], _Semaphore]
    condition: Callable[[], Condition]
    channel: Callable[[int], tuple[_Sender, _Receiver]]
    group: Callable[[], AbstractAsyncContextManager[_Nursery]]

    def operations(self) -> Mapping[str, Callable[[], Operation]]:
        """For :meth:`~loopspec.conformance.adapter.Adapter.operations`."""
        return {
            "Event.wait": self._event_wait,
            "MemoryReceive.receive": self._receive,
            "MemorySend.send": self._send,
            "Semaphore.acquire": self._acquire,
        }

    def _event_wait(self) -> Operation:
        event = self.event()
        return Op(event.set, event.wait)

    def _receive(self) -> Operation:
        sender, receiver = self.channel(1)
        return Op(partial(sender.send_nowait, 0), receiver.receive)

    def _send(self) -> Operation:
        sender, receiver = self.channel(1)
        sender.send_nowait(0)
        return Op(receiver.receive_nowait, partial(sender.send, 0))

    def _acquire(self) -> Operation:
        semaphore = self.semaphore(0)
        return Op(semaphore.release, semaphore.acquire)


class Primitives:
    """For :meth:`~loopspec.conformance.adapter.Adapter.primitives`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.lock = names.lock
        self.condition = names.condition

    def semaphore(self, value: int) -> Holdable:
        return _Holdable(self._names.semaphore(value))

    def queue(self, capacity: int) -> Queue:
        return _Channel(*self._names.channel(capacity))


class _Holdable:
    def __init__(self, semaphore: _Semaphore) -> None:
        self._semaphore = semaphore
        self.acquire = semaphore.acquire
        self.release = semaphore.release

    def locked(self) -> bool:
        return self._semaphore.value == 0


class _Channel:
    def __init__(self, sender: _Sender, receiver: _Receiver) -> None:
        self.put, self.get, self._statistics = sender.send, receiver.receive, sender.statistics
        self._kept = receiver  # an end that is let go of is one that is closed

    def qsize(self) -> int:
        return self._statistics().current_buffer_used


class Scope:
    """A cancel scope's ``with`` as ``async with``, which it has no need to be."""

    def __init__(self, names: Names, delay: int | None) -> None:
        self._scope = names.scope(None if delay is None else delay / SECOND)
        self.cancel = self._scope.cancel

    @property
    def caught(self) -> bool:
        return self._scope.cancelled_caught

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._scope.__exit__(kind, error, traceback)


class Group:
    """A task group. An error of a child leaves the child: the group is who looks after it."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._group = names.group()
        self._nursery: _Nursery | None = None

    def start(self, job: Job) -> Supervised:
        assert self._nursery is not None
        child = Supervised(self._names, job, contained=False)
        self._nursery.start_soon(child.run)
        return child

    async def __aenter__(self) -> None:
        self._nursery = await self._group.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._group.__aexit__(kind, error, traceback)


class Supervised:
    """A task under supervision: its scope cancels it, its outcome is kept, and its error, if ``contained``,
    goes no further."""

    def __init__(self, names: Names, job: Job, *, contained: bool = True) -> None:
        self._job = job
        self._names = names
        self._contained = contained
        self._scope: _CancelScope | None = None  # AnyIO's are made in a task
        self._asked = False
        self._over = names.event()
        self._outcome: tuple[Outcome, str] = ("cancelled", "")

    def cancel(self) -> None:
        """Ask for its cancellation, which may be before it has begun."""
        self._asked = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """What the task does."""
        self._scope = self._names.scope(None)
        if self._asked:
            self._scope.cancel()
        try:
            with self._scope:
                self._outcome = "value", await self._job()
        except Exception as error:
            self._outcome = "error", str(error)
            if not self._contained:
                raise
        finally:
            self._over.set()

    async def join(self) -> tuple[Outcome, str]:
        await self._over.wait()
        return self._outcome
