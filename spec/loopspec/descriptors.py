"""LOOP, second part: what a loop owes to one descriptor, whose readiness comes in modes, and which connects
or accepts.

An edge or a one-shot report is given once, so what a loop has not done when it sleeps is not done at all:
both rules look at that moment. Whether the kernel would speak is read off its own account of the interest
set, and off what a client has sent that nobody has read. That a connecting has come to an end, and how, is
the kernel's to say as well; what the loop makes of it must agree.
"""

from __future__ import annotations

import select

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, replace, value
from loopspec.judge import EVERY, Broken, Kept, Progress
from loopspec.trace import (
    Abandon,
    Accept,
    Close,
    Connect,
    Dial,
    Dialed,
    DialSettle,
    Direction,
    Disarm,
    Dispatch,
    Drained,
    Event,
    Exhausted,
    HalfClose,
    Interest,
    Leave,
    Quiescent,
    Read,
    Rearm,
    Receive,
    Relieved,
    Reset,
    Send,
    StopReading,
    Suspend,
    Triggered,
    WaitBegin,
    WaitReturn,
)

_LOOP_THREAD = "loop"
"""What a trace calls the thread that the loop runs on; :mod:`loopspec.loop` reads this module."""


# --- modes --------------------------------------------------------------------------------------------


@value
class _Edge:
    """An edge-triggered registration. ``reported``: since the loop last slept; ``owing``: its handler has
    neither seen EAGAIN nor re-armed since; ``rearmed``: it has re-armed, and has not been reported since."""

    stream: int
    fd: int
    direction: Direction
    reported: bool = False
    owing: bool = False
    rearmed: bool = False


@clause(
    "LOOP.ET.DRAIN_OR_REARM",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="epoll(7); mio issue 45",
    watches={Triggered: None, Dispatch: None, Drained: None, Rearm: None, Suspend: None},
    also={
        Disarm: None,
        Close: None,
        Abandon: None,
        Send: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        Read: None,
        WaitBegin: None,
        WaitReturn: None,
    },
)
@value
class DrainOrRearm:
    """Before it sleeps on an edge-triggered registration a handler has seen EAGAIN, or has re-armed."""

    # A handler of a scenario does one or the other. That it has re-armed is what the loop says; the kernel
    # knows of it if what is unread then is reported, and the loop does not sleep on it.

    edges: Map[int, _Edge] = Map()
    unread: Map[int, int] = Map()
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                return self._unread(event.stream, len(event.data))
            case Read():
                return self._read(event.stream, len(event.data))
            case Dispatch():
                if event.registration not in self.edges:
                    return self
                return self._with(event.registration, reported=True, owing=True, rearmed=False)
            case HalfClose(stream=stream) | Leave(stream=stream) | Reset(stream=stream):
                return self._unread(stream, 1)
            case Triggered(trigger="edge"):
                edge = _Edge(event.stream, event.fd, event.direction)
                return replace(self, edges=self.edges.put(event.registration, edge))
            case Drained(registration=registration) if registration in self.edges:
                return self._with(registration, reported=True, owing=False, rearmed=False)
            case Rearm(registration=registration) if registration in self.edges:
                return self._with(registration, reported=True, owing=False, rearmed=True)
            case Disarm(registration=registration):
                return self._without([registration] if registration in self.edges else [])
            case Close(fd=fd) | Abandon(fd=fd):
                return self._without([each for each, edge in self.edges.items() if edge.fd == fd])
            case WaitBegin():
                return replace(self, waiting=True) if self.edges else self
            case WaitReturn():
                return replace(self, waiting=False) if self.waiting else self
            case Suspend(thread=thread) if thread == _LOOP_THREAD and self.waiting:
                return self._sleeps()
            case _:
                return self

    def _with(self, registration: int, *, reported: bool, owing: bool, rearmed: bool) -> DrainOrRearm:
        edge = replace(self.edges[registration], reported=reported, owing=owing, rearmed=rearmed)
        return replace(self, edges=self.edges.put(registration, edge))

    def _without(self, registrations: list[int]) -> DrainOrRearm:
        return replace(self, edges=self.edges.drop_all(registrations)) if registrations else self

    def _unread(self, stream: int, more: int) -> DrainOrRearm:
        unread = self.unread.put(stream, self.unread.get(stream, 0) + more)
        return DrainOrRearm(self.edges, unread, self.waiting)

    def _read(self, stream: int, size: int) -> DrainOrRearm:
        left = self.unread.get(stream, 0) - size
        # Who has read the end of the stream, or all there was, has nothing to wait for.
        unread = self.unread.put(stream, left) if size and left > 0 else self.unread.drop(stream)
        return DrainOrRearm(self.edges, unread, self.waiting)

    def _sleeps(self) -> Progress:
        reported = [(each, edge) for each, edge in self.edges.items() if edge.reported or edge.rearmed]
        for registration, edge in reported:
            if edge.owing:
                return Broken(
                    f"the handler of registration {registration} has seen EAGAIN, or has re-armed",
                    "the loop sleeps, and it has done neither",
                    self._without([registration]),
                )
            if edge.rearmed and edge.direction == "read" and edge.stream in self.unread:
                return Broken(
                    f"registration {registration}, re-armed with data unread, is reported again",
                    "the loop sleeps",
                    self._without([registration]),
                )
        fresh = [(each, edge) for each, edge in reported if edge.reported]
        if not fresh:
            return self
        edges = self.edges
        for registration, edge in fresh:
            edges = edges.put(registration, replace(edge, reported=False))
        return Kept(replace(self, edges=edges))


