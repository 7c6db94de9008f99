"""What a task can wait for: time, a descriptor, an event.

A wait for a descriptor is the only one on the path of every request, and is made to cost little there. Its
trap, :class:`Readiness`, holds one direction of a reactor's slot while a task waits, and belongs to whoever
waits again and again, a stream for instance: no object is made for a wait. Its interest stays with the kernel
between waits. The direction is held until the step in which the task acts, and not only until it is woken:
readiness is a hint, and who finds that another has taken what was there waits on, undisturbed by newcomers.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar, Final

from refloop.errors import ClosedResourceError
from refloop.generators import until_ready
from refloop.here import current_reactor
from refloop.kernel import Resource
from refloop.reactor import INTEREST, Direction, Mode, Reactor, Slot
from refloop.tasks import CHECKPOINT, ParkingLot, Task, Trap, suspend
from refloop.timers import Timer


class Readiness(Trap):
    """That a read, or a write, of one descriptor would not suspend; a hint, as readiness is."""

    __slots__ = ("_task", "born", "reactor", "slot")
    mode: ClassVar[Mode] = Mode.LEVEL
    direction: ClassVar[Direction]
    interest: ClassVar[int]

    def __init__(self, reactor: Reactor, slot: Slot) -> None:
        self.slot = slot
        self.reactor = reactor
        self._task: Task[object] | None = None
        # A task waits in its step, after the batch of the turn has been dispatched: none is older than the
        # wait.
        self.born: Final = -1

    @property
    def fd(self) -> int:
        """The descriptor's number."""
        return self.slot.fd

    def describe(self) -> str:
        return f"{self.reason} of descriptor {self.fd}"

    def arm(self, task: Task[object], /) -> None:
        slot = self.slot
        if slot.told is None:
            raise ClosedResourceError(f"descriptor {slot.fd} has been closed")
        if slot.told & self.interest and slot.holder(self.direction) is None:
            slot.hold(self.direction, self)
        else:
            self.reactor.hold(slot, self.direction, self)
        self._task = task

    def abort(self, _task: Task[object], /) -> None:
        self._task = None
        self.release()

    def fire(self, _events: int, /) -> None:
        task = self._task
        if task is None:
            self.release()  # it was woken and has not run: it was abandoned, and nobody will
        else:
            self._task = None
            task.wake()

    def settle_closed(self) -> None:
        task, self._task = self._task, None
        if task is not None:  # who was woken already sees it when it runs
            task.wake(ClosedResourceError(f"descriptor {self.fd} was closed while a task waited for it"))

    def release(self) -> None:
        """Let others hold the direction: the task that was woken runs."""
        self.slot.hold(self.direction, None)


class Readable(Readiness):
    """That a read would not suspend."""

    __slots__ = ()
    reason = "read"
    direction = Direction.READ
    interest = INTEREST[Direction.READ]

    def arm(self, task: Task[object], /) -> None:
        # What every request of a server comes by: one who waits again, and whose interest the kernel knows.
        slot = self.slot
        if slot.told == _READING and slot.reader is None:
            slot.reader = self
            self._task = task
        else:
            super().arm(task)


class Writable(Readiness):
    """That a write would not suspend."""

    __slots__ = ()
    reason = "write"
    direction = Direction.WRITE
    interest = INTEREST[Direction.WRITE]


_READING: Final = Readable.interest


def wait_readable(resource: Resource) -> Awaitable[None]:
    """Wait until a read of ``resource`` would not suspend: data, end of file, a connection, or an error.

    Raises :class:`BusyResourceError` if another task or handler waits to read it,
    :class:`ClosedResourceError` after :func:`notify_closing`, PermissionError for a regular file. It is a
    hint: be ready for EAGAIN.
    """
    reactor = current_reactor()
    return until_ready(Readable(reactor, reactor.slot(resource)))


def wait_writable(resource: Resource) -> Awaitable[None]:
    """Wait until a write to ``resource`` would not suspend; raises as :func:`wait_readable` does."""
    reactor = current_reactor()
    return until_ready(Writable(reactor, reactor.slot(resource)))


def notify_closing(resource: Resource) -> None:
    """Say that ``resource`` is about to be closed: see :meth:`Reactor.notify_closing`."""
    current_reactor().notify_closing(resource)


class Sleep(Trap):
    """That the clock shows ``deadline``."""

    __slots__ = ("_timer", "deadline")
    reason = "sleep"

    def __init__(self, deadline: int) -> None:
        self.deadline = deadline
        self._timer: Timer | None = None

    def arm(self, task: Task[object], /) -> None:
        if self._timer is not None:
            raise RuntimeError("a sleep is awaited once")
        self._timer = task.runtime.reactor.call_at(self.deadline, task.wake)

    def abort(self, _task: Task[object], /) -> None:
        assert self._timer is not None
        self._timer.cancel()

    def describe(self) -> str:
        return f"sleep until {self.deadline} ns"


def sleep(delay: int) -> Awaitable[None]:
    """Suspend for at least ``delay`` nanoseconds from this call; ``sleep(2 * SECOND)``."""
    if delay < 0:
        raise ValueError(f"a delay of {delay} ns has passed already")
    return suspend(Sleep(current_reactor().clock() + delay))


def sleep_until(deadline: int) -> Awaitable[None]:
    """Suspend until the reactor's clock shows at least ``deadline`` nanoseconds."""
    return suspend(Sleep(deadline))


class Event:
    """Something that happens once, and that any number of tasks may wait for."""

    __slots__ = ("_lot", "_set")

    def __init__(self) -> None:
        self._set = False
        self._lot = ParkingLot("event", self)

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._set

    def set(self) -> None:
        """Let it happen: wake those who wait, in the order of arrival. Idempotent; from tasks and
        callbacks."""
        self._set = True
        self._lot.wake_all()

    async def wait(self) -> None:
        """Wait until it has happened; a checkpoint also if it has."""
        await suspend(CHECKPOINT if self._set else self._lot)
