"""The crew: the jobs of a scenario on the workers of a loop, and how they are kept in step.

A job is the harness's own function on a thread of the loop's pool. It stops where the scenario says so, and
goes on when the script unblocks it: so the script says which worker is done first. All that is not a job is
the pool's affair, and happens at its own pace; hence after each thing that may set a worker going, whoever
did it waits until all other threads are at rest (:func:`settle`), and only then goes on. Two threads never
run at once, and none wants the interpreter's lock while the loop runs.

The loop itself may set workers going, several at a time and before anybody can wait for them. So a worker
that begins a job, or has the loop's answer, does nothing more than to report; it is let in when the others
are at rest, one after another, in an order that does not depend on who came first.

**At rest** is the kernel's account and not a matter of time: a thread rests if it sleeps, and if it goes on
sleeping the same sleep while this thread lets go of the interpreter's lock again and again. Looking into
/proc lets go of it each time, and whoever waits for the lock is woken then, one of them at least; that one
then is seen to run, or to sleep another sleep, at the latest when it is looked at for the second time after.
Whatever else may set a thread going is a thing that a running thread does. So three looks at everybody that
are the same say that nobody runs and nobody is about to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, TracebackType
from typing import NamedTuple, Protocol

from loopspec import trace
from loopspec.trace import Event, Outcome

_LOOKS = 3

_TASKS = Path("/proc/self/task")


class Told(Protocol):
    """The run that a crew belongs to."""

    @property
    def tell(self) -> Callable[[Event], None]: ...

    @property
    def turn(self) -> int: ...


class _Parked(NamedTuple):
    order: tuple[str, int]
    gate: threading.Lock


class _Held(NamedTuple):
    thread: str
    gate: threading.Lock


def settle() -> None:
    """Return when all other threads of this process are at rest."""
    looks, before = 0, None
    while looks < _LOOKS:
        now = _sleeps()
        looks = looks + 1 if now is not None and now == before else 1
        before = now


def _sleeps() -> dict[str, str] | None:
    """Which of its sleeps, as the kernel counts, each other thread is in; None if one is awake."""
    mine = str(threading.get_native_id())
    sleeps: dict[str, str] = {}
    for thread in os.listdir(_TASKS):  # noqa: PTH208 - the cost of a look is what a scenario costs
        if thread == mine:
            continue
        try:
            status = (_TASKS / thread / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None  # it has just ended: look again
        if "\nState:\tS" not in status:
            return None
        sleeps[thread] = status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]
    return sleeps


class Crew:
    """The jobs of one run; made on the loop's thread."""

    def __init__(self, run: Told) -> None:
        self.asking = 0
        """How many jobs wait for the loop: the loop may wake a worker at any time."""
        self._run = run
        self._loop = threading.get_ident()
        self._threads: dict[int, str] = {}
        self._seats: set[int] = set()
        self._parked: list[_Parked] = []
        self._held: list[_Held] = []
        self._fresh: list[str] = []
        self._jobs = 0
        self._begun: set[int] = set()
        self._open = False

    # -- jobs

    def new_job(self) -> int:
        """The number of another job."""
        self._jobs += 1
        return self._jobs - 1

    def thread(self) -> str:
        """The name of the calling thread: ``loop``, or that of a worker."""
        ident = threading.get_ident()
        return "loop" if ident == self._loop else self._threads.get(ident, "worker")

    @contextmanager
    def _at_work(self, order: tuple[str, int]) -> Iterator[str]:
        """Name the calling thread for the job that it does: by the lowest number that is not at work. Which
        of its idle threads takes a job is nothing that a pool, or the kernel, has to say."""
        ident = threading.get_ident()
        if ident == self._loop:
            yield "loop"
            return
        self._park(order)
        seat = next(number for number in count() if number not in self._seats)
        self._seats.add(seat)
        self._threads[ident] = f"worker {seat}"
        try:
            yield self._threads[ident]
        finally:
            self._seats.remove(seat)

    def _park(self, order: tuple[str, int]) -> None:
        """Report, and stop until it is let in."""
        if not self._open:
            parked = _Parked(order, threading.Lock())
            parked.gate.acquire()
            self._parked.append(parked)
            parked.gate.acquire()

    def job(self, number: int, body: Callable[[], str], ended: Callable[[], None]) -> str:
        """Do ``body`` as job ``number``, on the calling thread, and tell of it; ``ended`` is called when it
        is over."""
        with self._at_work(("job", number)) as thread:
            return self._do(number, thread, body, ended)

    def handler(self, stream: int, body: Callable[[], str]) -> None:
        """Do ``body`` as another job, a handler of ``stream``."""
        with self._at_work(("stream", stream)) as thread:
            job = self.new_job()
            self._run.tell(trace.Handle(stream, job))
            self._do(job, thread, body, lambda: self._run.tell(trace.Handled(stream, job)))

    def _do(self, number: int, thread: str, body: Callable[[], str], ended: Callable[[], None]) -> str:
        self._begun.add(number)
        self._run.tell(trace.JobStart(number, thread))
        outcome: Outcome = "error"
        value = ""
        try:
            value = body()
            outcome = "value"
            return value
        except Exception as error:
            value = named(error)
            raise
        finally:
            self._run.tell(trace.JobEnd(number, thread, outcome, value))
            ended()

    def tell_result(self, job: int, take: Callable[[], str]) -> None:
        """Tell that what ``take`` gives or raises has reached the one who waits for ``job``; or that the pool
        has refused it."""
        turn, thread = self._run.turn, self.thread()
        try:
            value = take()
        except Exception as error:
            if job not in self._begun:
                self._run.tell(trace.JobRefuse(turn, job, type(error).__name__))
                return
            traced = _leads_into(Crew._do.__code__, error.__traceback__)
            self._run.tell(trace.JobResult(turn, job, thread, "error", named(error), traced))
        else:
            self._run.tell(trace.JobResult(turn, job, thread, "value", value, traced=False))

    def hold(self) -> None:
        """In a job: stop until it is released. On the loop's own thread nobody could: there it goes on."""
        thread = self.thread()
        if self._open or thread == "loop":
            return
        held = _Held(thread, threading.Lock())
        held.gate.acquire()
        self._held.append(held)
        self._fresh.append(thread)
        held.gate.acquire()

    @contextmanager
    def asks(self, job: int) -> Iterator[bool]:
        """In a job: what is done inside waits for the loop. Whether there is still a loop to wait for."""
        self._run.tell(trace.JobAsk(job, self.thread()))
        self.asking += 1
        try:
            yield not self._open
        finally:
            self._park(("job", job))
            self.asking -= 1

    # -- the pace

    @property
    def holds(self) -> bool:
        """Whether a job waits for its release."""
        return bool(self._held)

    def settle(self) -> None:
        """Wait until the workers are at rest, and tell who is suspended in a job."""
        settle()
        while self._parked:
            first = min(self._parked, key=lambda parked: parked.order)
            self._parked.remove(first)
            first.gate.release()
            settle()
        fresh, self._fresh = self._fresh, []
        for thread in fresh:
            self._run.tell(trace.Suspend(thread))

    def release(self, index: int) -> None:
        """Let one of those that are held go on, the longest held being the first, and wait until all rest."""
        if self._held:
            held = self._held.pop(index % len(self._held))
            self._run.tell(trace.Resume(held.thread))
            held.gate.release()
            self.settle()

    def dismiss(self) -> None:
        """The run is over: no job stops any more."""
        self._open = True
        for gate in [parked.gate for parked in self._parked] + [held.gate for held in self._held]:
            gate.release()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell of each thread that ends by an exception."""

        def tell(args: threading.ExceptHookArgs) -> None:
            self._run.tell(trace.Uncaught(self.thread(), args.exc_type.__name__))

        before, threading.excepthook = threading.excepthook, tell
        try:
            yield
        finally:
            threading.excepthook = before


def named(error: BaseException) -> str:
    """What tells one error from another."""
    return str(error) or type(error).__name__


def _leads_into(code: CodeType, traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_code is code:
            return True
        traceback = traceback.tb_next
    return False