_ASKED: dict[Direction, int] = {"read": select.EPOLLIN, "write": select.EPOLLOUT}


@value
class _OneShot:
    """A one-shot registration; ``asking``: it is armed, and has not been reported since."""

    direction: Direction
    asking: bool = True


@clause(
    "LOOP.ONESHOT.REARM_ALL_DIRECTIONS",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="epoll_ctl(2), EPOLLONESHOT; EPOLL.ONESHOT.DISARMS_ALL",
    watches={Triggered: "fd", Dispatch: "fd", Rearm: "fd", Interest: "fd"},
    also={Disarm: "fd", Close: "fd", Abandon: "fd"},
    opens={Triggered},
)
@value
class RearmAllDirections:
    """After a one-shot report every direction that still has a waiter is re-armed before the loop sleeps."""

    # A registration that was reported, and has not been re-armed by whom it belongs to, waits for nothing.

    members: Map[int, _OneShot] = Map()
    reported: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Triggered(trigger="one-shot", registration=registration, direction=direction):
                return replace(self, members=self.members.put(registration, _OneShot(direction)))
            case Dispatch(registration=registration) if registration in self.members:
                return replace(self._asks(registration, asking=False), reported=True)
            case Rearm(registration=registration) if registration in self.members:
                return self._asks(registration, asking=True)
            case Disarm(registration=registration) if registration in self.members:
                return replace(self, members=self.members.drop(registration))
            case Close() | Abandon():
                return None
            case Interest(mask=mask):
                return self._sleeps(event.fd, mask)
            case _:
                return self

    def _asks(self, registration: int, *, asking: bool) -> RearmAllDirections:
        member = replace(self.members[registration], asking=asking)
        return replace(self, members=self.members.put(registration, member))

    def _sleeps(self, fd: int, mask: int) -> Progress:
        waiting = [member.direction for member in self.members.values() if member.asking]
        after = replace(self, reported=False)
        silent = [direction for direction in waiting if not mask & _ASKED[direction]]
        if silent:
            return Broken(
                f"descriptor {fd}, which has a waiter to {silent[0]}, is armed for that",
                f"the loop sleeps, and by the kernel's account the interest is {mask:#x}",
                None,
            )
        return Kept(after) if self.reported and waiting else after


# --- connections --------------------------------------------------------------------------------------


@clause(
    "LOOP.CONNECT.BY_SO_ERROR",
    Level.MUST,
    Kind.INV,
    Profile.LOOP,
    source="connect(2), EINPROGRESS; haproxy issue 1863",
    watches={Dial: "dial", Dialed: "dial", DialSettle: "dial"},
    also={Quiescent: EVERY},
)
@value
class BySoError:
    """A connect is settled by SO_ERROR after writability, and by nothing else."""

    # What the kernel says last before the settling is what SO_ERROR gave: a connection that came about may
    # have been torn down since. Who cancels has settled nothing.

    ended: bool = False
    error: str | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case Dial():
                return BySoError()
            case Dialed(error=error):
                return BySoError(True, error)
            case DialSettle(outcome="cancelled"):
                return None
            case DialSettle(error=error):
                return self._settled(error)
            case Quiescent() if self.ended:
                return Broken(
                    f"the connect is settled: it is writable, and SO_ERROR is {self.error or 0}",
                    "nothing more happens, and it has not been",
                    None,
                )
            case _:
                return self

    def _settled(self, error: str | None) -> Progress:
        if self.ended and error == self.error:
            return Kept(None)
        said = (
            f"by SO_ERROR, which is {self.error or 0}" if self.ended else "when it is writable, and it is not"
        )
        return Broken(f"the connect is settled {said}", f"it was settled by {error or 'success'}", None)


