"""ENV: what is asked of the world, so that the rest of the specification can be asked of a loop.

No loop keeps its promises in a world that keeps none: under a clock that runs backwards nobody can say which
timer is late. So each assumption is written down as a clause, and each has a rule that reads the same trace
and says whether the world kept it in this run. What breaks it is a fault of the world, and what else breaks
in that run is no news of the loop. A test drops each of them and shows which other clause fails then: an
assumption that nothing needs would be none.

The last one is the other way round. Of a client nothing is assumed, so that there is nothing that it could
break; whoever breaks it is a server that has relied on some good manners of its clients.

That the kernel keeps the EPOLL clauses is held against the model of it elsewhere (``loopspec kernel``). What
a trace of a loop can say is less: that nothing that poll(2) finds ready was missing in a wait that had room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from loopspec.clause import Kind, Level, Profile, clause
from loopspec.frozen import Map, value
from loopspec.judge import Broken, Kept, Progress
from loopspec.server import ALSO, ARCHITECTURES, OPENS, WATCHES, ServerRule
from loopspec.trace import (
    AtRest,
    Await,
    Dispatch,
    Done,
    Event,
    HalfClose,
    HandlerEnd,
    Hang,
    JobAsk,
    JobEnd,
    JobStart,
    Leave,
    Polled,
    Quiescent,
    Receive,
    Reset,
    Run,
    Send,
    Step,
    StopReading,
    TimerArm,
    TimerFire,
    Uncaught,
    WaitReturn,
    Worked,
)


@clause(
    "ENV.CLOCK.MONOTONIC",
    Level.MUST,
    Kind.ASSUME,
    Profile.LOOP,
    source="clock_gettime(2) CLOCK_MONOTONIC",
    watches=dict.fromkeys((WaitReturn, TimerArm, TimerFire)),
    also={Step: None, Worked: None},
)
@value
class ClockMonotonic:
    """The clock does not run backwards."""

    # The premise is that it runs at all.

    latest: int | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case WaitReturn(at=at) | TimerArm(at=at) | TimerFire(at=at) | Step(at=at) | Worked(at=at):
                return self._reads(at)
            case _:
                return self

    def _reads(self, at: int) -> Progress:
        if self.latest == at:
            return self
        after = ClockMonotonic(at)
        if self.latest is None:
            return after
        if at > self.latest:
            return Kept(after)
        return Broken(f"an instant from {self.latest} ns on", f"it is {at} ns", after)


@clause(
    "ENV.HANDLER.TERMINATES",
    Level.MUST,
    Kind.ASSUME,
    Profile.LOOP,
    source="cooperative scheduling",
    watches={HandlerEnd: None},
    also=dict.fromkeys((Dispatch, TimerFire, Run, Step, Await, Done, Hang)),
)
@value
class HandlerTerminates:
    """A handler returns or suspends after finitely many steps."""

    # Finitely many is not a number that a trace could exceed. That one does not end is said by the kernel's
    # account: it is suspended where nothing will come, or has used up what the rest of its run would need.

    within: Dispatch | TimerFire | Run | Step | None = None

    def after(self, event: Event) -> Progress:
        match event:
            case HandlerEnd() | Await() | Done():
                return _TERMINATED
            case Dispatch() | TimerFire() | Run() | Step():
                return HandlerTerminates(event)
            case Hang(thread="loop") if self.within is not None:
                return Broken(f"{_within(self.within)} ends", "it does not", None)
            case _:
                return self


_TERMINATED = Kept(None)


def _within(start: Dispatch | TimerFire | Run | Step) -> str:
    match start:
        case Dispatch(registration=registration):
            return f"the handler of registration {registration}"
        case TimerFire(timer=timer):
            return f"the handler of timer {timer}"
        case Run(callback=callback):
            return f"callback {callback}"
        case Step(task=task):
            return f"the step of task {task}"
        case _:
            assert_never(start)


@clause(
    "ENV.KERNEL.REPORTS",
    Level.MUST,
    Kind.ASSUME,
    Profile.LOOP,
    source="epoll(7)",
    watches={Polled: None, WaitReturn: None},
)
@value
class KernelReports:
    """The kernel keeps the EPOLL clauses."""

    ready: tuple[tuple[int, int], ...] = ()

    def after(self, event: Event) -> Progress:
        match event:
            case Polled(ready=ready):
                return KernelReports(ready)
            case WaitReturn(batch=batch) if self.ready:
                return self._held_against(batch)
            case _:
                return self

    def _held_against(self, batch: tuple[tuple[int, int], ...]) -> Progress:
        for fd, mask in self.ready:
            reported = 0
            for other, found in batch:
                reported |= found if other == fd else 0
            if mask & ~reported:
                return Broken(
                    f"a report of fd {fd} with mask {mask:#x}: it is ready",
                    f"with mask {reported:#x}" if reported else "there is none",
                    None,
                )
        return Kept(None)


@clause(
    "ENV.WORKER.PROGRESSES",
    Level.MUST,
    Kind.ASSUME,
    Profile.POOL,
    source="worker threads",
    watches=dict.fromkeys((JobStart, JobEnd, Quiescent)),
    also={JobAsk: None, Uncaught: None},
)
@value
class WorkerProgresses:
    """A running job ends, or its worker is counted as lost."""

    # A job that asks the loop does not run meanwhile, and is the loop's to wake.

    running: Map[int, str] = Map()

    def after(self, event: Event) -> Progress:
        match event:
            case JobStart(job=job, thread=thread):
                return WorkerProgresses(self.running.put(job, thread))
            case JobEnd(job=job):
                return Kept(WorkerProgresses(self.running.drop(job)))
            case JobAsk(job=job):
                return WorkerProgresses(self.running.drop(job))
            case Uncaught(thread=thread):
                lost = [job for job, on in self.running.items() if on == thread]
                return WorkerProgresses(self.running.drop_all(lost))
            case Quiescent() if self.running:
                named = ", ".join(f"job {job} on {self.running[job]}" for job in sorted(self.running))
                return Broken("all jobs have ended", f"nothing more happens, and {named} runs", None)
            case _:
                return self


@clause(
    "ENV.PEER.ARBITRARY",
    Level.MUST,
    Kind.ASSUME,
    Profile.SERVER,
    source="the network",
    watches=WATCHES,
    also=ALSO,
    opens=OPENS,
)
@dataclass(frozen=True)
class PeerArbitrary(ServerRule):
    """Nothing is assumed of a client: it may send, stay silent, stop reading, half-close or reset at any
    moment."""

    # Broken by a server that one of these brings to its end, or has it dismiss somebody or stop serving.

    binds = frozenset(ARCHITECTURES)
    acted: bool = False  # since the last rest

    def sees(self, event: Event) -> Progress:
        match event:
            case Receive() if self.world.wrong is not None:
                return Broken("what the protocol says, whatever clients do", self.world.wrong, self)
            case Send() | StopReading() | HalfClose() | Leave() | Reset():
                return replace(self, acted=True)
            case _:
                return self

    def broken(self, rest: AtRest) -> tuple[str, str] | None:
        if not rest.processes:
            return "a server that goes on, whatever clients do", "it has ended"
        return None if self.may_starve() else self.delayed()

    def exercised(self) -> bool:
        return self.acted

    def at_rest(self, rest: AtRest) -> Progress:
        match super().at_rest(rest):
            case Kept(next=PeerArbitrary() as next):
                return Kept(replace(next, acted=False))
            case other:
                return other
