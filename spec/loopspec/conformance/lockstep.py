"""Lockstep: one scenario on one loop, on the real kernel, the same every time.

A run is repeatable if nothing in it happens at a moment of its own choosing. So the loop's thread does
nearly everything: its wait goes through :class:`Lockstep`, which lets the clients act there, between two
steps of the loop, by the script, and then asks the real epoll instance what is ready. Only time is not
real: it passes when the loop would sleep and nobody acts, by exactly the timeout that the loop asked for.

Some things must happen *while the thread sleeps*: that is where wake-ups are lost. For these there is one
other thread, the :class:`Hand`. The loop's thread really goes to sleep in an epoll wait; the hand acts
once the kernel itself reports the sleep (``/proc/self/task/TID/wchan``), then looks whether the loop's
epoll has become readable, which says whether this action wakes it, and if not, wakes it through a
descriptor of its own and has the trace say that the loop slept on. The two never run at once, so the
order of events is the script's.

Whether the loop's thread was suspended where it may not be is the kernel's account too: its voluntary
context switches, ``ru_nvcsw``, between the end of one wait and the begin of the next. Waiting for the
interpreter's lock would count, so the hand is parked in a lock whenever the loop runs, and the switch
interval is so long that nobody asks for the interpreter. A thread that is suspended there *for ever* is
found by an alarm: a signal looks once a second whether the trace grows, and breaks the call off; no
verdict comes from how long anything took.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import math
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import warnings
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Protocol, TypeVar

from loopspec import trace
from loopspec.conformance import scenario as script
from loopspec.conformance.adapter import (
    Adapter,
    Cancellable,
    Connection,
    Group,
    OffersBuffers,
    OffersConnects,
    OffersGroups,
    OffersModes,
    Operation,
    Poller,
    RpcEnding,
    RunsAlone,
    Scope,
    TaskHandle,
    TimerHandle,
    World,
)
from loopspec.conformance.buffering import Buffering
from loopspec.conformance.crew import Crew
from loopspec.conformance.dialling import Dialling
from loopspec.conformance.kin import Groups
from loopspec.conformance.listening import ROOMY, ToldListener
from loopspec.conformance.scenario import TICK, At, JobProgram, Program, Scenario, TaskProgram
from loopspec.conformance.services import Awaited, Services
from loopspec.conformance.sharing import Sharing
from loopspec.conformance.starting import begun_asleep
from loopspec.trace import Direction, Event, Outcome, Reason, Trigger

MAX_TURNS = 200
"""After so many turns a run is cut off. A scenario that ends needs a tenth; one that spins has shown it."""

START = 512 * TICK
"""The instant at which every run begins: one second, since no real clock says nought."""

AN_HOUR = 3_600 * 512 * TICK
GONE = suppress(OSError)
"""EAGAIN, and a peer that is no longer there, are what may happen to a nonblocking call on a stream."""

T = TypeVar("T")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_ALARM = 1.0
#: Where a thread that sleeps in epoll_wait is, by what the compiler made of the kernel's source.
_EPOLL_WAITS = frozenset((b"ep_poll", b"do_epoll_wait"))
_POLL_UNIT = 1_000_000
_SIGNAL = signal.SIGUSR1
#: What a forked child answers: bits of its exit code.
_LET_IN, _CHANGED = 1, 2
_SIOCOUTQ = 0x5411
_DESCRIPTORS = 4096
"""More than any scenario opens."""
_INTEREST = re.compile(r"^tfd: +(\d+) events: +([0-9a-f]+) .* ino:([0-9a-f]+)", re.MULTILINE)
"""A line of an epoll instance's entry in /proc: what it is to report."""
_NOT_LEVEL = select.EPOLLET | select.EPOLLONESHOT
#: What a loop without it cannot be asked for: the steps of a script that only such an event shows.
_SHOWN_BY: dict[type, frozenset[str]] = {
    script.Later: frozenset({"TimerArm"}),
    script.Hoard: frozenset({"TimerArm"}),
    script.Watch: frozenset({"Arm"}),
    script.WatchFile: frozenset({"Arm"}),
    script.Reopen: frozenset({"Arm"}),
    script.Submit: frozenset({"Submit"}),
    script.AskLoop: frozenset({"JobAsk"}),
    script.Spawn: frozenset({"Spawn"}),
    script.Forget: frozenset({"Spawn"}),
    script.Open: frozenset({"Dial"}),
    script.WriteBuffered: frozenset({"HighWater"}),
    script.SetEvent: frozenset({"Spawn"}),
}


_IN_A_WAIT = (script.Elapse, script.Interrupt, script.Snatch)
"""Acts that fall into a wait, or into its end."""


class Stuck(KeyboardInterrupt):
    """``thread`` is suspended without end, or, None, the loop's runs without end. No loop keeps a
    KeyboardInterrupt."""

    def __init__(self, thread: str | None) -> None:
        self.thread = thread


class BoomError(Exception):
    """What a scenario's handlers let out."""


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _thread_ids() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


class Hand:
    """The one other thread: it does what clients and threads do while the loop's thread sleeps.

    ``strangers`` are the threads that the process had already, those of a test runner for instance.
    """

    name = "hand"

    def __init__(self) -> None:
        self.strangers: Final = _thread_ids() - {str(threading.get_native_id())}
        self._job: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._sleeper = os.open(f"/proc/self/task/{threading.get_native_id()}/wchan", os.O_RDONLY)
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._busy = False
        self._begin()

    def _begin(self) -> None:
        self._go = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._thread = threading.Thread(
            target=self._work, args=(self._go, self._done), name="loopspec hand", daemon=True
        )
        self._thread.start()

    def sleep(self) -> int | None:
        """Which of its sleeps, as the kernel counts, the hand is in while it has something to do; or None."""
        status = Path(f"/proc/self/task/{self._thread.native_id}/status").read_text()
        if not self._busy or "\nState:\tS" not in status:
            return None
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def abandon(self) -> None:
        """Leave the thread in what it cannot get out of, and go on with another. It ends if ever it comes
        out."""
        left = self._go
        self._busy = False
        self._begin()
        left.release()

    def close(self) -> None:
        """End the thread and give back what it held."""
        self._job = None
        self._go.release()
        self._thread.join()
        os.close(self._sleeper)
        os.close(self._kick)

    def _work(self, go: threading.Semaphore, done: threading.Semaphore) -> None:
        while True:
            go.acquire()
            if self._job is None or self._go is not go:
                return
            try:
                self._job()
            except BaseException as error:
                self._error = error
            done.release()

    def do(self, job: Callable[[], None]) -> None:
        """Have ``job`` done by the other thread, and wait for it."""
        self._order(job)
        self._await()

    def do_attended(self, job: Callable[[], None], attend: Callable[[], None]) -> None:
        """Have ``job`` done by the other thread, do ``attend`` meanwhile, and wait for both."""
        self._order(job)
        attend()
        self._await()

    def _order(self, job: Callable[[], None]) -> None:
        self._job = job
        self._busy = True
        self._go.release()

    def _await(self) -> None:
        self._done.acquire()
        self._busy = False
        error, self._error = self._error, None
        if error is not None:
            raise error

    def do_asleep(self, job: Callable[[], None], epoll: int) -> bool:
        """Sleep in a wait on ``epoll``, have ``job`` done meanwhile, and tell whether that woke it."""
        woken = [False]

        def act() -> None:
            while not self._asleep():
                os.sched_yield()
            try:
                job()
            finally:
                woken[0] = bool(select.select([epoll], [], [], 0)[0])
                os.eventfd_write(self._kick, 1)

        with select.epoll() as bed:
            bed.register(epoll, select.EPOLLIN)
            bed.register(self._kick, select.EPOLLIN)
            self._order(act)
            bed.poll()
        self._await()
        os.eventfd_read(self._kick)
        return woken[0]

    def _asleep(self) -> bool:
        return os.pread(self._sleeper, 64, 0) in _EPOLL_WAITS


@contextmanager
def hand() -> Iterator[Hand]:
    """A hand for the calling thread, which must be the main one, in a process made quiet for lockstep."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    _make_room_for_descriptors()
    made = Hand()
    gc.freeze()  # what is there already is no scenario's: its collector need not look at it
    try:
        yield made
    finally:
        gc.unfreeze()
        made.close()
        sys.setswitchinterval(interval)


def _make_room_for_descriptors() -> None:
    """Linux enlarges a process's table of descriptors when it is full, and where there are threads it
    suspends whoever needs the one too many (fs/file.c, expand_fdtable). That is nobody's fault."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open("rb") as file:
        os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, min(soft, _DESCRIPTORS) - 1))


