"""The reactor: one wait on many descriptors, and the turn that follows it.

A *turn* is: choose the timeout, wait, dispatch the batch, fire the timers that are due, run what was ready.
:meth:`Reactor.turn` says it in as many lines. Each phase runs a snapshot, so that none starves another, and
every turn asks the poller exactly once, also when there is plenty to do: the wait is what fairness is made
of.

**Who is dispatched.** Between the wait and its dispatch anything can happen: another handler of the batch may
disarm a registration, close its descriptor, open another under the same number and arm that. So the batch is
never trusted further than "this number had something". Its slot is looked up when its turn comes, and a
holder is dispatched only if it is armed still and was *born* in an earlier turn than this one.

**What a slot knows.** The table has one :class:`Slot` a descriptor number, with the holder of each direction
and the mask that the kernel was told last. A callback is held by its :class:`Registration`, which tells the
kernel at once when it comes and goes. A task that waits is held by its trap (see :mod:`refloop.waits`), and
its interest outlives the wait: a task that waits again and again costs no ``epoll_ctl``. What the kernel
reports and nobody holds by the end of that turn leaves the interest set, so an event without a consumer costs
one wake-up and never a spin.

**Whose number it is.** A kept interest is a belief about a descriptor, and the number alone cannot carry it:
a closed number comes back at once with another file behind it. A slot therefore remembers, weakly, the socket
or file that the number was taken from. The same object with the same number is the same descriptor; another
object is, if the first has lost its number, proof that it was closed without a word (its waiters are told
so); and a bare integer, or an object that may change what it stands for, proves nothing, so that a wait which
names one confirms its interest with the kernel each time. :meth:`Reactor.notify_closing` is the word to give.

**Ghosts.** A closed number of which a duplicate lives on in the process or in a child goes on being
reported, and cannot be removed by that number (epoll(7), Q6). When an event comes that the table cannot
explain, the interest set is built anew; nothing else helps. The same is done without waiting for a second
event if the handler of the first has found its descriptor closed, or if an entry that was just reported, and
that nobody holds, cannot be removed: so a ghost costs one wake-up and never a spin.

**Signals** are posts, and are explained in :mod:`refloop.signals`.

**Threads.** All belongs to the thread that made the reactor, and every call from another thread, from a
forked child or after :meth:`Reactor.close` is refused by one comparison: the owner's identity, zeroed when it
ends. :meth:`Reactor.call_soon_threadsafe` alone is for everybody. It takes no lock, since a lock can suspend:
it appends to the ready queue, and sets the wake-up bit unless it is set already. The loop clears the bit
*before* it takes the queue, so that an append which saw the bit set is in the queue that is taken.
"""

from __future__ import annotations

import io
import socket
import sys
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from threading import get_ident
from typing import Final, NoReturn, Protocol

from refloop.errors import (
    BusyResourceError,
    ClosedReactorError,
    ClosedResourceError,
    ForeignThreadError,
    ForkedError,
)
from refloop.kernel import (
    ERR,
    ET,
    HUP,
    IN,
    LINUX,
    ONESHOT,
    OUT,
    RDHUP,
    HasFileno,
    Kernel,
    Resource,
    poll_timeout,
)
from refloop.owner import Owner
from refloop.signals import Signals
from refloop.timers import Callback, Timer, Timers

BATCH: Final = 64
"""How many descriptors one wait reports at most. With more, the wait itself costs no less per event, and what
so many tasks have received would leave the processor's cache before they send it."""


class Direction(Enum):
    """What a holder wants of a descriptor: that a read, or that a write, would not suspend."""

    READ = "read"
    WRITE = "write"


class Mode(Enum):
    """When a ready descriptor is reported (epoll(7)); one descriptor has one mode in both directions."""

    LEVEL = 0  #: by every wait while it is ready
    EDGE = ET  #: when it becomes ready; drain to EAGAIN, or :meth:`Registration.rearm`
    ONE_SHOT = ONESHOT  #: once, and then not before :meth:`Registration.rearm`


# To look a member up in its class is slow before Python 3.12.
READ: Final = Direction.READ
WRITE: Final = Direction.WRITE
ONE_SHOT: Final = Mode.ONE_SHOT

