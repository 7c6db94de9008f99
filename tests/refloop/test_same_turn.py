"""Two things that meet in one turn, in both orders, under every public operation, on two kernels.

A task waits, and within one turn of the loop two *acts* befall it: what it waits for comes (it is settled,
notified, answered, its descriptor is ready), it is cancelled, its deadline comes, what it waits at is closed.
Each act is done at one *moment* of the turn: before the wait, by a handler of the batch, by a timer, by a
callback, by a post of another thread. Two acts and two moments fix an order, and all of them are tried. The
pairs that have names are among them: settle and cancel, ready and close, notify and cancel, time-out and
reply, disarm and dispatch (a cancellation before the wait or in the batch of a descriptor that is ready),
post and close; :func:`test_two_deadlines_in_one_turn` and :func:`test_a_call_and_a_close_in_one_turn` add the
others.

What must hold is said once, for all: **the act that ended the wait decides** (:func:`judge`). Nothing is
lost: what was brought was taken by a call that has returned, or is there still. Nobody is woken twice. The
next call is served, or told that all is closed. Nothing is reported, and nothing stays behind.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Final, Literal, TypeAlias, assert_never

import pytest

from loopspec.conformance.simulated import SimulatedKernel
from refloop import (
    MILLISECOND,
    Cancelled,
    CancelScope,
    ClosedResourceError,
    Direction,
    Instrument,
    Raised,
    Reactor,
    Returned,
    Runtime,
    SocketStream,
    State,
    Task,
    WasCancelled,
    checkpoint,
    current_reactor,
    current_runtime,
)
from refloop.rpc import Client, EndedError
from refloop.rpc.wire import CallId, Reply, encode
from tests.refloop.fake_kernel import FakeKernel
from tests.refloop.operations import CLOSABLE, OPERATIONS, READY_FROM_THE_START, REAL_ONLY, Site, _pair

Act: TypeAlias = Literal["ready", "cancel", "close", "deadline"]
Moment: TypeAlias = Literal["before", "batch", "timer", "callback", "post"]
HeldKernel: TypeAlias = FakeKernel | SimulatedKernel

ACTS: Final[tuple[Act, ...]] = ("ready", "cancel", "close", "deadline")

MOMENTS: Final[tuple[Moment, ...]] = ("before", "batch", "timer", "callback", "post")
"""In the order in which a turn comes to them; within each, first come first served."""

PAIRS: Final = [(first, second) for first in ACTS for second in ACTS if first != second]

FAR: Final = 1 << 50
"""A deadline that nothing but the test comes to, in nanoseconds."""

KERNELS: Final[dict[str, Callable[[], HeldKernel]]] = {
    "held clock": FakeKernel,
    "simulated": SimulatedKernel,
}

CASES: Final = [
    (kernel, name)
    for kernel in KERNELS
    for name in OPERATIONS
    if kernel != "simulated" or name not in REAL_ONLY
]


@dataclass
class Watch(Instrument):
    """Follows one task: how often it was suspended and woken, and which act ended its wait; that of no act
    ended in the loop's own phases, by the deadline of ``scope`` or by what it waits for."""

    task: Task[object] | None = None
    scope: CancelScope = field(default_factory=lambda: CancelScope(deadline=FAR))
    acting: Act | None = None
    ended_by: Act | None = None
    suspensions: int = 0
    wakes: int = 0
    suspensions_then: int = 0

    def task_scheduled(self, task: Task[object]) -> None:
        if task is not self.task:
            return
        self.wakes += 1
        if self.ended_by is None:
            self.ended_by = self.acting or ("deadline" if self._timed_out(task) else "ready")
            self.suspensions_then = self.suspensions

    def _timed_out(self, task: Task[object]) -> bool:
        return isinstance(task._error, Cancelled) and task._error.scope is self.scope

    def after_task_step(self, task: Task[object]) -> None:
        # A wait that ends at once is a wake within the step, so every step but the last counts.
        if task is self.task and task.state is not State.DONE:
            self.suspensions += 1


