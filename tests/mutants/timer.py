"""Mutants of the timers: too early, out of order, out of time, and kept too long."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REACTOR = "impl/refloop/reactor.py"
TIMERS = "impl/refloop/timers.py"

TIMER_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="timer-early-by-the-resolution",
        clause="TIMER.FIRE.NEVER_EARLY",
        path=REACTOR,
        old="timers.due(self.clock())",
        new="timers.due(self.clock() + 15_600_000)",
        story="What is due within the clock's resolution fires: 15.6 ms early, where that is what it has.",
        report="https://github.com/python/cpython/issues/127859",
    ),
    Mutant(
        name="timer-deadline-rounded-down",
        clause="TIMER.FIRE.NEVER_EARLY",
        path=REACTOR,
        old="self.timers.arm(self.clock() + delay, callback, args)",
        new="self.timers.arm((self.clock() + delay) // 1_000_000 * 1_000_000, callback, args)",
        story="Deadlines are whole milliseconds, rounded down: a timer fires up to one of them early.",
        report="https://github.com/libuv/libuv/issues/4773",
    ),
    Mutant(
        name="timer-cancelled-too-late-in-its-phase",
        clause="TIMER.FIRE.NOT_AFTER_CANCEL",
        path=TIMERS,
        old="""        if timers is not None:
            if get_ident()""",
        new="""        if timers is None:
            return
        if timers.owner:
            if get_ident()""",
        story="A timer that has come due cannot be cancelled by one that fires before it in that phase.",
    ),
    Mutant(
        name="timer-equal-deadlines-reversed",
        clause="TIMER.ORDER.DEADLINE_THEN_ARMING",
        path=TIMERS,
        old="                bucket.sort(key=_DEADLINE)\n",
        new="                bucket.reverse()\n                bucket.sort(key=_DEADLINE)\n",
        story="Of equal deadlines, which only the order of arming tells apart, the last armed fires first.",
        report="https://github.com/tornadoweb/tornado/pull/1069",
    ),
    Mutant(
        name="timer-phase-without-snapshot",
        clause="TIMER.PHASE.SNAPSHOT",
        path=TIMERS,
        old="""                due.append(timer)
        self.surplus += len(taken) - 2 * len(due)
        return due
""",
        new="""                self.surplus -= 1
                yield timer
        if taken:
            yield from self.due(now)
""",
        story="The due timers are taken out one by one, those that the phase arms among them.",
    ),
    Mutant(
        name="timer-clock-read-once-a-turn",
        clause="TIMER.CLOCK.MONOTONIC_AT_CALL",
        path=REACTOR,
        old="        self.clock = kernel.clock\n",
        new="""        read = [-1, 0]

        def clock() -> int:
            if read[0] != self.turns:
                read[:] = [self.turns, kernel.clock()]
            return read[1]

        self.clock = clock
""",
        story="The loop's time is that of the turn's begin: what is armed late in a turn is due too soon.",
        report="https://github.com/joyent/libuv/issues/678",
    ),
    Mutant(
        name="timer-cancelled-entries-pile-up",
        clause="TIMER.CANCEL.RETAINS_LITTLE",
        path=TIMERS,
        old="SLACK: Final = 64\n",
        new="SLACK: Final = 1_000_000\n",
        story="Cancelled timers stay where they are until their deadlines.",
        report="https://github.com/apache/brpc/issues/3383",
    ),
    Mutant(
        name="timer-cancelled-keeps-its-callback",
        clause="TIMER.CANCEL.RETAINS_LITTLE",
        path=TIMERS,
        old="                timers.tidy()\n        self._callback = None\n",
        new="                timers.tidy()\n            return\n        self._callback = None\n",
        story="A cancelled timer holds its callback and arguments until it leaves its bucket.",
        report="https://github.com/python/asyncio/issues/186",
    ),
)