INTEREST: Final = {READ: IN | RDHUP, WRITE: OUT}
"""What the kernel is asked for. RDHUP is a matter of reading: a writer who asked for it would spin on a
half-closed peer that does not read."""

# A hang-up wakes both directions, whoever asked for it. Nothing but these five is asked for or reported: so
# what is not OUT alone wakes the reader, and what is not IN alone the writer.
_WAKES_READER: Final = IN | RDHUP | HUP | ERR
_WAKES_WRITER: Final = OUT | RDHUP | HUP | ERR

_LEVEL_MASK: Final = IN | RDHUP | OUT  # the largest mask without a mode in it


class Entry(ABC):
    """What the ready queue holds: a callback, or a task's next step. ``run`` contains its errors."""

    __slots__ = ()

    @abstractmethod
    def run(self) -> None: ...


class Holder(Protocol):
    """Who holds one direction of a descriptor. ``interest`` is what it asks the kernel for just now (0 while
    dormant), ``born`` the turn in which it was armed."""

    @property
    def mode(self) -> Mode: ...
    @property
    def born(self) -> int: ...
    @property
    def interest(self) -> int: ...
    def fire(self, events: int, /) -> None: ...
    def settle_closed(self) -> None: ...


class Slot:
    """What the reactor knows of one descriptor number.

    ``mask`` is the interest set's entry as the kernel was last told, 0 for none; ``told`` is the same if that
    was for this very descriptor, and not for another that had its number, and None once the number was given
    back; ``owner`` is the socket or file that the number came from, None if it came from elsewhere.
    """

    __slots__ = ("fd", "mask", "owner", "reader", "told", "writer")

    def __init__(self, fd: int, owner: weakref.ref[HasFileno] | None, mask: int) -> None:
        self.fd = fd
        self.owner = owner
        self.mask = mask
        self.told: int | None = 0
        self.reader: Holder | None = None
        self.writer: Holder | None = None

    @property
    def closed(self) -> bool:
        """Whether the number was given back."""
        return self.told is None

    def holder(self, direction: Direction) -> Holder | None:
        return self.reader if direction is READ else self.writer

    def hold(self, direction: Direction, holder: Holder | None) -> None:
        if direction is READ:
            self.reader = holder
        else:
            self.writer = holder

    def holders(self) -> Iterator[Holder]:
        if self.reader is not None:
            yield self.reader
        if self.writer is not None:
            yield self.writer

    def wanted(self) -> int:
        """The interest of those who hold the slot, as one mask; 0 for none."""
        reader, writer = self.reader, self.writer
        return (0 if reader is None else reader.interest) | (0 if writer is None else writer.interest)

    def refuse_second(self, direction: Direction, mode: Mode) -> None:
        """Raise if ``direction`` has its one waiter, or the other direction is armed in another mode."""
        if self.holder(direction) is not None:
            raise BusyResourceError(f"descriptor {self.fd} already has a {direction.value} waiter")
        for other in self.holders():
            if other.mode is not mode:
                raise ValueError(f"descriptor {self.fd} is armed {other.mode.name}, and has one mode")


class Handle(Entry):
    """A queued callback; made by :meth:`Reactor.call_soon` and :meth:`Reactor.call_soon_threadsafe`."""

    __slots__ = ("_args", "_callback", "_reactor")

    def __init__(self, callback: Callback, args: tuple[object, ...], reactor: Reactor) -> None:
        self._callback: Callback | None = callback
        self._args = args
        self._reactor = reactor

    def cancel(self) -> None:
        """Never run, and let go of callback and arguments. Idempotent; too late for one that has begun."""
        self._callback = None
        self._args = ()

    def run(self) -> None:
        callback = self._callback
        if callback is not None:
            try:
                callback(*self._args)
            except Exception as error:
                self._reactor.on_error(error)