@dataclass
class Meeting:
    """One call, and what befalls it."""

    site: Site
    watch: Watch
    task: Task[object] = field(init=False)
    outer: CancelScope = field(default_factory=lambda: CancelScope(deadline=FAR + 1))
    then: Callable[[], object] = lambda: None

    def begin(self) -> None:
        """Make the call, in a task of its own."""
        self.task = self.watch.task = current_runtime().spawn(self._call)

    async def _call(self) -> None:
        with self.outer, self.watch.scope:
            await self.site.call()

    def act(self, act: Act) -> None:
        """Do it, now."""
        self.watch.acting = act
        match act:
            case "ready":
                with suppress(OSError):  # the other side finds it closed
                    self.site.ready()
            case "cancel":
                self.task.cancel()
            case "close":
                assert self.site.close is not None
                self.site.close()
            case "deadline":
                pass  # the clock does it, in the phase of timers
            case _:
                assert_never(act)
        self.watch.acting = None

    def arrange(self, act: Act, moment: Moment, stack: ExitStack) -> None:
        """Have ``act`` done at ``moment`` of the next turn."""
        reactor = current_reactor()
        match moment:
            case "before":
                self.act(act)
            case "batch":
                ours, theirs = _pair(stack)

                def handler(_events: int) -> None:
                    ours.recv(1)
                    self.act(act)

                reactor.register(ours, Direction.READ, handler)
                theirs.send(b"x")
            case "timer":
                reactor.call_at(reactor.clock(), self.act, act)
            case "callback":
                reactor.call_soon(self.act, act)
            case "post":
                reactor.call_soon_threadsafe(self.act, act)
            case _:
                assert_never(moment)


async def settle() -> None:
    """Let everybody come to where they wait."""
    for _ in range(8):
        await checkpoint()