class Watched(Protocol):
    """An epoll instance whose waits go through the run, as the run sees it."""

    def ready(self, maxevents: int) -> list[tuple[int, int]]:
        """What a wait of no length reports."""
        ...

    def fileno(self) -> int: ...


class _Watched:
    """An epoll instance whose waits go through the run: everything else is the kernel's."""

    def __init__(self, wait: Callable[[Watched, float | None, int], list[tuple[int, int]]]) -> None:
        self._epoll = select.epoll()
        self._wait = wait
        self.register = self._epoll.register
        self.modify = self._epoll.modify
        self.unregister = self._epoll.unregister
        self.fileno = self._epoll.fileno
        self.close = self._epoll.close

    def ready(self, maxevents: int) -> list[tuple[int, int]]:
        return self._epoll.poll(0, maxevents)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        return self._wait(self, timeout, maxevents)

    def interest(self, fd: int) -> int:
        """The mask that the kernel has for ``fd``, modes included; 0 for none."""
        listing = Path(f"/proc/self/fdinfo/{self.fileno()}").read_text()
        entries = [line.split() for line in listing.splitlines() if line.startswith("tfd:")]
        return next((int(entry[3], 16) for entry in entries if int(entry[1]) == fd), 0)


class Stream:
    """A connection: the client's socket, and the server's if the scenario holds it."""

    __slots__ = ("client", "fd", "number", "reads", "received", "sent", "server", "torn", "written")

    def __init__(self, number: int, client: socket.socket, server: socket.socket | None, fd: int) -> None:
        self.number = number
        self.client: socket.socket | None = client
        self.server = server
        self.fd = fd
        self.reads = True
        self.torn = False
        self.received = 0
        self.sent = 0
        self.written = 0


class _Registration:
    __slots__ = ("direction", "left", "number", "stream", "token", "trigger")

    def __init__(
        self, number: int, stream: Stream, direction: Direction, left: int, trigger: Trigger | None
    ) -> None:
        self.number = number
        self.stream = stream
        self.direction = direction
        self.left = left
        self.trigger = trigger
        self.token: object = None


