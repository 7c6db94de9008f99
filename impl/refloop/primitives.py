"""What tasks share: locks, semaphores, conditions, bounded queues.

All of them are a :class:`~refloop.tasks.ParkingLot` and a rule of admission, and no more. The lot makes them
fair, since it admits in the order of arrival and lets nobody pass, and safe to cancel, since a task is woken
with what it came for in its hands: the token, the item, the place. So a release, a put or a notification
chooses somebody who will have it, and there is no moment between being chosen and having in which a
cancellation could lose it. A primitive never undoes anything; there is nothing to undo.

Each operation is one suspension, and so a checkpoint on every call, ready or not; the calls that give
(release, put_nowait, notify) never suspend. A condition's wait is the exception: it returns, and raises, only
with its lock, so it has to wait for that a second time, and no cancellation keeps it from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Generic, TypeVar

from refloop.cancel import CancelScope
from refloop.errors import WouldBlockError
from refloop.here import current_task
from refloop.outcomes import Cancelled
from refloop.tasks import ParkingLot, Task, suspend

T = TypeVar("T")


class _Acquirable(ABC):
    """``async with``: acquire, and release whatever happens."""

    __slots__ = ()

    @abstractmethod
    async def acquire(self) -> None: ...

    @abstractmethod
    def release(self) -> None: ...

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class _LockLot(ParkingLot):
    __slots__ = ("holder",)

    def __init__(self, lock: Lock) -> None:
        super().__init__("lock", lock)
        self.holder: Task[object] | None = None

    def admit(self, task: Task[object], /) -> bool:
        if self.holder is not None:
            return False
        self.holder = task
        return True


class Lock(_Acquirable):
    """One task at a time, in the order of arrival; its holder cannot get it twice."""

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot = _LockLot(self)

    def locked(self) -> bool:
        """Whether some task holds it."""
        return self._lot.holder is not None

    async def acquire(self) -> None:
        """Wait until the lock is the calling task's own. Raises RuntimeError if it is already."""
        if self._lot.holder is current_task():
            raise RuntimeError("a task that waits for a lock it holds would wait for ever")
        await suspend(self._lot)

    def release(self) -> None:
        """Hand the lock to who has waited longest. Raises RuntimeError unless the calling task holds it."""
        self.check_held()
        self._lot.holder = None
        self._lot.let_in()

    def check_held(self) -> None:
        """Raise RuntimeError unless the calling task holds the lock."""
        if self._lot.holder is not current_task():
            raise RuntimeError("a lock is its holder's, and the calling task does not hold this one")


class _Tokens(ParkingLot):
    __slots__ = ("free",)

    def __init__(self, semaphore: Semaphore, free: int) -> None:
        super().__init__("semaphore", semaphore)
        self.free = free

    def admit(self, _task: Task[object], /) -> bool:
        if not self.free:
            return False
        self.free -= 1
        return True


class Semaphore(_Acquirable):
    """``value`` tokens, each for one task at a time. Any task or callback may give one back, or one more.

    Raises ValueError for a negative ``value``.
    """

    __slots__ = ("_lot",)

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"a semaphore cannot have {value} tokens")
        self._lot = _Tokens(self, value)

    @property
    def value(self) -> int:
        """The tokens that nobody has."""
        return self._lot.free

    def locked(self) -> bool:
        """Whether no token is free."""
        return not self._lot.free

    async def acquire(self) -> None:
        """Wait for a token."""
        await suspend(self._lot)

    def release(self) -> None:
        """Give a token to the task that has waited longest, or keep it for the next."""
        self._lot.free += 1
        self._lot.let_in()