def is_closed(error: BaseException) -> bool:
    """Whether ``error`` says that something was closed, and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_closed, error.exceptions))
    return isinstance(error, ClosedResourceError | EndedError)


def judge(meeting: Meeting, name: str, acts: frozenset[Act]) -> set[str]:
    """How the call may have ended: as the act that ended its wait says, or, at a checkpoint behind that wait,
    as the other one says. A close is seen by whoever was woken and has not run."""
    watch = meeting.watch
    if name in OF_SEVERAL_TASKS:
        return {_ENDS[act] for act in acts}
    interrupted: set[str] = {
        end for act, end in _ENDS.items() if act in acts and act in ("cancel", "deadline")
    }
    match watch.ended_by:
        case "cancel" | "deadline":
            return {_ENDS[watch.ended_by]}
        case "close":
            return {"closed"} | (interrupted if watch.suspensions > watch.suspensions_then else set())
        case "ready":
            allowed = {"done"} | ({"closed"} if "close" in acts else set())
            return allowed | (interrupted if watch.suspensions > watch.suspensions_then else set())
        case None:  # it never came to a wait, or was at a checkpoint: done, or undone
            return {"done", *(_ENDS[act] for act in acts)}
        case _:
            assert_never(watch.ended_by)


_ENDS: Final[dict[Act, str]] = {
    "ready": "done",
    "cancel": "cancelled",
    "close": "closed",
    "deadline": "timed out",
}


def has_no_number(error: BaseException) -> bool:
    """Whether ``error`` is what a kernel says of a socket that was closed before it was asked about it."""
    if isinstance(error, ValueError):
        return "file descriptor cannot be a negative integer" in str(error)
    return isinstance(error, OSError) and error.errno == errno.EBADF


def end_of(meeting: Meeting) -> str:
    """How the call has ended."""
    match meeting.task.outcome:
        case Returned():
            return "timed out" if meeting.watch.scope.cancelled_caught else "done"
        case WasCancelled():
            return "cancelled"
        case Raised(error) if is_closed(error):
            return "closed"
        case Raised(error) if has_no_number(error):
            return "no number"
        case other:
            return repr(other)


def run(
    kernel: HeldKernel, name: str, main: Callable[[Meeting, ExitStack], object], *, closed: bool = False
) -> None:
    """Make the operation, have ``main`` arrange what befalls its call, and see that nothing is left."""
    watch = Watch()
    reported: list[Exception] = []
    reactor = Reactor(kernel)
    reactor.on_error = reported.append
    runtime = Runtime(reactor, [watch])

    async def started() -> None:
        with ExitStack() as stack:
            meeting = Meeting(OPERATIONS[name](stack), watch)
            assert (meeting.site.close is not None) == (name in CLOSABLE)
            await settle()
            meeting.begin()
            if name not in READY_FROM_THE_START:
                await settle()
                assert meeting.task.state is State.WAITING
            main(meeting, stack)
            await settle()
            await finished(meeting, closed=closed)
            reported[:] = [error for error in reported if not (is_closed(error) or has_no_number(error))]

    try:
        runtime.run_until_done(runtime.spawn(started))
    finally:
        runtime.close()
        timers = reactor.timers.live
        reactor.close()
    assert (reported, runtime.tasks(), timers) == ([], [], 0)


async def finished(meeting: Meeting, *, closed: bool) -> None:
    """Have the call end, and the next one served."""
    if meeting.task.state is not State.DONE:
        with suppress(OSError):
            meeting.site.ready()
        await settle()
    await _ended(meeting.task)
    meeting.then()
    if closed:
        return
    if meeting.site.left is None or not meeting.site.left():
        meeting.site.ready()
    again = current_runtime().spawn(_awaited, meeting.site)
    await _ended(again)
    assert isinstance(again.outcome, Returned)


async def _awaited(site: Site) -> None:
    await site.call()


async def _ended(task: Task[object]) -> None:
    try:
        await task.join()
    except BaseException:
        assert task.outcome is not None


def meet(kernel: HeldKernel, name: str, first: tuple[Act, Moment], second: tuple[Act, Moment]) -> None:
    """Have two acts befall a call of ``name`` in one turn, in this order, and judge what comes of it."""
    acts = frozenset({first[0], second[0]})
    seen: list[Meeting] = []

    def main(meeting: Meeting, stack: ExitStack) -> None:
        seen.append(meeting)
        for act, moment in (first, second):
            meeting.arrange(act, moment, stack)
        if "deadline" in acts:
            kernel.now = max(kernel.now, FAR)

    run(kernel, name, main, closed="close" in acts)
    (meeting,) = seen
    assert end_of(meeting) in judge(meeting, name, acts)
    assert meeting.watch.wakes <= meeting.watch.suspensions


def placed(first: Act, second: Act) -> Iterator[tuple[tuple[Act, Moment], tuple[Act, Moment]]]:
    """The two acts at all moments that keep their order; the deadline has a moment of its own."""
    for earlier, later in combinations_with_replacement(MOMENTS, 2):
        if (first != "deadline" or earlier == "timer") and (second != "deadline" or later == "timer"):
            yield (first, earlier), (second, later)


OF_SEVERAL_TASKS: Final = frozenset({"rpc.serve_calls", "serve", "serve_tcp", "serve_unix"})
"""Operations whose site is a group of tasks, each with a wait of its own: so each act may have ended one, and
the group says which of their ends is the call's, an error before a cancellation."""


OWN_TIMER: Final = frozenset({"sleep", "sleep_until"})
"""Operations with a timer of their own, which is due before any scope's."""


@pytest.mark.parametrize(("kernel", "name"), CASES)
def test_of_two_acts_in_one_turn_the_one_that_ends_the_wait_decides(kernel: str, name: str) -> None:
    """Both as callbacks, one right after the other."""
    for first, second in PAIRS:
        if "deadline" not in (first, second) and ("close" not in (first, second) or name in CLOSABLE):
            meet(KERNELS[kernel](), name, (first, "callback"), (second, "callback"))


