"""Timers: a heap of deadlines that keeps three promises beyond the order of a heap.

*Equal deadlines fire in the order of arming.* An entry is ``(deadline, arming number, timer)``, compared by
the interpreter's tuple comparison; the arming number is unique, so a timer itself is never compared.

*A phase is a snapshot.* :meth:`Timers.due` takes out whatever is due before the first callback runs. A timer
that a callback arms, even in the past, is not among them.

*Cancelling lets go.* A cancelled timer drops its callback and arguments at once. Its entry stays in the heap,
since finding it would cost a search, until it comes to the top or until the cancelled entries outnumber the
live ones by more than :data:`SLACK`: then the heap is rebuilt without them, at a cost that the cancellations
paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from threading import get_ident
from typing import Final, TypeAlias

from refloop.errors import ForeignThreadError

SLACK: Final = 64
"""How many cancelled entries more than live ones are held: enough that a handful of timers is never
rebuilt."""

Callback: TypeAlias = Callable[..., object]


class Timer:
    """A callback that is due at an instant; made by :meth:`refloop.Reactor.call_at` and ``call_later``."""

    __slots__ = ("_args", "_callback", "_timers", "deadline")

    def __init__(self, deadline: int, callback: Callback, args: tuple[object, ...], timers: Timers) -> None:
        self.deadline = deadline
        self._callback: Callback | None = callback
        self._args = args
        self._timers: Timers | None = timers  # None once out of the heap

    @property
    def live(self) -> bool:
        """Whether the timer may still fire: it has neither fired nor been cancelled."""
        return self._callback is not None

    def cancel(self) -> None:
        """Never fire. Idempotent, and without effect on a timer that has fired."""
        timers = self._timers
        if timers is not None:
            timers.forget(self)
        self._callback = None
        self._args = ()

    def fire(self) -> None:
        """Run the callback, unless the timer was cancelled since it came due."""
        callback, args = self._callback, self._args
        if callback is not None:
            self._callback = None
            self._args = ()
            callback(*args)


class Timers:
    """The armed timers of one reactor. ``len`` counts the entries held, cancelled ones included."""

    __slots__ = ("_armings", "_cancelled", "_heap", "_owner")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._armings = 0
        self._owner = get_ident()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def live(self) -> int:
        """How many timers are armed."""
        return len(self._heap) - self._cancelled

    def arm(self, deadline: int, callback: Callback, args: tuple[object, ...]) -> Timer:
        """A new timer for the instant ``deadline``, in nanoseconds of the reactor's clock."""
        if not isinstance(deadline, int):
            raise TypeError(f"instants are whole nanoseconds, and {deadline!r} is none: use refloop.SECOND")
        timer = Timer(deadline, callback, args, self)
        self._armings += 1
        heappush(self._heap, (deadline, self._armings, timer))
        return timer

    def earliest(self) -> int | None:
        """The first deadline at which something will fire, or None."""
        heap = self._heap
        while heap:
            deadline, _, timer = heap[0]
            if timer._timers is not None:
                return deadline
            heappop(heap)
            self._cancelled -= 1
        return None

    def due(self, now: int) -> list[Timer]:
        """Take out the timers whose deadline is at or before ``now``, in the order in which they fire."""
        heap = self._heap
        taken: list[Timer] = []
        while heap and heap[0][0] <= now:
            timer = heappop(heap)[2]
            if timer._timers is None:
                self._cancelled -= 1
            else:
                timer._timers = None
                taken.append(timer)
        return taken

    def put_back(self, timers: list[Timer]) -> None:
        """Return timers that :meth:`due` took and that could not fire, before anything armed since."""
        for place, timer in enumerate(timers):
            if timer.live:
                timer._timers = self
                heappush(self._heap, (timer.deadline, place - len(timers), timer))

    def clear(self) -> None:
        """Cancel everything."""
        for _, _, timer in self._heap:
            timer._timers = None
            timer.cancel()
        self._heap.clear()
        self._cancelled = 0

    def forget(self, timer: Timer) -> None:
        """``timer``, which is held, has been cancelled. Raises :class:`ForeignThreadError` in another
        thread."""
        if get_ident() != self._owner:
            raise ForeignThreadError("another thread may only call call_soon_threadsafe")
        timer._timers = None
        self._cancelled += 1
        if self._cancelled > len(self._heap) - self._cancelled + SLACK:
            self._heap = [entry for entry in self._heap if entry[2]._timers is not None]
            heapify(self._heap)
            self._cancelled = 0
