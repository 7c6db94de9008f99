"""The speed of the tools that read what loops have done, and of the one that looks through all they could do.

The judge has every rule on and reads the busiest run that keeps them all, :mod:`tests.spec.busy`: hundreds of
streams, tasks and timers at once, and no event that it could pass over. A rule that nothing there concerns,
as those of servers and of task groups, is on, and is not turned to. The search goes through the states of
finite models, handlers as data, of each discipline one, larger than those that the gate searches; its time is
that of the whole search, from the first state to the word that nobody starves. Both run in this process, and
what is measured is the process's own time, so that it means something on a busy machine as well.
"""

from __future__ import annotations

import time
from typing import Final

from loopspec.clause import register
from loopspec.judge import Judge
from loopspec.starvation import lock, pool, reactor, scheduler, search
from loopspec.trace import EVENTS
from tests.spec.busy import Busy

EVENTS_JUDGED: Final = 100_000
LIVE: Final = 300
"""Streams with handlers, tasks and timers that live at once."""

SIZE: Final = 6
"""Descriptors and tasks of the models that are searched."""

SMALL: Final = 3


def seconds_an_event(rounds: int, events: int) -> list[float]:
    """Processor time of the judge for an event, with every rule on, in seconds; one figure a round."""
    trace = list(Busy(LIVE, 0).events(events))
    found = []
    for _ in range(rounds):
        judge = Judge(register().values(), frozenset(EVENTS))
        begin = time.process_time()
        judge.read(trace)
        found.append((time.process_time() - begin) / len(trace))
        assert not judge.violations
    return found


def seconds_a_transition(rounds: int, size: int) -> list[float]:
    """Processor time of the search for a transition of its graph, in seconds; one figure a round."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        searched = (
            search(reactor(size, size // 2)),
            search(scheduler(size)),
            search(lock(size + 1)),
            search(pool(size + 1, size // 2)),
        )
        took = time.process_time() - begin
        assert all(each.starvation is None for each in searched)
        found.append(took / sum(each.graph.transitions for each in searched))
    return found