class _Timer:
    __slots__ = ("call", "callback", "handle", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.call = -1
        self.handle: TimerHandle | None = None
        self.callback: weakref.ref[_Callback] | None = None


class _Callback:
    """A callable that nobody but the loop holds, so that its death can be seen."""

    __slots__ = ("__weakref__", "_run")

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run

    def __call__(self) -> None:
        self._run()


class _Task:
    __slots__ = ("asker", "handle", "key", "lost", "number", "reason", "running", "told")

    def __init__(self, number: int, asker: int | None = None) -> None:
        self.number = number
        self.asker = asker  # the job that waits for it
        self.told = asker is None  # of its being spawned: one that a job asks for is told of when it runs
        self.reason: Reason = "checkpoint"
        self.key = 0
        self.running = False
        self.lost = False  # destroyed before its end
        self.handle: TaskHandle | None = None


class _Scope:
    """A cancel scope that a task is in; ``due`` says that it has been told of the deadline."""

    __slots__ = ("deadline", "due", "handle", "number", "task")

    def __init__(self, number: int, task: int, handle: Scope, deadline: int | None) -> None:
        self.number = number
        self.task = task
        self.handle = handle
        self.deadline = deadline
        self.due = False


class _Stepped(Coroutine[object, object, str]):
    """A task's coroutine, whose every step is told. Any loop that drives coroutines can drive it."""

    def __init__(self, run: Lockstep, task: _Task, inner: Coroutine[object, object, str]) -> None:
        self._run = run
        self._task = task
        self._inner = inner

    def send(self, value: object) -> object:
        return self._step(lambda: self._inner.send(value))

    def throw(
        self,
        error: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,  # noqa: ARG002 - the signature is PEP 342's
    ) -> object:
        thrown = error if isinstance(error, BaseException) else error(*(() if value is None else (value,)))
        return self._step(lambda: self._inner.throw(thrown))

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[object, object, str]:
        """Be driven from within another coroutine."""
        step = partial(self.send, None)
        while True:
            try:
                request = step()
            except StopIteration as end:
                return str(end.value)
            try:
                answer = yield request
            except BaseException as error:
                step = partial(self.throw, error)
            else:
                step = partial(self.send, answer)

    def _step(self, resume: Callable[[], object]) -> object:
        run, task = self._run, self._task
        run.let_workers_rest()
        if not task.told:
            task.told = True
            run.tell(trace.Spawn(run.turn, task.number))
        run.tell(trace.Step(run.turn, task.number, run.now()))
        try:
            request = resume()
        except StopIteration as end:
            run.ended(task, "value", str(end.value))
            raise
        except Stuck:
            raise
        except Exception as error:
            run.ended(task, "error", str(error))
            raise
        except BaseException:
            run.ended(task, "cancelled", "")
            raise
        run.suspended(task)
        run.let_workers_rest()
        return request


class Lockstep:
    """One run. It is the :class:`~loopspec.conformance.adapter.World` of the loop that it runs."""

    def __init__(self, hand: Hand, scenario: Scenario, tell: Callable[[Event], None]) -> None:
        self.tell: Callable[[Event], None] = tell
        self.turn = 0
        self.cut_short: str | None = None  # why the run was, if the loop was to blame
        self._hand = hand
        self._scenario = scenario
        self._script = list(scenario.script)
        self._now = START
        self._passed = 0
        self._heard = 0
        self._worked = 0  # the latest turn in which a handler or a task of the scenario did something
        self._waiting = True
        self._ended = False
        self._switches = 0
        self._calls = 0
        self._callbacks = 0
        self._booms = 0
        self._keys = 0
        self._fds: dict[int, int] = {}
        self._streams: list[Stream] = []
        self._registrations: list[_Registration] = []
        self._registered = 0
        self._users: dict[tuple[int, Direction], list[int]] = defaultdict(list)  # tasks, in their order
        self._timers: list[_Timer] = []
        self._armed = 0
        self._live_timers = 0
        self._tasks: list[_Task] = []
        self._live_tasks = 0
        self._outcomes: dict[int, tuple[Outcome, str]] = {}
        self._events: dict[int, tuple[int, Operation]] = {}
        self._scopes: list[_Scope] = []
        self._entered = 0
        self._groups = Groups(self)
        self._forgotten: list[weakref.ref[_Stepped]] = []
        self._services = self._served()
        self._listener: socket.socket | None = None
        self._accepting: ToldListener | None = None  # the same, where it tells of what it accepts
        self._dialling = Dialling(self)
        self._buffering = Buffering(self)
        self._dry: set[tuple[int, Direction]] = set()  # streams of which the present handler saw EAGAIN
        self._crew = Crew(self)
        self._submitted = False
        self._handled = False  # whether the loop hands events to workers by itself
        self._on_the_loose = False  # whether, in this turn, the loop may set workers going by itself
        self._stale: list[_Registration] = []
        self._duplicates: list[int] = []
        self._catches = False
        self._finished = False
        self._recorder = tell
        self._epoll: Watched | None = None
        self._may_sleep = False  # in the present wait, for lack of anything that is ready to run
        self._thread = threading.get_ident()
        self._loop: Adapter
        self._sharing: Sharing

    # -- the run

    def run(self, make: Callable[[World], Adapter]) -> None:
        """Run the scenario on a new loop."""
        if self._scenario.rehearsed:
            self.tell(self._rehearsed(make))
        with self._alarm(), self._among_threads():
            self._loop = make(self)
            self._sharing = Sharing(self, self._loop.primitives())
            try:
                if self._scenario.workers and "Submit" in self._loop.shows:
                    self._loop.start_workers(self._scenario.workers)
                    self.tell(trace.Pool(self._scenario.workers))
                echo = self._scenario.echo and "Receive" in self._loop.shows
                if echo:
                    self._listen()
                for _ in range(self._scenario.streams):
                    self._connect() if echo else self._open_stream()
                self._run_loop()
            except Stuck as stuck:
                if stuck.thread is not None:
                    self.tell(trace.Suspend(stuck.thread))
                self.tell(trace.Hang(stuck.thread or "loop"))
                if stuck.thread != Hand.name:
                    spun = "spun: it used a second of processor time in one turn"
                    self.cut_short = (
                        spun if stuck.thread is None else "hung: it slept in one turn without end"
                    )
            finally:
                self._end()

    def _rehearsed(self, make: Callable[[World], Adapter]) -> trace.Rehearsal:
        """What another run of the same scenario tells of the order of steps."""
        steps: list[int] = []

        def listen(event: Event) -> None:
            if isinstance(event, trace.Step):
                steps.append(event.task)

        Lockstep(self._hand, replace(self._scenario, rehearsed=False), listen).run(make)
        return trace.Rehearsal(tuple(steps))

    def _run_loop(self) -> None:
        if not (self._scenario.alone and isinstance(self._loop, RunsAlone)):
            self._loop.run(self._main)
            return
        self.tell(trace.Alone(self.turn))
        reported = self._loop.run_alone(self._main)
        if reported:
            numbers = [task.number for handle in reported for task in self._tasks if task.handle is handle]
            self.tell(trace.Deadlock(self.turn, tuple(numbers)))

    def _main(self) -> None:
        if self._listener is not None:
            self._loop.serve_echo(self._listener)
        self._handle(trace.Run(self.turn, self._new_callback()), self._scenario.program)

    def _end(self) -> None:
        self._silence()
        self._crew.dismiss()
        try:
            try:
                self._services.hang_up()
            finally:
                posts = "Closed" in self._loop.shows
                if (
                    posts
                    and self._finished
                    and any(isinstance(at.act, script.Post) for at in self._scenario.script)
                ):
                    self._close_under_posts()
                else:
                    self._loop.close()
        finally:
            self._services.close()
            self._dialling.close()
            self._close_duplicates()
            if self._listener is not None:
                self._listener.close()
            for stream in self._streams:
                if stream.client is not None:
                    stream.client.close()
                if stream.server is not None:
                    stream.server.close()

    def _close_under_posts(self) -> None:
        """Close the loop while another thread goes on posting: from a callback that the close itself runs, if
        the loop shows such, and when it is closed."""
        tell, run = self._recorder, self._post_at_the_end
        if "Closing" in self._loop.shows:
            self._loop.call_soon(lambda: self._hand.do(run))
            tell(trace.Closing(self.turn))
        self._loop.close()
        tell(trace.Closed(self.turn))
        self._hand.do(run)

    def _post_at_the_end(self) -> None:
        tell, number = self._recorder, self._new_callback()
        try:
            self._loop.post(lambda: tell(trace.Run(self.turn, number)))
        except Exception:
            tell(trace.RefusePost(self.turn, number, Hand.name))
        else:
            tell(trace.Post(self.turn, number, Hand.name))

    def _alarm(self) -> AbstractContextManager[None]:
        return self._on_watch()

    def _among_threads(self) -> AbstractContextManager[None]:
        return self._watching_threads()

    @contextmanager
    def _watching_threads(self) -> Iterator[None]:
        with self._crew.watching(), begun_asleep():
            yield

    def _served(self) -> Services:
        return Services(self)

    @contextmanager
    def _on_watch(self) -> Iterator[None]:
        """Look once in a while whether somebody is stuck. How long a run takes says nothing: a machine may be
        busy. What counts is who is suspended where nothing will come, and whose processor time is used up."""
        heard, used = -1, 0.0
        sleep: int | None = None

        def look(_signal: int, _frame: FrameType | None) -> None:
            nonlocal heard, used, sleep
            before, sleep = sleep, self._hand.sleep()
            if heard != self._heard or self._ended:
                heard, used = self._heard, time.thread_time()
            elif self._waiting:
                if sleep is not None and sleep == before:
                    self._hand.abandon()
                    raise Stuck(Hand.name)
            elif self.switches() != self._switches:
                raise Stuck("loop")
            elif time.thread_time() - used > _ALARM:
                raise Stuck(None)

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, _ALARM, _ALARM)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    # -- the world that the loop sees

    def now(self) -> int:
        return self._now

    def pass_to(self, instant: int) -> None:
        """Let virtual time pass, if ``instant`` is to come."""
        if instant > self._now:
            self._pass(instant - self._now)

    def wait_unit(self, seconds: float) -> int:
        """How long the kernel makes of a wait of so many seconds, in nanoseconds."""
        return granted(seconds) or 0

    def switches(self) -> int:
        """How often the calling thread has been suspended, by the kernel's account."""
        return _switches()

    def poller(self) -> Poller:
        return _Watched(self._wait)

    def report(self, error: BaseException) -> None:
        if isinstance(error, BoomError):
            self.tell(trace.Report(self.turn, str(error)))

    def _pass(self, duration: int) -> None:
        self._now += duration
        for scope in self._scopes:
            self._look_at_deadline(scope)

    def _look_at_deadline(self, scope: _Scope) -> None:
        if not scope.due and scope.deadline is not None and scope.deadline <= self._now:
            scope.due = True
            self.tell(trace.ScopeCancel(self.turn, scope.task, scope.number, due=True))

    def _wait(self, epoll: Watched, seconds: float | None, maxevents: int) -> list[tuple[int, int]]:
        if self._ended:
            return epoll.ready(maxevents)
        # Where the loop itself sets workers going, one may want the interpreter when the loop lets go of it:
        # the loop's thread then waits for the interpreter, and nobody can tell that from another suspension.
        if self.turn and self.switches() != self._switches and not self._on_the_loose:
            self.tell(trace.Suspend("loop"))
        if self._scenario.workers:
            self._waiting = True
            self._crew.settle()
        self._dialling.look()
        timeout = granted(seconds)
        self._passed += 1
        self._heard += 1
        self._waiting = True
        self.tell(trace.WaitBegin(self.turn, timeout))
        self._may_sleep = timeout != 0
        self._epoll = epoll
        batch = self._batch(epoll, timeout, maxevents)
        if self._streams and not self._scenario.workers and len(batch) < maxevents:
            self._tell_polled(epoll)
        self._snatch_from(batch)
        self.turn += 1
        named = tuple((self._fds[fd], mask) for fd, mask in batch if fd in self._fds)
        self.tell(trace.WaitReturn(self.turn, self._now, named, maxevents))
        if self.turn >= MAX_TURNS:
            self._out_of_turns()
        self._waiting = False
        self._on_the_loose = self._handled or self._crew.asking > 0
        self._switches = self.switches()
        return batch

    def _out_of_turns(self) -> None:
        """The run is cut off. That is the loop's fault if it has long done nothing that was asked of it;
        but not if a descriptor was closed behind its back and lives on."""
        if not self._duplicates and self.turn - self._worked > MAX_TURNS // 2:
            self.cut_short = f"spun: it used up its budget of {MAX_TURNS} turns"
        self._finish()

    def _batch(self, epoll: Watched, timeout: int | None, maxevents: int) -> list[tuple[int, int]]:
        """What the wait returns: what is ready once those have acted who act now, or asleep if nothing is."""
        until = None if timeout is None else self._now + timeout  # whatever time an act takes meanwhile
        self._services.read()
        while self._script and self._due(self._script[0]):
            self._act(self._script.pop(0).act)
        self._services.act_by_plan()
        batch = self._ready(epoll, maxevents)
        first = True
        while not batch and (until is None or self._now < until):
            self._asleep(sample=first)
            first = False
            if not self._script and self._crew.holds and not self._something_is_due(timeout):
                # Every job ends: the world releases those that the script has left.
                self._crew.release(0)
                batch = epoll.ready(maxevents)
                continue
            if not self._script and self._accepting is not None and self._accepting.exhausted:
                self._relieve()  # every shortage ends
            if not self._script:
                if not self._service_acts(until):
                    return self._nobody_acts(None if until is None else until - self._now)
                batch = self._ready(epoll, maxevents)
                continue
            at = self._script.pop(0)
            self._passed = 0
            if isinstance(at.act, script.Elapse):
                if until is not None:
                    self._pass(until - self._now)
                    return []
            elif isinstance(at.act, script.Interrupt):
                self.tell(trace.Interrupted(self.turn))
                self._pass((timeout or 0) // 2)
                return []
            elif at.asleep:
                self._hand.do_asleep(lambda act=at.act: self._act(act, asleep=True), epoll.fileno())  # type: ignore[misc]
            else:
                self._act(at.act)
            batch = self._ready(epoll, maxevents)
        return batch

    def _tell_polled(self, epoll: Watched) -> None:
        """Tell what poll(2) says of the kernel's own list of what ``epoll`` is to report while it is ready.

        One whose number has been closed is left out, even if another description has that number now.
        """
        poll = select.poll()
        for entry in _INTEREST.finditer(Path(f"/proc/self/fdinfo/{epoll.fileno()}").read_text()):
            fd, mask = int(entry[1]), int(entry[2], 16)
            if fd in self._fds and not mask & _NOT_LEVEL:
                with suppress(OSError):
                    if os.fstat(fd).st_ino == int(entry[3], 16):
                        poll.register(fd, mask)
        polled = tuple((self._fds[fd], mask) for fd, mask in sorted(poll.poll(0)))
        self.tell(trace.Polled(self.turn, polled))

    def _ready(self, epoll: Watched, maxevents: int) -> list[tuple[int, int]]:
        """What is ready once the clients have read: that makes room, and room is readiness too."""
        self._clients_read()
        return epoll.ready(maxevents)

    def _service_acts(self, until: int | None) -> bool:
        """Let time pass to what a service does next by its plan; whether that is in this wait."""
        instant = self._services.next_instant()
        if instant is None or (until is not None and instant > until):
            return False
        self.pass_to(instant)
        self._services.act_by_plan()
        return True

    def _due(self, at: At) -> bool:
        if at.asleep or self._passed < at.gap or isinstance(at.act, _IN_A_WAIT):
            return False
        self._passed = 0
        return True

    def _snatch_from(self, batch: list[tuple[int, int]]) -> None:
        """Let another reader take what the wait has found for one that waits to read, if the script says so.

        For the only one: of two, the loop may have refused either. And where nothing else is ready to run:
        else it may have refused that one, and not yet have told.
        """
        if not batch or not self._script or self._ended or not self._may_sleep:
            return
        at = self._script[0]
        if not isinstance(at.act, script.Snatch) or self._passed < at.gap:
            return
        numbers = {fd for fd, mask in batch if mask & select.EPOLLIN}
        found = [
            stream
            for stream in self._streams
            if stream.server is not None
            and stream.server.fileno() in numbers
            and (len(self._users[stream.number, "read"]) == 1 or self._watching(stream, "read"))
        ]
        if not found or self._scenario.tcp:
            return
        self._script.pop(0)
        self._passed = 0
        stream = found[at.act.stream % len(found)]
        assert stream.server is not None
        with GONE:
            data = stream.server.recv(1 << 20)
            if data:
                self.tell(trace.Read(self.turn, stream.number, data))
                waiting = next(iter(self._users[stream.number, "read"]), None)
                self.tell(trace.Snatch(self.turn, stream.number, waiting))

    def _asleep(self, *, sample: bool) -> None:
        if sample:
            self._services.tell_dropped()
            self.tell(trace.Threads(self.turn, self._threads(), self._live_tasks))
            if "TimersHeld" in self._loop.shows:
                self.tell(trace.TimersHeld(self.turn, self._loop.timers_held(), self._live_timers))
            self._tell_objects()
            self._sharing.rest()
            self._tell_interest()
        self._buffering.tell_held()
        for stream in self._streams:
            if self._has_room(stream):
                self.tell(trace.Room(self.turn, stream.number))
        self.tell(trace.Suspend("loop"))

    def _tell_objects(self) -> None:
        if not self._streams and not self._services.used:
            descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it is the quicker way
            self.tell(trace.Objects(self.turn, descriptors, self._live_tasks))

    def _tell_interest(self) -> None:
        assert isinstance(self._epoll, _Watched)
        one_shot = [each.stream for each in self._registrations if each.trigger == "one-shot"]
        for stream in dict.fromkeys(one_shot):
            if stream.server is not None:
                mask = self._epoll.interest(stream.server.fileno())
                self.tell(trace.Interest(self.turn, stream.fd, mask))

    def _threads(self) -> int:
        """How many threads there are, but for strangers and those of the pool, whose number is another's
        affair."""
        threads = len(_thread_ids() - self._hand.strangers)
        return threads - min(self._scenario.workers, max(0, threads - 2))

    def _something_is_due(self, timeout: int | None) -> bool:
        """Whether the loop waits for an instant, and not for lack of anything else as long as it can."""
        return timeout is not None and timeout < AN_HOUR and self._live_timers + self._live_tasks > 0

    def _has_room(self, stream: Stream) -> bool:
        """Whether the loop owes the client something and its socket is writable. Only what a Unix socket is
        given is with its peer at once, so that what is not is with the loop. What a sender that was cancelled
        has left behind is nobody's."""
        if (
            stream.server is None
            or stream.server.fileno() < 0  # its end has been closed by the loop
            or stream.written <= stream.received
            or (stream.torn and not self._users[stream.number, "write"])
            or self._scenario.tcp
            or not stream.reads
        ):
            return False
        return self._writable(stream.server)

    def _writable(self, server: socket.socket) -> bool:
        return bool(select.select([], [server], [], 0)[1])

    def _nobody_acts(self, timeout: int | None) -> list[tuple[int, int]]:
        resting = self._accepting is not None and self._accepting.resting
        if timeout is not None and self._live_timers + self._live_tasks + self._services.live + resting:
            self._pass(timeout)
            return []
        self.tell(trace.Quiescent(self.turn))
        self._finish()
        return []

    def _finish(self) -> None:
        self._script.clear()
        self._finished = True
        self._silence()
        self._loop.stop()

    def _silence(self) -> None:
        """Nothing that happens from here on belongs to the run: the loop is being taken down."""
        self._ended = True
        self.tell = _forget
        self._services.silence()

    # -- what clients and other threads do

    def _act(self, act: script.Act, *, asleep: bool = False) -> None:
        match act:
            case script.Connect():
                self._connect()
            case script.Crowd(count=count):
                for _ in range(count):
                    self._connect()
            case script.Exhaust():
                self._exhaust()
            case script.Relieve():
                self._relieve()
            case script.Greet(connection=index, how=welcome):
                self._dialling.greet(index, welcome)
            case script.Post(count=count, body=body):
                self._post(count, body, asleep=asleep)
            case script.Unblock(job=index):
                self._crew.release(index)
            case script.Answer(transport=transport, request=request, how=how):
                self._services.answer(transport, request, how)
            case script.BreakOff(transport=transport, how=broken):
                self._services.break_off(transport, broken)
            case script.ConverseBlocking(dialogue=dialogue):
                self._services.converse_blocking(self._loop, dialogue, self._hand)
            case script.Elapse() | script.Interrupt() | script.Snatch():
                pass
            case script.Signal():
                self._signal(asleep=asleep)
            case script.Trespass() if "Trespass" not in self._loop.shows:
                pass
            case script.Fork() if "Fork" not in self._loop.shows:
                pass
            case script.Trespass():
                self._trespass() if asleep else self._hand.do(self._trespass)
            case script.Fork():
                if not asleep:  # a child of the hand would be refused for its thread
                    self._fork()
            case _:
                stream = self._client(act.client)
                if stream is not None and stream.client is not None:
                    self._client_acts(act, stream, stream.client)

    def _client(self, index: int) -> Stream | None:
        present = [stream for stream in self._streams if stream.client is not None]
        return present[index % len(present)] if present else None

    def _client_acts(
        self,
        act: script.Send
        | script.Flood
        | script.StopReading
        | script.HalfClose
        | script.Finish
        | script.Leave
        | script.Reset,
        stream: Stream,
        client: socket.socket,
    ) -> None:
        match act:
            case script.Send(size=size):
                self._client_sends(stream, client, size)
            case script.Flood(size=size):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOMY)
                self._client_sends(stream, client, size)
            case script.StopReading():
                stream.reads = False
                self.tell(trace.StopReading(stream.number))
            case script.HalfClose():
                self._client_half_closes(stream, client)
            case script.Finish(size=size):
                self._client_sends(stream, client, size)
                self._client_half_closes(stream, client)
            case script.Leave():
                self._client_leaves(stream, client, trace.Leave(stream.number))
            case script.Reset():
                if client.family == socket.AF_INET:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._client_leaves(stream, client, trace.Reset(stream.number))
                else:
                    self._client_leaves(stream, client, trace.Leave(stream.number))

    def _client_sends(self, stream: Stream, client: socket.socket, size: int) -> None:
        with GONE:
            data = letters(stream.sent, size)
            sent = client.send(data)
            stream.sent += sent
            self.tell(trace.Send(stream.number, data[:sent]))
            self._carry(client)

    def _client_half_closes(self, stream: Stream, client: socket.socket) -> None:
        with GONE:
            client.shutdown(socket.SHUT_WR)
            self._carry(client)
            self.tell(trace.HalfClose(stream.number))

    def _client_leaves(self, stream: Stream, client: socket.socket, how: Event) -> None:
        self._client_reads(stream, client)
        stream.client = None
        if isinstance(how, trace.Leave):
            with GONE:
                client.shutdown(socket.SHUT_RDWR)
                self._carry(client)
        client.close()
        self.tell(how)

    def _clients_read(self) -> None:
        self._services.read()
        for stream in self._streams:
            if stream.client is not None and stream.reads:
                self._client_reads(stream, stream.client)

    def _client_reads(self, stream: Stream, client: socket.socket) -> None:
        with GONE:
            data = client.recv(1 << 20)
            stream.received += len(data)
            self.tell(trace.Receive(stream.number, data))
            if not data:
                stream.reads = False

    def _signal(self, *, asleep: bool) -> None:
        if not self._catches:
            return
        self.tell(trace.Signal(self.turn))
        if asleep:
            signal.pthread_kill(self._thread, _SIGNAL)
        else:
            signal.raise_signal(_SIGNAL)

    def _trespass(self) -> None:
        def call_later() -> None:
            self._loop.call_later(AN_HOUR, _nothing).cancel()

        calls: tuple[tuple[str, Callable[[], object]], ...] = (
            ("call_soon", lambda: self._loop.call_soon(_nothing)),
            ("call_later", call_later),
        )
        for name, call in calls:
            self.tell(trace.Trespass(self.turn, Hand.name, name, _refused(call)))

    def _fork(self) -> None:
        with warnings.catch_warnings():
            # The one other thread is parked, and the child makes no use of it.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            answer = _LET_IN | _CHANGED
            try:
                answer = self._touched_by_child()
            finally:
                os._exit(answer)
        _, status = os.waitpid(child, 0)
        answer = os.waitstatus_to_exitcode(status)
        self.tell(trace.Fork(self.turn, not answer & _LET_IN, not answer & _CHANGED))

    def _touched_by_child(self) -> int:
        """What came of a child's calls. What it registers is its own, and leaves the interest set with it."""
        assert self._epoll is not None
        interests = Path(f"/proc/self/fdinfo/{self._epoll.fileno()}")
        before = interests.read_text()
        own, other = socket.socketpair()
        calls = (
            lambda: self._loop.call_soon(_nothing),
            lambda: self._loop.arm(own, "read", _nothing),
        )
        with own, other:
            answer = 0 if sum(map(_refused, calls)) == len(calls) else _LET_IN
            return answer if interests.read_text() == before else answer | _CHANGED

    def _post(self, count: int, body: Program, *, asleep: bool) -> None:
        """Post from the hand; its suspensions are told unless the loop, woken, wants the interpreter too."""

        def post_all() -> None:
            for _ in range(count):
                number, call = self._new_callback(), self._new_call()
                run = self._posted(number, call, body)
                self.tell(trace.Call(call, Hand.name, "post"))
                before = self.switches()
                self._loop.post(run)
                if not asleep and self.switches() != before:
                    self._suspended(Hand.name)
                self.tell(trace.Return(call, Hand.name, delivered=False))
                self.tell(trace.Post(self.turn, number, Hand.name))

        if asleep:
            post_all()
        else:
            self._hand.do(post_all)

    def _posted(self, number: int, call: int, body: Program) -> Callable[[], None]:
        def run() -> None:
            self._deliver(call)
            self._handle(trace.Run(self.turn, number), body)

        return run

    # -- streams

    def pair(self, *, tcp: bool = False) -> tuple[socket.socket, socket.socket]:
        """A connection: a client's end, and the loop's."""
        return _tcp_pair() if tcp else socket.socketpair()

    def _carry(self, client: socket.socket) -> None:
        """Have what a client has sent arrive."""
        _delivered(client)

    def _duplicate(self, server: socket.socket) -> int:
        return os.dup(server.fileno())

    def _close_duplicates(self) -> None:
        for duplicate in self._duplicates:
            os.close(duplicate)

    def _open_stream(self) -> Stream:
        client, server = self.pair(tcp=self._scenario.tcp)
        return self._new_stream(client, server)

    def _new_stream(self, client: socket.socket, server: socket.socket | None) -> Stream:
        for end in (client, server):
            if end is not None:
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        fd = -1 if server is None else self._fds.setdefault(server.fileno(), len(self._fds))
        stream = Stream(len(self._streams), client, server, fd)
        self._streams.append(stream)
        self.tell(trace.Connect(stream.number, echo=server is None))
        return stream

    def _listen(self) -> None:
        def told(error: str | None) -> None:
            if "Accept" in self._loop.shows:  # else the accepting is the adapter's, and not the loop's
                self.tell(trace.Accept(self.turn, self._now, error))

        floods = any(isinstance(at.act, script.Flood) for at in self._scenario.script)
        self._listener = self._accepting = ToldListener(told, roomy=floods)

    def _exhaust(self) -> None:
        if self._accepting is not None and not self._accepting.exhausted and "Accept" in self._loop.shows:
            self._accepting.exhausted = True
            self.tell(trace.Exhausted(self.turn))

    def _relieve(self) -> None:
        if self._accepting is not None and self._accepting.exhausted:
            self._accepting.exhausted = False
            self.tell(trace.Relieved(self.turn))

    def _connect(self) -> None:
        if self._listener is not None:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.setblocking(False)
            try:
                client.connect(self._listener.getsockname())
            except BlockingIOError:  # the backlog is full
                client.close()
            else:
                self._new_stream(client, None)

    def _server_end(self, index: int) -> Stream | None:
        open_ = [each for each in self._streams if each.server is not None and each.server.fileno() >= 0]
        return open_[index % len(open_)] if open_ else None

    def _close_stream(self, stream: Stream) -> None:
        assert stream.server is not None
        for registration in [entry for entry in self._registrations if entry.stream is stream]:
            self._disarm(registration)
        server, stream.server = stream.server, None
        self._loop.close_socket(server)
        self.tell(trace.Close(self.turn, stream.fd, stream.number))
        if not stream.torn:
            self.tell(trace.Shut(self.turn, stream.number))

    def _close_behind(self, stream: Stream) -> None:
        """Close the server's end as if there were no loop. Who was registered for it is left as it is."""
        assert stream.server is not None
        self._registrations = [each for each in self._registrations if each.stream is not stream]
        self._duplicates.append(self._duplicate(stream.server))
        stream.server.close()
        stream.server = None
        self.tell(trace.Abandon(self.turn, stream.fd, stream.number))

    # -- calls and handlers

    def _new_call(self) -> int:
        self._calls += 1
        return self._calls - 1

    def _deliver(self, call: int) -> None:
        """Tell that the result of ``call`` comes now, on its way through the loop."""
        self.let_workers_rest()
        self.tell(trace.Deliver(call))

    def _new_callback(self) -> int:
        self._callbacks += 1
        return self._callbacks - 1

    @contextmanager
    def _calling(
        self, name: str, *, delivered: bool = True, on: str | None = None, nonblocking: bool = False
    ) -> Iterator[int]:
        """Tell of a call from the loop's thread, from begin to end. An OSError is told as its result."""
        call = self._new_call()
        self.tell(trace.Call(call, "loop", name, on, nonblocking))
        before = self.switches()
        failure: str | None = None
        try:
            yield call
        except OSError as error:
            failure = errno.errorcode.get(error.errno or 0)
            raise
        finally:
            if self.switches() != before:
                self._suspended("loop")
            self.tell(trace.Return(call, "loop", delivered, failure))

    def _suspended(self, thread: str) -> None:
        """Tell of a suspension that is over."""
        self.tell(trace.Suspend(thread))
        self.tell(trace.Resume(thread))

    def _handle(self, start: Event | None, body: Program, stream: Stream | None = None) -> None:
        """Run one handler: tell, unless its start has been told, do, tell."""
        if self._ended:
            return
        self._heard += 1
        self._worked = self.turn
        self.let_workers_rest()
        if start is not None:
            self.tell(start)
        try:
            for do in body:
                self._do(do, stream)
        except BoomError as boom:
            self.tell(trace.HandlerEnd(self.turn, str(boom)))
            raise
        self.tell(trace.HandlerEnd(self.turn, None))

    def _can(self, do: script.Do | script.JobDo | script.AsyncDo) -> bool:
        """Whether the loop has what ``do`` asks of it."""
        if isinstance(do, script.Submit) and not getattr(self._loop, "submits", True):
            return False
        return _SHOWN_BY.get(type(do), frozenset()) <= self._loop.shows

    def _soon(self, body: Program, then: Callable[[], None] | None = None) -> None:
        number = self._new_callback()

        def run() -> None:
            self._deliver(call)
            if then is not None:
                then()
            self._handle(trace.Run(self.turn, number), body)

        with self._calling("call_soon", delivered=False) as call:
            self._loop.call_soon(run)
        self.tell(trace.Enqueue(self.turn, number))

    def _do(self, do: script.Do, stream: Stream | None) -> None:
        if not self._can(do):
            return
        match do:
            case script.Soon(body=body):
                self._soon(body)
            case script.Later(delay=delay, body=body):
                self._arm_timer(delay * TICK, body)
            case script.CancelTimer(timer=index):
                if self._timers:
                    self._cancel_timer(self._timers[index % len(self._timers)])
            case script.Hoard(count=count):
                for _ in range(count):
                    self._arm_timer(AN_HOUR, ())
                    self._cancel_timer(self._timers[-1])
            case script.Watch(stream=index, direction=direction, times=times, body=body, trigger=trigger):
                watched = self._server_end(index)
                if watched is not None:
                    self._arm(watched, direction, times, body, trigger)
            case script.WatchFile():
                self._watch_file()
            case script.Unwatch(registration=index):
                if self._registrations:
                    self._disarm(self._registrations[index % len(self._registrations)])
            case script.Close(stream=index):
                closing = self._server_end(index)
                if closing is not None:
                    self._close_stream(closing)
            case script.UnwatchAgain(registration=index):
                if self._stale and "StaleDisarm" in self._loop.shows:
                    self._disarm_again(self._stale[index % len(self._stale)])
            case script.CloseBehind(stream=index):
                closing = self._server_end(index)
                if closing is not None:
                    self._close_behind(closing)
            case script.OnSignal(body=body):
                if not self._catches and "Signal" in self._loop.shows:
                    self._catch_signal(body)
            case script.Reopen(stream=index, body=body):
                closing = self._server_end(index)
                if closing is not None and not self._scenario.tcp:
                    self._reopen(closing, body)
            case script.Take(stream=index, size=size):
                self._take(stream or self._server_end(index), size)
            case script.Give(stream=index, size=size):
                self._give(stream or self._server_end(index), size)
            case script.Fail():
                self._booms += 1
                raise BoomError(f"Boom{self._booms}")
            case script.Work(duration=duration):
                self._pass(duration * TICK)
                self.tell(trace.Worked(self.turn, self._now))
            case script.Spawn(body=task_body):
                self._spawn(task_body)
            case script.CancelTask(task=index):
                if self._tasks:
                    self._cancel_task(self._tasks[index % len(self._tasks)])
            case script.SetEvent(event=index):
                self._set_event(index)
            case script.Submit(body=job_body):
                if self._scenario.workers:
                    self._submit(job_body)
            case script.HandleOnWorkers(stream=index, size=size):
                handled = self._server_end(index)
                if self._scenario.workers and handled is not None and "Handle" in self._loop.shows:
                    self._handle_on_workers(handled, size)
            case script.CancelScope(scope=index):
                if self._scopes:
                    self._cancel_scope(self._scopes[index % len(self._scopes)])
            case script.Ask(body=body):
                self._services.ask(self._loop, do, lambda: self._handle(None, body))
            case script.CancelAsk(call=index):
                self._services.cancel(index)
            case script.HangUp(service=index, form=form):
                self._services.close_client(index, form)
            case script.ConverseByCallbacks(dialogue=dialogue):
                self._services.converse_by_callbacks(self._loop, dialogue)
            case script.Forget(body=task_body):
                self._forget(task_body)
            case script.Collect():
                gc.collect()
                self.tell(trace.Collect(self.turn))
            case script.StartChild(group=index, body=task_body):
                self._start_child(index, task_body)

    # -- timers

    def _arm_timer(self, delay: int, body: Program) -> None:
        timer = _Timer(self._armed)
        self._armed += 1
        self._live_timers += 1

        def run() -> None:
            if self._ended:
                return
            self._deliver(call)
            if timer in self._timers:
                self._timers.remove(timer)
                self._live_timers -= 1
            self._handle(trace.TimerFire(self.turn, timer.number, self._now), body)

        callback = _Callback(run)
        timer.callback = weakref.ref(callback)
        at = self._now
        with self._calling("call_later", delivered=False) as call:
            timer.call = call
            timer.handle = self._loop.call_later(delay, callback)
        self._timers.append(timer)
        self.tell(trace.TimerArm(self.turn, timer.number, at, delay, timer.handle.deadline))

    def _cancel_timer(self, timer: _Timer) -> None:
        assert timer.handle is not None
        assert timer.callback is not None
        timer.handle.cancel()
        self._timers.remove(timer)
        self._live_timers -= 1
        self.tell(trace.Deliver(timer.call))
        self.tell(trace.TimerCancel(self.turn, timer.number, retained=timer.callback() is not None))

    # -- registrations

    def _arm(
        self,
        stream: Stream,
        direction: Direction,
        times: int,
        body: Program,
        trigger: Trigger | None = None,
    ) -> None:
        assert stream.server is not None
        if self._users[stream.number, direction] or not self._may_be(stream, trigger):
            return
        registration = _Registration(self._registered, stream, direction, times, trigger)

        def run() -> None:
            if self._ended:
                return
            start = trace.Dispatch(self.turn, registration.number, stream.fd)
            registration.left -= 1
            self._dry.clear()
            try:
                self._handle(start, body, stream if stream.server is not None else None)
            finally:
                if registration.left <= 0 and registration in self._registrations:
                    self._disarm(registration)
                elif trigger is not None and registration in self._registrations:
                    self._rearm(registration, trigger)

        try:
            with self._calling("arm"):
                if trigger is None:
                    registration.token = self._loop.arm(stream.server, direction, run)
                else:
                    assert isinstance(self._loop, OffersModes)
                    registration.token = self._loop.arm_triggered(stream.server, direction, trigger, run)
        except Exception as error:
            name = type(error).__name__
            self.tell(trace.Refuse(self.turn, None, stream.fd, stream.number, direction, name))
            return
        self._registered += 1
        self.tell(trace.Arm(self.turn, registration.number, stream.fd, stream.number, direction))
        if trigger is not None:
            number = registration.number
            self.tell(trace.Triggered(self.turn, number, stream.fd, stream.number, direction, trigger))
        for older in self._watching(stream, direction):
            # Let in where there was one: the loop has replaced that one, and it is gone.
            self._registrations.remove(older)
            self.tell(trace.Disarm(self.turn, older.number, stream.fd))
        self._registrations.append(registration)

    def _may_be(self, stream: Stream, trigger: Trigger | None) -> bool:
        """Whether a stream may get a handler of that mode: it has one mode, and tasks that wait for it have
        theirs."""
        others = [each.trigger for each in self._registrations if each.stream is stream]
        if trigger is not None:
            tasks = self._users[stream.number, "read"] or self._users[stream.number, "write"]
            if tasks or not isinstance(self._loop, OffersModes):
                return False
        return all(other == trigger for other in others)

    def _rearm(self, registration: _Registration, trigger: Trigger) -> None:
        """Do what a handler owes that is not level-triggered."""
        stream, number = registration.stream, registration.number
        if trigger == "edge" and (stream.number, registration.direction) in self._dry:
            self.tell(trace.Drained(self.turn, number, stream.fd))
        elif trigger == "edge" or registration.direction == "read":
            assert isinstance(self._loop, OffersModes)
            with suppress(Exception):  # refused, it is not re-armed
                self._loop.rearm(registration.token)
                self.tell(trace.Rearm(self.turn, number, stream.fd))

    def _watching(self, stream: Stream, direction: Direction) -> list[_Registration]:
        """Who is registered for a stream. A stream has handlers or tasks in one direction, and never both:
        what a loop makes of the two is nobody's promise."""
        return [each for each in self._registrations if each.stream is stream and each.direction == direction]

    def _watch_file(self) -> None:
        with Path(__file__).open("rb") as file, suppress(OSError):
            with self._calling("epoll_ctl(ADD) by the loop", on="regular file"):
                registered = self._loop.arm(file, "read", lambda: None)
            self._loop.disarm(registered)

    def _disarm(self, registration: _Registration) -> None:
        self._registrations.remove(registration)
        with self._calling("disarm"):
            self._loop.disarm(registration.token)
        self.tell(trace.Disarm(self.turn, registration.number, registration.stream.fd))
        self._stale.append(registration)

    def _disarm_again(self, registration: _Registration) -> None:
        refused = _refused(lambda: self._loop.disarm(registration.token))
        self.tell(trace.StaleDisarm(self.turn, registration.number, registration.stream.fd, refused))

    def _reopen(self, stream: Stream, body: Program) -> None:
        assert stream.server is not None
        number = stream.server.fileno()
        self._close_stream(stream)
        client, server = self.pair()
        if client.fileno() == number:
            client, server = server, client
        self._arm(self._new_stream(client, server), "read", 2, body)

    def _take(self, stream: Stream | None, size: int) -> None:
        if stream is None or stream.server is None:
            return
        with GONE, self._noting(stream, "read"):
            with self._calling("recv", on="socket", nonblocking=True):
                data = stream.server.recv(size)
            self.tell(trace.Read(self.turn, stream.number, data))

    def _give(self, stream: Stream | None, size: int) -> None:
        if stream is None or stream.server is None or stream.torn:
            return
        data = letters(stream.written, size)
        with GONE, self._noting(stream, "write"):
            with self._calling("send", on="socket", nonblocking=True):
                sent = stream.server.send(data)
            stream.written += sent
            self.tell(trace.Write(self.turn, stream.number, data[:sent]))

    @contextmanager
    def _noting(self, stream: Stream, direction: Direction) -> Iterator[None]:
        """Note that a handler has seen EAGAIN."""
        try:
            yield
        except BlockingIOError:
            self._dry.add((stream.number, direction))
            raise

    # -- signals

    def _catch_signal(self, body: Program) -> None:
        def run() -> None:
            self.tell(trace.Caught(self.turn))
            self._handle(trace.Run(self.turn, self._new_callback()), body)

        self._catches = True
        self._loop.on_signal(_SIGNAL, run)

    # -- tasks

    def _spawn(self, body: TaskProgram) -> None:
        task = _Task(len(self._tasks))
        self._tasks.append(task)
        self._live_tasks += 1
        self.tell(trace.Spawn(self.turn, task.number))
        with self._calling("spawn"):
            task.handle = self._loop.spawn(lambda: _Stepped(self, task, self._task(task, body)))

    def _forget(self, body: TaskProgram) -> None:
        """Start a task that the loop alone holds, and tell if it is destroyed before its end."""
        if not self._forgotten:
            gc.freeze()  # what is older than the first of them is nothing to look at for who has lost one
        task = _Task(len(self._tasks))
        self._tasks.append(task)
        self._live_tasks += 1

        def destroyed(_: weakref.ref[_Stepped]) -> None:
            if task.number not in self._outcomes and not self._ended:
                task.lost = True
                self._live_tasks -= 1
                self.tell(trace.Vanish(self.turn, task.number))

        self.tell(trace.Spawn(self.turn, task.number))
        stepped = _Stepped(self, task, self._task(task, body))
        self._forgotten.append(weakref.ref(stepped, destroyed))
        self._loop.spawn(lambda: stepped)

    def _start_child(self, index: int, body: TaskProgram) -> None:
        group = self._groups.chosen(index)
        if group is None:
            return
        task = _Task(len(self._tasks))
        try:
            task.handle = group.made.start(lambda: _Stepped(self, task, self._task(task, body)))
        except Exception:
            return  # a group that is about to end may take no more
        self._tasks.append(task)
        self._live_tasks += 1
        self.tell(trace.Spawn(self.turn, task.number))
        self.tell(trace.GroupStart(self.turn, group.number, task.number))

    async def _task(self, task: _Task, body: TaskProgram) -> str:
        await self._perform(task, body)
        return f"value {task.number}"

    async def _perform(self, task: _Task, body: TaskProgram) -> None:
        for do in body:
            if self._ended:
                break
            self._heard += 1
            self._worked = self.turn
            match do:
                case (
                    script.Checkpoint()
                    | script.Sleep()
                    | script.Receive()
                    | script.SendAll()
                    | script.WriteBuffered()
                    | script.Open()
                    | script.WaitEvent()
                    | script.Join()
                    | script.Operate()
                    | script.ToThread()
                    | script.Within()
                    | script.Hold()
                    | script.WaitNotified()
                    | script.Notify()
                    | script.Put()
                    | script.Get()
                    | script.AwaitReply()
                    | script.ConverseByCoroutine()
                    | script.Group()
                    | script.WaitAlone()
                ):
                    await self._await(task, do)
                case _:
                    self._do(do, None)

    def suspended(self, task: _Task) -> None:
        """Tell of a task's suspension."""
        self._buffering.look(task.number)
        self.tell(trace.Await(self.turn, task.number, task.reason, task.key))
        if task.reason == "rpc":
            self._services.suspended(task.key)

    def ended(self, task: _Task, outcome: Outcome, value: str) -> None:
        """Tell of a task's end: its coroutine is what knows."""
        if task.number not in self._outcomes:
            self._live_tasks -= 1
        self._outcomes[task.number] = (outcome, value)
        self.tell(trace.Done(self.turn, task.number, outcome, value))
        self.tell(trace.Settle(self.turn, "join", task.number))

    def _cancel_task(self, task: _Task) -> None:
        if task.handle is None:
            return
        self.tell(trace.CancelRequest(self.turn, task.number))
        task.handle.cancel()

    async def _await(self, task: _Task, do: script.AsyncDo) -> None:
        match do:
            case script.Checkpoint(count=count):
                for _ in range(count):
                    await self._operate(task, "checkpoint", "checkpoint", 0, self._loop.checkpoint)
            case script.Sleep(delay=delay):
                length = delay * TICK
                await self._operate(
                    task, "sleep", "sleep", self._now + length, lambda: self._loop.sleep(length)
                )
            case script.Receive(stream=index, size=size):
                stream = self._server_end(index)
                if stream is not None and stream.server is not None:
                    await self._receive(task, stream, stream.server, size)
            case script.SendAll(stream=index, size=size):
                stream = self._server_end(index)
                if stream is not None and stream.server is not None and not stream.torn:
                    await self._send_all(task, stream, stream.server, size)
            case script.WriteBuffered(stream=index, size=size):
                stream = self._server_end(index) if self._can(do) else None
                if stream is not None and stream.server is not None and isinstance(self._loop, OffersBuffers):
                    await self._write_buffered(task, self._loop, stream, stream.server, size)
            case script.Open(host=host):
                if isinstance(self._loop, OffersConnects) and self._can(do):
                    await self._open(task, self._loop, host)
            case script.WaitEvent(event=index):
                key, event = self._event(index)
                await self._operate(task, "Event.wait", "event", key, event.call)
            case script.Join(task=index):
                await self._join(task, self._tasks[index % len(self._tasks)])
            case script.Operate(operation=index, ready=ready):
                await self._operate_other(task, index, ready=ready)
            case script.ToThread(body=body):
                if self._scenario.workers and "Submit" in self._loop.shows:
                    await self._to_thread(task, body)
            case script.Within(delay=delay, body=body):
                await self._within(task, None if delay is None else delay * TICK, body)
            case script.Hold() | script.WaitNotified() | script.Notify() | script.Put() | script.Get():
                await self._share(task, do)
            case script.AwaitReply():
                awaited = self._services.awaited(self._loop, do)
                if awaited is not None:
                    await self._await_reply(task, awaited)
            case script.ConverseByCoroutine(dialogue=dialogue):
                await self._services.converse_by_coroutine(
                    self._loop, dialogue, lambda awaited: self._await_reply(task, awaited)
                )
            case script.Group(body=body):
                if isinstance(self._loop, OffersGroups):
                    await self._within_group(task, self._loop.group(), body)
            case script.WaitAlone():
                unknown = self._loop.operations()["Event.wait"]()
                await self._operate(task, "Event.wait", "event", self._new_key(), unknown.call)

    async def _share(self, task: _Task, do: script.Share) -> None:
        async def operate(name: str, key: int, call: Callable[[], Awaitable[object]]) -> object:
            return await self._operate(task, name, "primitive", key, call)

        async def perform() -> None:
            if isinstance(do, script.Hold):
                await self._perform(task, do.body)

        await self._sharing.share(task.number, do, operate, perform)

    async def _within(self, task: _Task, delay: int | None, body: TaskProgram) -> None:
        handle = self._loop.scope(delay)
        if handle is None:
            await self._perform(task, body)
            return
        scope = _Scope(self._entered, task.number, handle, None if delay is None else self._now + delay)
        self._entered += 1
        cut = False
        try:
            async with handle:
                self.tell(trace.ScopeEnter(self.turn, task.number, scope.number, scope.deadline))
                self._scopes.append(scope)
                self._look_at_deadline(scope)
                try:
                    await self._perform(task, body)
                except Exception:
                    raise
                except BaseException:
                    cut = True
                    raise
                finally:
                    self._scopes.remove(scope)
        finally:
            self.tell(trace.ScopeExit(self.turn, task.number, scope.number, cut, handle.caught))

    async def _within_group(self, task: _Task, group: Group, body: TaskProgram) -> None:
        def waits(number: int) -> None:
            task.reason, task.key = "group", number

        await self._groups.enter(task.number, group, lambda: self._perform(task, body), waits)

    def _cancel_scope(self, scope: _Scope) -> None:
        if isinstance(scope.handle, Cancellable):
            self.tell(trace.ScopeCancel(self.turn, scope.task, scope.number, due=False))
            scope.handle.cancel()

    async def _operate(
        self, task: _Task, name: str, reason: Reason, key: int, call: Callable[[], Awaitable[T]]
    ) -> T:
        """Call one asynchronous operation from a task, and tell how it began and ended."""
        task.reason, task.key = reason, key
        outcome: Outcome = "cancelled"
        self.tell(trace.Begin(self.turn, task.number, name))
        try:
            result = await call()
            outcome = "value"
            return result
        except Exception:
            outcome = "error"
            raise
        finally:
            if not task.lost:
                self.tell(trace.End(self.turn, task.number, name, outcome))

    async def _await_reply(self, task: _Task, awaited: Awaited) -> RpcEnding:
        number = awaited.begin()
        try:
            ending = await self._operate(task, "rpc", "rpc", number, lambda: awaited.call(number))
        except BaseException:
            awaited.end(number, "cancelled", "")
            raise
        outcome, value = ending
        awaited.end(number, outcome, value)
        return outcome, value

    async def _receive(self, task: _Task, stream: Stream, server: socket.socket, size: int) -> None:
        if self._watching(stream, "read"):
            return
        with self._using(task, stream, "read"):
            data = await self._operate(
                task, "receive", "read", stream.number, lambda: self._loop.receive(server, size)
            )
            assert isinstance(data, bytes)
            self.tell(trace.Read(self.turn, stream.number, data))

    async def _send_all(self, task: _Task, stream: Stream, server: socket.socket, size: int) -> None:
        if self._watching(stream, "write"):
            return
        data = letters(stream.written, size)
        stream.written += size
        # Torn until all is given: what a cancelled sender has left behind is nobody's promise.
        stream.torn = True
        self.tell(trace.Write(self.turn, stream.number, data))
        with self._using(task, stream, "write"):
            await self._operate(
                task, "send_all", "write", stream.number, lambda: self._loop.send_all(server, data)
            )
            stream.torn = False

    async def _write_buffered(
        self, task: _Task, loop: OffersBuffers, stream: Stream, server: socket.socket, size: int
    ) -> None:
        if self._watching(stream, "write"):
            return
        self._keys += 1  # which makes no two writes alike

        async def operate(name: str, call: Callable[[], Awaitable[object]]) -> object:
            return await self._operate(task, name, "room", stream.number, call)

        with self._using(task, stream, "write"):
            data = letters(self._keys, size)
            await self._buffering.write(loop, task.number, stream, server, data, operate)

    async def _open(self, task: _Task, loop: OffersConnects, host: script.Host) -> None:
        key = self._new_key()

        async def operate(call: Callable[[], Awaitable[Connection]]) -> Connection:
            return await self._operate(task, "connect", "event", key, call)

        await self._dialling.open(loop, task.number, host, key, operate)

    @contextmanager
    def _using(self, task: _Task, stream: Stream, direction: Direction) -> Iterator[None]:
        """A task uses a stream. An error that comes out of it is an answer, and no fault of the task."""
        users = self._users[stream.number, direction]
        users.append(task.number)
        try:
            yield
        except Stuck:
            raise
        except Exception as error:
            name = type(error).__name__
            self.tell(trace.Refuse(self.turn, task.number, stream.fd, stream.number, direction, name))
        finally:
            users.remove(task.number)

    async def _join(self, task: _Task, target: _Task) -> None:
        if target is task or target.handle is None:
            return
        handle = target.handle
        seen = await self._operate(task, "join", "join", target.number, handle.join)
        assert isinstance(seen, tuple)
        outcome, value = seen
        self.tell(trace.Joined(self.turn, task.number, target.number, outcome, value))

    # -- jobs

    def let_workers_rest(self) -> None:
        """Wait for workers that may have been set going. What that does to the loop's thread is our doing."""
        if self._ended or not (self._submitted or self._on_the_loose or self._crew.asking):
            return
        if self._crew.thread() != "loop":
            return
        self._submitted = False
        waiting, self._waiting = self._waiting, True
        before = self.switches()
        self._crew.settle()
        self._switches += self.switches() - before
        self._waiting = waiting

    def _submit(self, body: JobProgram) -> None:
        job = self._crew.new_job()

        def done(take: Callable[[], str]) -> None:
            self._deliver(call)
            self._crew.tell_result(job, take)

        self.tell(trace.Submit(self.turn, job, None, None))
        with self._calling("submit", delivered=False) as call:
            self._loop.submit(lambda: self._job(job, body), done)
        self._submitted = True
        self.let_workers_rest()

    async def _to_thread(self, task: _Task, body: JobProgram) -> None:
        job, key = self._crew.new_job(), self._new_key()
        self.tell(trace.Submit(self.turn, job, task.number, task.asker))
        self._submitted = True

        def run() -> str:
            return self._job(job, body, key)

        try:
            value = await self._operate(task, "to_thread", "event", key, lambda: self._loop.to_thread(run))
        except Exception as error:
            self._crew.tell_result(job, partial(_raise, error))
        except Stuck:
            raise
        except BaseException:
            self.tell(trace.JobAbandon(self.turn, job))
            raise
        else:
            self._crew.tell_result(job, lambda: str(value))

    def _job(self, job: int, body: JobProgram, key: int | None = None) -> str:
        """A job, on its worker. ``key`` is the event that its end is."""

        def do_all() -> str:
            for do in body:
                self._do_in_job(job, do)
            return f"value of job {job}"

        def ended() -> None:
            if key is not None:
                self.tell(trace.Settle(self.turn, "event", key))

        return self._crew.job(job, do_all, ended)

    def _do_in_job(self, job: int, do: script.JobDo) -> None:
        self._heard += 1
        if not self._can(do):
            return
        match do:
            case script.Block():
                self._crew.hold()
            case script.Fail():
                self._booms += 1
                raise BoomError(f"Boom{self._booms}")
            case script.AskLoop(body=body):
                with self._crew.asks(job) as answerable:
                    if answerable:
                        task = _Task(len(self._tasks), asker=job)
                        self._tasks.append(task)
                        self._live_tasks += 1
                        self._loop.from_thread(lambda: _Stepped(self, task, self._task(task, body)))

    def _handle_on_workers(self, stream: Stream, size: int) -> None:
        server = stream.server
        assert server is not None

        def handle() -> str:
            data = b""
            with GONE:
                data = server.recv(size)
                self.tell(trace.Read(self.turn, stream.number, data))
            # What the loop is up to now is not known; once it is held, and released, the job may do anything.
            self._crew.hold()
            if not data:
                self._loop.post(lambda: self._loop.disarm(registration))
            return ""

        try:
            registration = self._loop.handle_on_workers(
                server, lambda: self._crew.handler(stream.number, handle)
            )
            self._handled = True
        except Exception as error:
            name = type(error).__name__
            self.tell(trace.Refuse(self.turn, None, stream.fd, stream.number, "read", name))

    def _event(self, index: int) -> tuple[int, Operation]:
        if index not in self._events:
            self._events[index] = (self._new_key(), self._loop.operations()["Event.wait"]())
        return self._events[index]

    def _set_event(self, index: int) -> None:
        key, event = self._event(index)
        event.ready()
        self.tell(trace.Settle(self.turn, "event", key))

    def _new_key(self) -> int:
        self._keys += 1
        return self._keys - 1

    async def _operate_other(self, task: _Task, index: int, *, ready: bool) -> None:
        operations = self._loop.operations()
        name = sorted(operations)[index % len(operations)]
        operation, key = operations[name](), self._new_key()

        def make_ready() -> None:
            operation.ready()
            self.tell(trace.Settle(self.turn, "event", key))

        if ready:
            make_ready()
        else:
            self._soon((), then=make_ready)
        await self._operate(task, name, "event", key, operation.call)


def _nothing() -> None:
    """A callback that nobody waits for."""


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def granted(seconds: float | None) -> int | None:
    """How long ``select.epoll.poll`` sleeps for ``seconds``, in nanoseconds: rounded up, and up again."""
    if not seconds:
        return None if seconds is None else 0
    if seconds < 0:
        return None
    return -(-math.ceil(seconds * 1e9) // _POLL_UNIT) * _POLL_UNIT


def _raise(error: Exception) -> str:
    raise error


def _forget(event: Event) -> None:
    """What :attr:`Lockstep.tell` is once the run is over."""


def letters(start: int, size: int) -> bytes:
    """``size`` bytes of an endless alphabet, from ``start`` on: no two neighbours are alike."""
    turn = start % len(_LETTERS)
    return (_LETTERS * (1 + (turn + size) // len(_LETTERS)))[turn : turn + size]


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        return client, server


def _delivered(client: socket.socket) -> None:
    """Let TCP carry what was sent: its receiver may need a moment, and the kernel tells when it has it."""
    if client.family == socket.AF_INET:
        for _ in range(1000):
            outstanding = fcntl.ioctl(client, _SIOCOUTQ, b"\0\0\0\0")
            if not any(outstanding):
                return
            os.sched_yield()
