"""Timers: deadlines in buckets, so that most of them are put in order many at a time, or never.

Most timers are time-outs, and are cancelled before their time; a heap puts each of them in order when it
comes, and the interpreter pays for every step of that. Here a timer goes to the end of the bucket of its
*stretch*, some milliseconds of the clock (:data:`STRETCH`), and only the stretches are in a heap. A bucket is
sorted when it has come to the front. The stretch is no resolution: of the one in which the clock stands only
what is due fires, and the wait is for the very first deadline. Three promises are kept beyond the order.

*Equal deadlines fire in the order of arming.* That is the order of a bucket, and a stable sort keeps it.

*A phase is a snapshot.* :meth:`Timers.due` takes out whatever is due before the first callback runs. A timer
that a callback arms, even in the past, is not among them.

*Cancelling lets go.* A cancelled timer drops its callback and arguments at once. It stays in its bucket,
since finding it would cost a search, until it comes to the front or until the cancelled timers outnumber the
live ones by more than :data:`SLACK`: then the buckets are cleared of them, at a cost that the cancellations
paid for.
"""

from __future__ import annotations

from bisect import bisect_right, insort_right
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from operator import attrgetter
from threading import get_ident
from typing import Final, TypeAlias

from refloop.errors import ForeignThreadError

STRETCH: Final = 24
"""A bucket is for two to the power of so many nanoseconds, 17 ms: so long that even rare timers share one, so
short that it is sorted in a moment."""

SLACK: Final = 64
"""How many cancelled timers more than live ones are held: enough that a handful of timers is never looked
through."""

Callback: TypeAlias = Callable[..., object]

_DEADLINE: Final = attrgetter("deadline")