class Condition(_Acquirable):
    """A lock, and a place to wait, without it, for what its holders bring about.

    Check in a loop what you wait for: between the notification and the return of :meth:`wait` others may
    have held the lock.
    """

    __slots__ = ("_lock", "_lot")

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = Lock() if lock is None else lock
        self._lot = ParkingLot("condition", self)

    def locked(self) -> bool:
        """Whether some task holds the lock."""
        return self._lock.locked()

    async def acquire(self) -> None:
        """Wait for the lock: see :meth:`Lock.acquire`."""
        await self._lock.acquire()

    def release(self) -> None:
        """Release the lock: see :meth:`Lock.release`."""
        self._lock.release()

    async def wait(self) -> None:
        """Release the lock, wait to be notified, and return with the lock held again.

        Cancelled before a notification, it raises, with the lock held too; one that was notified returns, and
        meets the cancellation at its next checkpoint. Raises RuntimeError unless the calling task holds the
        lock.
        """
        self._lock.release()
        try:
            await suspend(self._lot)
        except Cancelled:
            await self._acquire_again()
            raise
        await self._acquire_again()

    async def _acquire_again(self) -> None:
        with CancelScope(shield=True):
            await self._lock.acquire()

    def notify(self, count: int = 1) -> None:
        """Let the ``count`` tasks that have waited longest go on, once they have the lock.

        Raises RuntimeError unless the calling task holds the lock.
        """
        self._lock.check_held()
        self._lot.wake_first(count)

    def notify_all(self) -> None:
        """Let all that wait go on, one after another. Raises as :meth:`notify` does."""
        self._lock.check_held()
        self._lot.wake_all()


class _Putters(ParkingLot, Generic[T]):
    """Tasks that wait for a place; ``offered`` is what each has come to put there."""

    __slots__ = ("_queue", "offered")

    def __init__(self, queue: Queue[T]) -> None:
        super().__init__("put", queue)
        self._queue = queue
        self.offered: dict[Task[object], T] = {}

    def admit(self, task: Task[object], /) -> bool:
        return self._queue._put(self.offered[task])


class _Getters(ParkingLot, Generic[T]):
    """Tasks that wait for an item; ``handed`` is what those have got that have not run since."""

    __slots__ = ("_queue", "handed")

    def __init__(self, queue: Queue[T]) -> None:
        super().__init__("get", queue)
        self._queue = queue
        self.handed: dict[Task[object], T] = {}

    def admit(self, task: Task[object], /) -> bool:
        if not self._queue._items:
            return False
        self.handed[task] = self._queue._take()
        return True


class Queue(Generic[T]):
    """Items in the order in which they were put, at most ``capacity`` of them: who is faster waits.

    The getters wait only while there is no item, the putters only while there is no place, so never both.
    Raises ValueError for a ``capacity`` below 1.
    """

    __slots__ = ("_getters", "_items", "_putters", "capacity")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"nothing would ever get through a queue of {capacity} places")
        self.capacity = capacity
        self._items: deque[T] = deque()
        self._putters: _Putters[T] = _Putters(self)
        self._getters: _Getters[T] = _Getters(self)

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        """Wait for a place and put ``item`` there."""
        task, putters = current_task(), self._putters
        putters.offered[task] = item
        try:
            await suspend(putters)
        finally:
            del putters.offered[task]

    async def get(self) -> T:
        """Wait for an item and take it."""
        task, getters = current_task(), self._getters
        await suspend(getters)
        return getters.handed.pop(task)

    def put_nowait(self, item: T) -> None:
        """Put ``item``, from a task or a callback. Raises :class:`WouldBlockError` if there is no place."""
        if not self._put(item):
            raise WouldBlockError(f"all {self.capacity} places are taken")

    def get_nowait(self) -> T:
        """Take an item, from a task or a callback. Raises :class:`WouldBlockError` if there is none."""
        if not self._items:
            raise WouldBlockError("there is no item")
        return self._take()

    def _take(self) -> T:
        """The one way out, which frees a place."""
        item = self._items.popleft()
        self._putters.let_in()
        return item

    def _put(self, item: T) -> bool:
        """The one way in; whether there was a place."""
        if len(self._items) >= self.capacity:
            return False
        self._items.append(item)
        self._getters.let_in()
        return True