class Registration:
    """A handler armed for one direction of a descriptor; made by :meth:`Reactor.register`.

    ``born`` is the turn in which it was armed; ``live`` holds from arming until :meth:`disarm` or until the
    descriptor is closed.
    """

    __slots__ = ("_handler", "_reactor", "_slot", "born", "direction", "interest", "live", "mode")

    def __init__(
        self, reactor: Reactor, slot: Slot, direction: Direction, handler: Callable[[int], object], mode: Mode
    ) -> None:
        self._reactor = reactor
        self._slot = slot
        self._handler = handler
        self.direction = direction
        self.mode = mode
        self.born = reactor.turns
        self.interest = INTEREST[direction] | mode.value
        self.live = True

    @property
    def fd(self) -> int:
        """The descriptor's number."""
        return self._slot.fd

    def disarm(self) -> None:
        """Never dispatch again, not even for what the present turn has collected. Idempotent; it names this
        registration, never a successor on the same number."""
        self._reactor._mine()
        if self.live:
            self.live = False
            self._slot.hold(self.direction, None)
            self._reactor.tell(self._slot, self._slot.wanted())

    def rearm(self) -> None:
        """Have the descriptor looked at anew: whatever the mode, it is reported again if it is ready now.

        Raises :class:`ClosedResourceError` if the registration is not live.
        """
        self._reactor._mine()
        if not self.live:
            raise ClosedResourceError(f"the registration of descriptor {self.fd} has ended")
        self.interest = INTEREST[self.direction] | self.mode.value
        self._reactor.tell(self._slot, self._slot.wanted())

    def fire(self, events: int, /) -> None:
        if self.mode is ONE_SHOT:
            self.interest = 0
        handler = self._handler
        try:
            handler(events)
        except Exception as error:
            self._reactor.on_error(error)
        if self.live and _is_gone(self._slot):
            self._reactor.bury(self._slot)

    def settle_closed(self) -> None:
        self.live = False


def print_error(error: Exception) -> None:
    """Report ``error`` as an uncaught exception is reported: traceback on standard error, or as
    ``sys.excepthook`` says."""
    sys.excepthook(type(error), error, error.__traceback__)