@pytest.mark.full
@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize(("kernel", "name"), CASES)
def test_of_two_acts_at_any_moments_of_a_turn_too(kernel: str, name: str, first: Act, second: Act) -> None:
    if "close" in (first, second) and name not in CLOSABLE:
        return
    for one, other in placed(first, second):
        meet(KERNELS[kernel](), name, one, other)


@pytest.mark.full
@pytest.mark.parametrize(("kernel", "name"), CASES)
@pytest.mark.parametrize("first", ["outer", "inner"])
def test_two_deadlines_in_one_turn(kernel: str, name: str, first: str) -> None:
    """Given two scopes whose time is over in one turn, then the one whose timer was armed first ends the
    call, and only that one."""
    if name in READY_FROM_THE_START:
        return
    held = KERNELS[kernel]()
    caught: list[bool] = []

    def main(meeting: Meeting, _stack: ExitStack) -> None:
        scopes = [meeting.outer, meeting.watch.scope]
        for scope in scopes if first == "outer" else scopes[::-1]:
            scope.deadline = FAR  # armed anew, and so behind the other
        held.now = max(held.now, FAR)
        meeting.then = lambda: caught.extend(scope.cancelled_caught for scope in scopes)

    run(held, name, main)
    outer, inner = caught
    if name in OWN_TIMER:
        assert not outer
        assert not inner
    elif name not in OF_SEVERAL_TASKS:
        assert (outer, inner) == (first == "outer", first == "inner")
    else:
        assert outer != inner


@pytest.mark.full
@pytest.mark.parametrize("first", ["call", "close"])
@pytest.mark.parametrize(("kernel", "name"), [case for case in CASES if case[1] in CLOSABLE])
def test_a_call_and_a_close_in_one_turn(kernel: str, name: str, first: str) -> None:
    """Whichever comes first, the call is told that it is closed, and never acts on the number."""
    held = KERNELS[kernel]()
    ends: list[str] = []

    def main(meeting: Meeting, _stack: ExitStack) -> None:
        meeting.task.cancel()
        reactor = current_reactor()
        begin, close = Meeting(meeting.site, Watch()), meeting.site.close
        assert close is not None
        if first == "call":
            begin.begin()
            reactor.call_soon(close)
        else:
            reactor.call_soon(close)
            begin.begin()
        meeting.then = lambda: ends.append(end_of(begin))

    run(held, name, main, closed=True)
    assert ends == ["closed"] or (ends == ["no number"] and first == "close" and name.startswith("wait_"))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("first", ["reply", "time-out"])
def test_a_time_out_and_a_reply_in_one_turn(kernel: str, first: str) -> None:
    """Given a reply in the batch of the turn in which the time is over, then it is the reply that settles the
    call; one that comes in a turn's ready phase is late, and is counted and dropped."""
    held = KERNELS[kernel]()
    reactor = Reactor(held)
    runtime = Runtime(reactor)
    ends: list[object] = []

    async def call(client: Client) -> None:
        try:
            ends.append(await client.call("ask", timeout=MILLISECOND))
        except TimeoutError:
            ends.append("timed out")

    async def main() -> None:
        with ExitStack() as stack:
            ours, theirs = _pair(stack)
            client = stack.enter_context(Client(SocketStream(ours)))
            task = runtime.spawn(call, client)
            await settle()
            assert ends == []
            reply = encode(Reply(CallId(0), "replied"))
            if first == "reply":
                theirs.send(reply)
            else:
                reactor.call_soon(theirs.send, reply)
            held.now += MILLISECOND
            await task.join()
            await settle()
            assert client.dropped == (first == "time-out")

    try:
        runtime.run_until_done(runtime.spawn(main))
    finally:
        runtime.close()
        reactor.close()
    assert ends == ["replied" if first == "reply" else "timed out"]