LEAST_BACK_OFF = 10_000_000
"""The shortest back-off that is one, in nanoseconds: ten milliseconds. Loops rest for a hundred times as long
(asyncio), ten times (refloop, libev) or until somebody closes something; a loop that asks more often than a
hundred times a second is busy with nothing else."""


@clause(
    "LOOP.ACCEPT.OUT_OF_DESCRIPTORS",
    Level.MUST,
    Kind.BOUND,
    Profile.LOOP,
    source="accept(2), EMFILE; libev, the special problem of accept()ing when you can't",
    watches={Accept: None, Exhausted: None},
    also={
        Relieved: None,
        Connect: None,
        Send: None,
        Receive: None,
        StopReading: None,
        HalfClose: None,
        Leave: None,
        Reset: None,
        WaitBegin: None,
        WaitReturn: None,
        Suspend: None,
        Quiescent: None,
    },
)
@value
class OutOfDescriptors:
    """Out of descriptors, a listener retries at most once a back-off period, and the other handlers are
    unaffected."""

    # Others are the streams that were accepted before: what an echo server owes them they have when the loop
    # sleeps. Connections are accepted in the order in which they were made, so a number says who is who.
    # That it retries at all shows when there are descriptors again, and nothing more happens.

    exhausted: bool = False
    failed: int | None = None  # when accept last failed so
    connected: int = 0
    accepted: int = 0
    owed: Map[int, int] = Map()
    given_up: Map[int, None] = Map()  # clients that read no more
    waiting: bool = False

    def after(self, event: Event) -> Progress:
        match event:
            case Send():
                return self._owes(event.stream, len(event.data))
            case Receive():
                return self._owes(event.stream, -len(event.data))
            case Accept(at=at, error=error):
                return self._accepts(at, error)
            case Exhausted():
                return replace(self, exhausted=True)
            case Relieved():
                return replace(self, exhausted=False, failed=None)
            case Connect(echo=True):
                return replace(self, connected=self.connected + 1)
            case StopReading(stream=stream) | Leave(stream=stream) | Reset(stream=stream):
                return replace(self, owed=self.owed.drop(stream), given_up=self.given_up.put(stream, None))
            case WaitBegin():
                return replace(self, waiting=True) if self.failed is not None else self
            case WaitReturn():
                return replace(self, waiting=False) if self.waiting else self
            case Suspend(thread=thread) if thread == _LOOP_THREAD and self.waiting and self.exhausted:
                return self._sleeps()
            case Quiescent() if not self.exhausted and self.connected > self.accepted:
                waiting = self.connected - self.accepted
                return Broken(
                    f"the {waiting} connections that wait are accepted: there are descriptors",
                    "nothing more happens, and the listener has not tried",
                    replace(self, accepted=self.connected),
                )
            case _:
                return self

    def _accepts(self, at: int, error: str | None) -> Progress:
        if error is None:
            return replace(self, accepted=self.accepted + 1)
        if error != "EMFILE":
            return self
        after = replace(self, failed=at)
        if self.failed is not None and at < self.failed + LEAST_BACK_OFF:
            return Broken(
                f"no accept before {self.failed + LEAST_BACK_OFF} ns: there are no descriptors",
                f"it was tried again at {at} ns",
                after,
            )
        return Kept(after)

    def _owes(self, stream: int, more: int) -> OutOfDescriptors:
        if stream in self.given_up:
            return self
        bytes = self.owed.get(stream, 0) + more
        owed = self.owed.put(stream, bytes) if bytes > 0 else self.owed.drop(stream)
        return self if owed is self.owed else replace(self, owed=owed)

    def _sleeps(self) -> Progress:
        late = [stream for stream in self.owed if stream < self.accepted]
        if not late:
            return Kept(self) if self.accepted else self
        return Broken(
            f"client {late[0]}, accepted before, is served although there are no descriptors",
            f"the loop sleeps, and {self.owed[late[0]]} bytes are missing",
            replace(self, owed=self.owed.drop_all(late)),
        )