class Reactor:
    """An event loop on callbacks, owned by the thread that makes it.

    ``kernel`` is what it runs on; one wait reports at most ``maxevents`` descriptors. ``on_error``, which may
    be replaced, is told once of each exception that a handler or callback lets out; ``KeyboardInterrupt`` and
    ``SystemExit`` go through :meth:`turn` to its caller, and nothing that was queued is lost with them.
    ``turns`` counts the waits that have returned. ``on_stall`` is called before a wait that nothing this
    reactor knows of can end; a raised exception goes through.
    """

    def __init__(self, kernel: Kernel = LINUX, *, maxevents: int = BATCH) -> None:
        if maxevents < 1:
            raise ValueError(
                f"a wait that reports {maxevents} events reports nothing: maxevents is at least 1"
            )
        self.clock = kernel.clock
        self.maxevents = maxevents
        self.on_error: Callable[[Exception], object] = print_error
        self.on_stall: Callable[[], object] | None = None
        self.timers = Timers()
        self.turns = 0
        self.ready: deque[Entry] = deque()
        self._kernel = kernel
        self._slots: dict[int, Slot] = {}
        self._unconsumed: list[Slot] = []
        self._removed_in = 0  # the last turn in which something left the interest set
        self._lost = False  # whether something could not be taken out of the interest set
        self._owner = Owner()
        self._signalled = False
        self._turning = False
        self._poller = kernel.poller()
        self._poll = self._poller.poll
        self._waker = kernel.waker()
        self._waker_fd = self._waker.fileno()
        self._poller.register(self._waker_fd, IN)

    # --- the turn -----------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn: choose the timeout, wait, dispatch the batch, fire due timers, run the ready snapshot.

        Raises RuntimeError within a turn: no handler runs inside another.
        """
        if get_ident() != self._owner.thread or self._turning:
            self._refuse()
        self._turning = True
        try:
            timeout = self._timeout()
            batch = self._poll(timeout, self.maxevents)
            self.turns += 1
            if batch:
                self._dispatch(batch)
            if self.timers.buckets:
                self._fire_due()
            self._run_ready()
        finally:
            self._turning = False

    def _timeout(self) -> float | None:
        """0 if something is ready to run; else up to the earliest timer; without a timer, None."""
        if self._unconsumed:
            self._drop_unconsumed()
        if self.ready:
            return 0
        deadline = self.timers.earliest() if self.timers.buckets else None
        if deadline is None:
            if self.on_stall is not None and not self._waited_for():
                self.on_stall()
                return 0 if self.ready else None
            return None
        wait = deadline - self.clock()
        return poll_timeout(wait) if wait > 0 else 0

    def _dispatch(self, batch: list[tuple[int, int]]) -> None:
        slots, turn = self._slots, self.turns
        fd, rest = -1, iter(batch)
        try:
            for fd, events in rest:
                slot = slots.get(fd)
                if slot is None or not slot.mask:
                    self._unknown(fd)
                    continue
                if slot.mask > _LEVEL_MASK and slot.mask & ONESHOT:
                    self._dispatch_one_shot(slot, events)
                    continue
                if events != OUT:  # for the reader; with a hang-up for the writer, too
                    holder = slot.reader
                    if holder is None:
                        self._unconsumed.append(slot)
                    elif holder.born < turn:
                        holder.fire(events)
                if events != IN:
                    holder = slot.writer
                    if holder is None:
                        self._unconsumed.append(slot)
                    elif holder.born < turn:
                        holder.fire(events)
        except BaseException:
            # Ctrl-C in a handler: an edge or a one-shot report that was not dispatched would not come again.
            for undone in (fd, *(fd for fd, _ in rest)):
                slot = slots.get(undone)
                if slot is not None and slot.mask:
                    self.tell(slot, slot.wanted())
            raise

    def _dispatch_one_shot(self, slot: Slot, events: int) -> None:
        """The report has silenced both directions; whoever still waits when it is handled is re-armed."""
        slot.mask = ONESHOT
        try:
            for holder, wakes in ((slot.reader, _WAKES_READER), (slot.writer, _WAKES_WRITER)):
                if holder is None or not (holder is slot.reader or holder is slot.writer):
                    continue
                if events & wakes and holder.born < self.turns:
                    holder.fire(events)
        finally:
            if slot.mask == ONESHOT and slot.wanted():
                self.tell(slot, slot.wanted())

    def _fire_due(self) -> None:
        timers = self.timers
        due = timers.due(self.clock())
        try:
            for timer in due:
                try:
                    timer.fire()
                except Exception as error:
                    self.on_error(error)
        except BaseException:
            timers.put_back(due)
            raise

    def _run_ready(self) -> None:
        ready = self.ready
        for _ in range(len(ready)):
            ready.popleft().run()

    # --- callbacks and timers -----------------------------------------------------------------------

    def call_soon(self, callback: Callback, *args: object) -> Handle:
        """Run ``callback(*args)`` in the next ready phase that begins, after everything queued before it.

        Called within a ready phase, that is the next turn's.
        """
        self._mine()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
        return handle

    def call_later(self, delay: int, callback: Callback, *args: object) -> Timer:
        """Run ``callback(*args)`` no earlier than ``delay`` nanoseconds from now, the clock being read
        here."""
        if get_ident() != self._owner.thread:
            self._refuse()
        if delay < 0:
            raise ValueError(f"a delay of {delay} ns has passed already: call_at takes past deadlines")
        return self.timers.arm(self.clock() + delay, callback, args)

    def call_at(self, deadline: int, callback: Callback, *args: object) -> Timer:
        """Run ``callback(*args)`` in the first timer phase that begins at or after instant ``deadline``, in
        nanoseconds of :attr:`clock`; a deadline in the past is due in the next phase."""
        if get_ident() != self._owner.thread:
            self._refuse()
        return self.timers.arm(deadline, callback, args)

    def call_soon_threadsafe(self, callback: Callback, *args: object) -> Handle:
        """Like :meth:`call_soon`, from any thread and from signal handlers, and without ever suspending.

        Raises :class:`ClosedReactorError` after :meth:`close`. A post that races with the close either runs
        or raises.
        """
        if not self._owner.thread:
            self._refuse()
        handle = Handle(callback, args, self)
        self.ready.append(handle)
        if not self._owner.thread:
            # The reactor closed in between. Either its last ready phase has taken the callback, or we take it
            # back: a deque gives one entry to one of us.
            try:
                self.ready.remove(handle)
            except ValueError:
                return handle
            self._refuse()
        if not self._signalled:
            self._signalled = True
            try:
                self._waker.signal()
            except BaseException:
                self._signalled = False
                raise
        return handle

    # --- signals ------------------------------------------------------------------------------------

    def add_signal_handler(self, number: int, callback: Callback, *args: object) -> None:
        """Run ``callback(*args)`` in the ready phase of a turn when the process has got signal ``number``; a
        later handler takes the place of an earlier one.

        Deliveries that come before Python has looked count as one, as signals do. Raises ValueError on
        another thread than the main one, and for a number that is no signal's; OSError for SIGKILL and
        SIGSTOP.
        """
        self.wake_on_signals().handle(number, lambda: self.call_soon_threadsafe(callback, *args))

    def wake_on_signals(self) -> Signals:
        """Have the wait end at every signal that Python handles, so that its handler runs, whoever has set
        it: else one that comes just before the thread is suspended waits until something else wakes it.

        Raises ValueError on another thread than the main one. Idempotent.
        """
        self._mine()
        owner = self._owner
        if owner.signals is None:
            owner.signals = Signals()
            self.register(owner.signals.fileno(), Direction.READ, owner.signals.drain)
        return owner.signals

    def remove_signal_handler(self, number: int) -> bool:
        """Handle signal ``number`` as before :meth:`add_signal_handler`; whether it was handled here."""
        self._mine()
        return self._owner.signals is not None and self._owner.signals.restore(number)

    # --- descriptors --------------------------------------------------------------------------------

    def register(
        self,
        resource: Resource,
        direction: Direction,
        handler: Callable[[int], object],
        mode: Mode = Mode.LEVEL,
    ) -> Registration:
        """Arm ``handler(events)``, ``events`` being the mask that epoll reported, for one direction of
        ``resource``, from the next turn's batch on.

        Readiness is a hint: the handler is to use nonblocking calls, and to take EAGAIN for an answer. A
        hang-up or an error of the descriptor fires both directions.

        Raises :class:`BusyResourceError` if that direction is held, ValueError if the other is held in
        another mode, PermissionError for a regular file, which cannot be waited for (epoll_ctl(2)); nothing
        has changed then.
        """
        self._mine()
        slot = self.slot(resource)
        registration = Registration(self, slot, direction, handler, mode)
        self.hold(slot, direction, registration)
        return registration

    def notify_closing(self, resource: Resource) -> None:
        """Say that ``resource`` is about to be closed, which is to follow before anything else is awaited.

        Tasks that wait for it, and those that were woken and have not run yet, get
        :class:`ClosedResourceError`; registrations end; the number is forgotten before it can be reused.
        """
        self._mine()
        fd = resource if isinstance(resource, int) else resource.fileno()
        slot = self._slots.get(fd)
        if slot is not None:
            self.tell(slot, 0)
            self._settle_closed(slot)

    def slot(self, resource: Resource) -> Slot:
        """The slot of ``resource``, made if need be; what was known of a descriptor that is gone is
        settled."""
        fd = resource if isinstance(resource, int) else resource.fileno()
        slot = self._slots.get(fd)
        if slot is not None and slot.owner is not None and slot.owner() is resource:
            return slot
        owner: weakref.ref[HasFileno] | None = None
        if isinstance(resource, _SAME_FOR_LIFE):
            owner = weakref.ref(resource)
        mask = 0
        if slot is not None:
            if not _is_gone(slot):
                if slot.owner is None:  # a number proves nothing: the kernel is asked again
                    slot.owner, slot.told = owner, 0
                return slot
            mask = slot.mask
            self._settle_closed(slot)
        slot = Slot(fd, owner, mask)
        self._slots[fd] = slot
        return slot

    def hold(self, slot: Slot, direction: Direction, holder: Holder) -> None:
        """Give one direction of ``slot`` to ``holder`` and tell the kernel; or raise, and change nothing."""
        slot.refuse_second(direction, holder.mode)
        slot.hold(direction, holder)
        try:
            self.tell(slot, slot.wanted())
        except BaseException:
            slot.hold(direction, None)
            if not slot.wanted():
                del self._slots[slot.fd]
            raise

    def _settle_closed(self, slot: Slot) -> None:
        slot.told = None
        del self._slots[slot.fd]
        holders = tuple(slot.holders())
        slot.reader = slot.writer = None
        for holder in holders:
            holder.settle_closed()

    def tell(self, slot: Slot, mask: int) -> None:
        """Make the kernel's entry for ``slot`` be ``mask``, whatever it is now: the one place of
        ``epoll_ctl``.

        The entry may have vanished with its descriptor, or be that of another object with the same number;
        both show as the error of the call that was tried first.
        """
        fd, before = slot.fd, slot.mask
        slot.mask = slot.told = 0
        if mask == 0:
            if before:
                self._removed_in = self.turns
                try:
                    self._poller.unregister(fd)
                except OSError:  # closed behind our back: it is gone, or a ghost that will show itself
                    self._lost = True
            return
        if before:
            try:
                self._poller.modify(fd, mask)
            except FileNotFoundError:
                self._poller.register(fd, mask)
        else:
            try:
                self._poller.register(fd, mask)
            except FileExistsError:
                self._poller.modify(fd, mask)
        slot.mask = slot.told = mask

    def _drop_unconsumed(self) -> None:
        """No interest in what was reported in the turn that ends and is still held by nobody. What was
        reported and cannot be removed is a ghost."""
        self._lost = False
        for slot in self._unconsumed:
            wanted = slot.wanted()
            if wanted != slot.mask and not slot.closed:
                self.tell(slot, wanted)
        self._unconsumed.clear()
        if self._lost:
            self._rebuild()

    def bury(self, slot: Slot) -> None:
        """End what was armed for a descriptor that has been reported, and is found to be closed."""
        self._settle_closed(slot)
        self._rebuild()

    def _unknown(self, fd: int) -> None:
        """An event on a number with no entry: the waker's, or one that went earlier in this turn, or a
        ghost's."""
        if fd == self._waker_fd:
            self._waker.drain()
            self._signalled = False
        elif self._removed_in < self.turns:
            self._rebuild()

    def _rebuild(self) -> None:
        """A new interest set with the same entries, since a ghost can be removed in no other way."""
        self._removed_in = self.turns  # one remedy a turn, however many ghosts
        old = self._poller
        self._poller = self._kernel.poller()
        self._poll = self._poller.poll
        old.close()
        self._poller.register(self._waker_fd, IN)
        for slot in tuple(self._slots.values()):
            mask, slot.mask = slot.mask, 0
            if mask:
                try:
                    self.tell(slot, mask)
                except OSError:
                    self._settle_closed(slot)  # its number is closed, or has become a regular file

    def _waited_for(self) -> bool:
        signals = None if self._owner.signals is None else self._owner.signals.fileno()
        for slot in self._slots.values():  # any() makes a generator before each endless wait
            if (slot.reader is not None or slot.writer is not None) and slot.fd != signals:
                return True
        return False

    # --- ownership ----------------------------------------------------------------------------------

    def close(self) -> None:
        """End: settle what waits on descriptors, drop the timers, run what was queued, and refuse the rest.

        Idempotent. Callbacks that run during the close find the reactor closed already. Raises RuntimeError
        within a turn: what was queued could only run inside the handler that closes.
        """
        if not self._owner.thread and not self._owner.forked:
            return
        if get_ident() != self._owner.thread or self._turning:
            self._refuse()
        for slot in tuple(self._slots.values()):
            self._settle_closed(slot)
        self.timers.clear()
        if self._owner.signals is not None:
            self._owner.signals.close()
        self._owner.thread = 0
        try:
            while self.ready:
                self.ready.popleft().run()
        finally:
            self._poller.close()
            self._waker.close()

    def _mine(self) -> None:
        if get_ident() != self._owner.thread:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self._owner.forked:
            raise ForkedError("this reactor belongs to the parent process: make one of your own after a fork")
        if not self._owner.thread:
            raise ClosedReactorError("the reactor is closed")
        if get_ident() == self._owner.thread:
            raise RuntimeError("a turn is under way: a reactor is neither turned nor closed inside a handler")
        raise ForeignThreadError("another thread may only call call_soon_threadsafe on this reactor")


# Objects that stand for one descriptor from the moment they have its number until they lose it.
_SAME_FOR_LIFE: Final = (socket.socket, io.IOBase)


def _is_gone(slot: Slot) -> bool:
    """Whether the object that ``slot`` was made for is known to have given the number back."""
    owner = slot.owner
    if owner is None:
        return False
    resource = owner()
    if resource is None:
        return True
    try:
        return resource.fileno() != slot.fd
    except (OSError, ValueError):
        return True  # a closed file object raises, a closed socket says -1