class Timer:
    """A callback that is due at an instant; made by :meth:`refloop.Reactor.call_at` and ``call_later``."""

    __slots__ = ("_args", "_callback", "_timers", "deadline")
    # Timers.arm fills them in: to call an __init__ would be a fifth of the cost of arming.
    deadline: int
    _callback: Callback | None
    _args: tuple[object, ...]
    _timers: Timers | None  # None once it has been taken out, or cancelled

    @property
    def live(self) -> bool:
        """Whether the timer may still fire: it has neither fired nor been cancelled."""
        return self._callback is not None

    def cancel(self) -> None:
        """Never fire. Idempotent, and without effect on a timer that has fired. Raises
        :class:`ForeignThreadError` in another thread than the reactor's while the timer is armed."""
        timers = self._timers
        if timers is not None:
            if get_ident() != timers.owner:
                raise ForeignThreadError("another thread may only call call_soon_threadsafe")
            self._timers = None
            timers.surplus -= 2
            if timers.surplus < -SLACK:
                timers.tidy()
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
    """The armed timers of one reactor. ``len`` counts those that are held, cancelled ones included."""

    __slots__ = ("_in_order", "_stretches", "buckets", "owner", "surplus")

    def __init__(self) -> None:
        self.owner = get_ident()
        self.surplus = 0  # of live timers over cancelled ones, in the buckets
        self.buckets: dict[int, list[Timer]] = {}
        self._stretches: list[int] = []  # the keys of the buckets, as a heap
        self._in_order: dict[int, int] = {}  # how many of a bucket are sorted, where it has been in front

    def __len__(self) -> int:
        return sum(map(len, self.buckets.values()))

    @property
    def live(self) -> int:
        """How many timers are armed."""
        return (len(self) + self.surplus) // 2

    def arm(self, deadline: int, callback: Callback, args: tuple[object, ...]) -> Timer:
        """A new timer for the instant ``deadline``, in nanoseconds of the reactor's clock."""
        if type(deadline) is not int and not isinstance(deadline, int):
            raise TypeError(f"instants are whole nanoseconds, and {deadline!r} is none: use refloop.SECOND")
        timer = Timer()
        timer.deadline = deadline
        timer._callback = callback
        timer._args = args
        timer._timers = self
        self.surplus += 1
        stretch = deadline >> STRETCH
        bucket = self.buckets.get(stretch)
        if bucket is None:
            self.buckets[stretch] = [timer]
            heappush(self._stretches, stretch)
        else:
            bucket.append(timer)
        return timer

    def earliest(self) -> int | None:
        """The first deadline at which something will fire, or None."""
        while self._stretches:
            first = self._front()[0]
            if first._timers is not None:
                return first.deadline
            self._drop_cancelled()
        return None

    def due(self, now: int) -> list[Timer]:
        """Take out the timers whose deadline is at or before ``now``, in the order in which they fire."""
        stretches, present = self._stretches, now >> STRETCH
        taken: list[Timer] = []
        while stretches and stretches[0] <= present:
            bucket = self._front()
            if bucket[-1].deadline > now:
                taken += self._take(bisect_right(bucket, now, key=_DEADLINE))
                break
            taken += self._take_front()
        due: list[Timer] = []
        for timer in taken:
            if timer._timers is not None:
                timer._timers = None
                due.append(timer)
        self.surplus += len(taken) - 2 * len(due)
        return due

    def put_back(self, timers: list[Timer]) -> None:
        """Return those of the timers that :meth:`due` took that have not fired, before anything armed
        since."""
        for timer in reversed(timers):
            if timer.live:
                timer._timers = self
                self.surplus += 1
                stretch = timer.deadline >> STRETCH
                self._in_order.pop(stretch, None)
                if stretch not in self.buckets:
                    self.buckets[stretch] = []
                    heappush(self._stretches, stretch)
                self.buckets[stretch].insert(0, timer)

    def clear(self) -> None:
        """Cancel everything."""
        buckets, self.buckets = self.buckets, {}
        self._stretches.clear()
        self._in_order.clear()
        self.surplus = 0
        for bucket in buckets.values():
            for timer in bucket:
                timer._timers = None
                timer.cancel()

    def tidy(self) -> None:
        """Let go of the cancelled timers in the buckets."""
        held, self.buckets = self.buckets, {}
        for stretch, bucket in held.items():
            armed = [timer for timer in bucket if timer._timers is not None]
            if armed:
                self.buckets[stretch] = armed
        self._stretches[:] = self.buckets
        heapify(self._stretches)
        self._in_order.clear()
        self.surplus = len(self)

    def _front(self) -> list[Timer]:
        """The first bucket, in order; there is one. Few that have come since it was last asked for are put in
        their places, many are sorted."""
        stretch = self._stretches[0]
        bucket = self.buckets[stretch]
        count = len(bucket)
        if count == 1:
            return bucket
        in_order = self._in_order.get(stretch, 0)
        if in_order != count:
            if count - in_order > count >> 4:
                bucket.sort(key=_DEADLINE)
            else:
                later = bucket[in_order:]
                del bucket[in_order:]
                for timer in later:
                    insort_right(bucket, timer, key=_DEADLINE)
            self._in_order[stretch] = count
        return bucket

    def _take_front(self) -> list[Timer]:
        """Take out the first bucket, whole."""
        stretch = heappop(self._stretches)
        if self._in_order:
            self._in_order.pop(stretch, None)
        return self.buckets.pop(stretch)

    def _take(self, count: int) -> list[Timer]:
        """Take the first ``count`` timers out of the first bucket, which is in order and has more."""
        stretch = self._stretches[0]
        bucket = self.buckets[stretch]
        taken = bucket[:count]
        del bucket[:count]
        self._in_order[stretch] = len(bucket)
        return taken

    def _drop_cancelled(self) -> None:
        """Let go of the cancelled timers at the head of the first bucket, which is in order."""
        bucket = self.buckets[self._stretches[0]]
        for place, timer in enumerate(bucket):
            if timer._timers is not None:
                self.surplus += len(self._take(place))
                return
        self.surplus += len(self._take_front())
