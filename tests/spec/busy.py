"""A busy run, told without a loop: what the judge's speed is measured on.

Hundreds of streams, tasks and timers live at once; a turn is some sixty events of many kinds, and keeps
every clause. Run as a program it prints how many events a second are judged, with every rule on.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from loopspec.clause import register
from loopspec.judge import Judge
from loopspec.trace import (
    EVENTS,
    Arm,
    Await,
    Begin,
    Connect,
    Disarm,
    Dispatch,
    End,
    Enqueue,
    Event,
    HandlerEnd,
    Post,
    Read,
    Receive,
    Run,
    Send,
    Spawn,
    Step,
    Suspend,
    TimerArm,
    TimerCancel,
    TimerFire,
    WaitBegin,
    WaitReturn,
    Write,
)

IN = 1
MILLISECOND = 1_000_000


class Busy:
    """A loop that serves ``size`` streams with handlers, and as many with tasks, and holds as many timers."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.random = random.Random(seed)
        self.turn = 0
        self.now = 0
        self.timers: list[tuple[int, int]] = []  # deadline, timer: as they ought to fire
        self.armed = 0
        self.callbacks = 0
        self.registrations = list(range(size))

    def events(self, count: int) -> Iterator[Event]:
        """At least ``count`` events, in whole turns."""
        told = 0
        for event in self._start():
            told += 1
            yield event
        while told < count:
            for event in self._turn():
                told += 1
                yield event

    def _start(self) -> Iterator[Event]:
        for stream in range(2 * self.size):
            yield Connect(stream, echo=False)
        for stream in range(self.size):
            yield Arm(0, stream, stream, stream, "read")
            yield self._timer(3_600_000 + self.random.randrange(1000))
            yield Spawn(0, stream)
        yield WaitBegin(0, 0)
        self.turn = 1
        yield WaitReturn(1, 0, (), 1024)
        for task in range(self.size):
            yield Step(1, task, 0)
            yield Begin(1, task, "receive")
            yield Await(1, task, "read", self.size + task)

    def _timer(self, delay: int) -> TimerArm:
        timer, self.armed = self.armed, self.armed + 1
        deadline = self.now + delay * MILLISECOND
        self.timers.append((deadline, timer))
        self.timers.sort()
        return TimerArm(self.turn, timer, self.now, delay * MILLISECOND, deadline)

    def _turn(self) -> Iterator[Event]:
        active = self.random.sample(range(self.size), 3)
        tasks = self.random.sample(range(self.size), 3)
        yield WaitBegin(self.turn, self.timers[0][0] - self.now)
        yield Suspend("loop")
        for stream in (*active, *(self.size + task for task in tasks)):
            yield Send(stream, b"request")
        self.turn += 1
        self.now += MILLISECOND
        numbers = (*active, *(self.size + task for task in tasks))
        yield WaitReturn(self.turn, self.now, tuple((number, IN) for number in numbers), 1024)
        yield from self._handlers(active)
        yield from self._due()
        yield from self._steps(tasks)
        yield from self._callback()
        for number in numbers:
            yield Receive(number, b"request")

    def _handlers(self, active: list[int]) -> Iterator[Event]:
        for stream in active:
            yield Dispatch(self.turn, self.registrations[stream], stream)
            yield Read(self.turn, stream, b"request")
            yield Write(self.turn, stream, b"request")
            yield HandlerEnd(self.turn, None)
        again = active[0]
        yield Disarm(self.turn, self.registrations[again], again)
        self.registrations[again] = self.size + self.turn
        yield Arm(self.turn, self.registrations[again], again, again, "read")

    def _due(self) -> Iterator[Event]:
        while self.timers[0][0] <= self.now:
            _, timer = self.timers.pop(0)
            yield TimerFire(self.turn, timer, self.now)
            yield HandlerEnd(self.turn, None)
        yield self._timer(1)
        yield self._timer(3_600_000)
        _, cancelled = self.timers.pop(self.random.randrange(len(self.timers)))
        yield TimerCancel(self.turn, cancelled, retained=False)

    def _steps(self, tasks: list[int]) -> Iterator[Event]:
        for task in tasks:
            stream = self.size + task
            yield Step(self.turn, task, self.now)
            yield End(self.turn, task, "receive", "value")
            yield Read(self.turn, stream, b"request")
            yield Write(self.turn, stream, b"request")
            yield Begin(self.turn, task, "receive")
            yield Await(self.turn, task, "read", stream)

    def _callback(self) -> Iterator[Event]:
        pair = self.callbacks, self.callbacks + 1
        for callback in pair:
            yield Enqueue(self.turn, callback)
        for callback in pair:
            yield Run(self.turn, callback)
            yield HandlerEnd(self.turn, None)
        if self.turn % 8 == 0:
            yield Post(self.turn, self.callbacks + 1_000_000, "poster")
            yield Run(self.turn, self.callbacks + 1_000_000)
            yield HandlerEnd(self.turn, None)
        self.callbacks += 2


def main(count: int = 100_000, size: int = 300) -> None:
    """Print how fast a trace of ``count`` events is judged, with ``size`` live things of each kind.

    In events a second of this process's own time: what else the machine does is not the judge's.
    """
    events = list(Busy(size, 0).events(count))
    judge = Judge(register().values(), frozenset(EVENTS))
    begin = time.process_time()
    judge.read(events)
    took = time.process_time() - begin
    sys.stdout.write(f"{len(events) / took:,.0f} events/s, {len(judge.violations)} violations\n")


if __name__ == "__main__":
    main()
