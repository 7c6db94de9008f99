"""Scopes: what a search goes through.

A scope is a few cases, each a scenario on a kernel, with the schedule left open. The small ones are written
here by hand, small enough to be played to the end, and large enough for what can go wrong: more data than one
read takes, more than one who waits, a cancellation that meets a result. Every family of scenarios is a scope
besides, of so many scenarios as Hypothesis draws of it; those are too large to be exhausted.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from loopspec.conformance import scenario as s
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.modelled import Case, fitted, kinds_for
from loopspec.conformance.result import UsageError
from loopspec.conformance.scenario import At, Scenario

DRAWN = 8
"""Scenarios of a family that make its scope; each comes on every kernel that it can run on."""


@dataclass(frozen=True)
class Scope:
    """``story`` says in a line what is in it."""

    name: str
    story: str
    cases: tuple[Case, ...]


def _asleep(*acts: s.Act) -> tuple[At, ...]:
    """``acts``, which come while the loop sleeps, unless the schedule says otherwise."""
    return tuple(At(0, True, act) for act in acts)


def _streams(count: int, program: s.Program, *acts: s.Act) -> Scenario:
    return Scenario(count, False, False, program, _asleep(*acts))


def _jobs(workers: int, program: s.Program, *acts: s.Act) -> Scenario:
    return Scenario(0, False, False, program, _asleep(*acts), workers)


_READER: Final = s.Spawn((s.Receive(0, 1), s.Receive(0, 1)))
_CLOSER: Final = s.Later(1, (s.Close(0),))
_AT_ONCE: Final = s.Later(0, ())
_FAILS: Final = s.StartChild(0, (s.Fail(),))
_FAILS_LATER: Final = s.StartChild(0, (s.Checkpoint(1), s.Fail()))
_WAITS: Final = s.StartChild(0, (s.WaitEvent(0),))
_JOB: Final = s.Spawn((s.ToThread(()),))
_PUTS: Final = s.Spawn((s.Put(0), s.Put(1)))

SMALL: Final[Mapping[str, Scope]] = {
    scope.name: scope
    for scope in (
        Scope(
            "three-clients",
            "an echo server, and three clients that send two bytes each",
            (Case(Scenario(3, False, True, (), _asleep(*(s.Send(client, 2) for client in range(3))))),),
        ),
        Scope(
            "two-handlers",
            "two streams, of which handlers take a byte at a time, and two bytes for each",
            (
                Case(
                    _streams(
                        2,
                        tuple(s.Watch(stream, "read", 2, (s.Take(0, 1),)) for stream in range(2)),
                        s.Send(0, 2),
                        s.Send(1, 2),
                    )
                ),
            ),
        ),
        Scope(
            "short-writes",
            "a task that sends six bytes through a buffer of four, which takes as many as it likes",
            (Case(_streams(1, (s.Spawn((s.SendAll(0, 6),)),)), "short"),),
        ),
        Scope(
            "posts-and-timers",
            "two timers, and two threads' posts, before, between and after them",
            (Case(_streams(0, (s.Later(1, ()), s.Later(2, ())), s.Post(1, ()), s.Post(1, ()))),),
        ),
        Scope(
            "cancelled-reader",
            "a task that reads while its client sends, and is cancelled by another thread",
            (
                Case(_streams(1, (_READER,), s.Send(0, 2), s.Post(1, (s.CancelTask(0),)))),
                Case(_streams(1, (_READER,), s.Send(0, 1), s.Post(1, (s.CancelTask(0),))), "faulty"),
            ),
        ),
        Scope(
            "closed-reader",
            "a task that reads while its client sends and leaves, and is closed under it",
            (Case(_streams(1, (_READER,), s.Send(0, 1), s.Post(1, (s.Close(0),)), s.Leave(0))),),
        ),
        Scope(
            "lock",
            "three tasks at a lock, one of which is cancelled while another holds it",
            (
                Case(
                    _streams(
                        0,
                        tuple(s.Spawn((s.Hold("lock", 0, (s.WaitEvent(0),)),)) for _ in range(3)),
                        s.Post(1, (s.SetEvent(0),)),
                        s.Post(1, (s.CancelTask(1),)),
                    )
                ),
            ),
        ),
        Scope(
            "queue",
            "two who get from a queue and one who puts, and a cancellation",
            (
                Case(
                    _streams(
                        0,
                        (s.Spawn((s.Get(0),)), s.Spawn((s.Get(0),)), s.Spawn((s.WaitEvent(0), s.Put(0)))),
                        s.Post(1, (s.SetEvent(0),)),
                        s.Post(1, (s.CancelTask(0),)),
                    )
                ),
            ),
        ),
        Scope(
            "deadline",
            "a task in a scope whose deadline meets what it waits for",
            (
                Case(
                    _streams(
                        0,
                        (s.Spawn((s.Within(2, (s.WaitEvent(0),)), s.Checkpoint(1))), s.Later(2, ())),
                        s.Post(1, (s.SetEvent(0),)),
                        s.Post(1, (s.CancelTask(0),)),
                    )
                ),
            ),
        ),
        Scope(
            "closed-by-a-timer",
            "a task that reads, one that sends more than there is room for, and a timer that closes on them",
            (
                Case(_streams(1, (_READER, _CLOSER), s.Send(0, 1), s.Leave(0))),
                Case(
                    _streams(1, (s.Spawn((s.SendAll(0, 5),)), _CLOSER), s.StopReading(0)),
                    "short",
                ),
            ),
        ),
        Scope(
            "timers-in-timers",
            "timers of one instant that fail, cancel each other and arm more, and posts that do",
            (
                Case(
                    _streams(
                        0,
                        (
                            s.Later(0, (_AT_ONCE, s.CancelTimer(0), s.Later(0, ()))),
                            s.Later(0, (s.Fail(),)),
                            _AT_ONCE,
                        ),
                        s.Post(1, (s.CancelTimer(0),)),
                        s.Post(1, (s.Later(0, ()),)),
                    )
                ),
                Case(
                    _streams(
                        0,
                        (s.Later(0, (s.Later(0, (s.CancelTimer(0),)), s.Later(0, ()))), s.Work(0)),
                        s.Post(1, ()),
                    )
                ),
            ),
        ),
        Scope(
            "posts-that-come-at-once",
            "callbacks, and three posts of one thread, two of them together",
            (
                Case(
                    _streams(
                        0, (s.Soon((s.Soon(()),)),), s.Post(2, (s.Soon(()),)), s.Post(1, ()), s.Post(1, ())
                    )
                ),
            ),
        ),
        Scope(
            "failing-groups",
            "a group whose children fail and wait, groups within groups, and a cancellation",
            (
                Case(_streams(0, (s.Spawn((s.Group((_FAILS, _WAITS)),)),), s.Post(1, ()))),
                Case(
                    _streams(
                        0,
                        (s.Spawn((s.Group((_FAILS, _WAITS, _FAILS)),)),),
                        s.Post(1, (s.SetEvent(0),)),
                        s.Post(1, (s.CancelTask(0),)),
                    )
                ),
                Case(
                    _streams(
                        0,
                        (
                            s.Spawn(
                                (s.Group((_FAILS,)), s.Group((_FAILS_LATER, s.Group((_WAITS,))))),
                            ),
                            s.Spawn((s.Group((_FAILS_LATER, s.Group((_FAILS_LATER,)))),)),
                        ),
                        s.Post(1, (s.SetEvent(0),)),
                        s.Post(1, (s.CancelTask(0),)),
                    )
                ),
            ),
        ),
        Scope(
            "two-queues",
            "those who put into two queues of one and those who get from them, and a cancellation",
            (
                Case(
                    _streams(
                        0,
                        (_PUTS, s.Spawn((s.Get(1),)), _PUTS, s.Spawn((s.Get(0), s.Get(1)))),
                        s.Post(1, (s.CancelTask(2),)),
                        s.Post(1, (s.Spawn((s.Get(0),)), s.Spawn((s.Put(0),)))),
                    )
                ),
            ),
        ),
        Scope(
            "registered-again",
            "a handler of one byte whose end is met by another that reads, and by posts",
            (
                Case(
                    _streams(
                        1,
                        (s.Watch(0, "read", 1, (s.Take(0, 64),)),),
                        s.Send(0, 1),
                        s.Post(1, (s.Take(0, 1),)),
                        s.Post(1, (s.Watch(0, "read", 1, (s.Take(0, 1),)),)),
                        s.Send(0, 1),
                    )
                ),
            ),
        ),
        Scope(
            "two-readers",
            "two tasks that read one stream a byte at a time, and what comes is snatched from them",
            (
                Case(
                    _streams(
                        1, (s.Spawn((s.Receive(0, 1),)), _READER), s.Send(0, 2), s.Snatch(0), s.Send(0, 1)
                    ),
                    "faulty",
                ),
            ),
        ),
        Scope(
            "asked-and-cancelled",
            "a remote call that is cancelled as it is made, one that times out and one that is answered",
            (
                Case(
                    _streams(
                        0,
                        (
                            s.Later(0, (s.Ask(0, 1, ()), s.CancelAsk(0))),
                            s.Spawn((s.AwaitReply(1, 2),)),
                        ),
                        s.Answer(0, 0, "value"),
                        s.Answer(1, 0, "value"),
                    )
                ),
            ),
        ),
        Scope(
            "cancelled-at-once",
            "tasks that take a lock and a semaphore, and are cancelled by one that runs in the same turn",
            (
                Case(
                    _streams(
                        0,
                        (
                            s.Spawn((s.Hold("lock", 0, ()),)),
                            s.Spawn((s.Hold("semaphore", 0, ()),)),
                            s.Spawn((s.CancelTask(1),)),
                        ),
                        s.Post(1, (s.CancelTask(0),)),
                        s.Post(1, ()),
                    )
                ),
            ),
        ),
        Scope(
            "jobs-on-one-worker",
            "jobs that block the one worker, others that wait for it or for themselves, and a cancellation",
            (
                Case(
                    _jobs(
                        1, (s.Submit((s.Block(),)), _JOB, _JOB), s.Unblock(0), s.Post(1, (s.CancelTask(0),))
                    )
                ),
                Case(_jobs(1, (s.Spawn((s.ToThread((s.Block(),)),)), _JOB, _JOB), s.Unblock(0))),
                Case(
                    _jobs(
                        1,
                        (
                            s.Spawn((s.ToThread(()), s.CancelTask(1))),
                            s.Spawn((s.ToThread((s.AskLoop((s.ToThread(()),)),)),)),
                        ),
                        s.Post(1, ()),
                    )
                ),
            ),
        ),
        Scope(
            "a-handler-on-two-workers",
            "a stream that is handled by workers, and three bytes for it",
            (
                Case(
                    Scenario(
                        1,
                        False,
                        False,
                        (s.HandleOnWorkers(0, 1),),
                        (*(At(0, False, s.Send(0, 1)) for _ in range(2)), At(0, True, s.Send(0, 1))),
                        2,
                    )
                ),
            ),
        ),
    )
}


def _wide() -> Scope:
    cases = (case for scope in SMALL.values() for case in scope.cases if not case.scenario.workers)
    every = (Case(fitted(case.scenario, kind), kind) for case in cases for kind in kinds_for(case.scenario))
    story = "every small scope without threads, on every kernel that it can run on"
    return Scope("wide", story, tuple(dict.fromkeys(every)))


WIDE: Final = _wide()
"""Too large to be exhausted as a whole: however many schedules there is time for have something to find."""


def drawn(name: str, seed: int, count: int = DRAWN) -> Scope:
    """The scope of the family ``name``, of ``count`` scenarios."""
    family = FAMILIES[name]
    found: list[Scenario] = []

    @hypothesis.seed(seed ^ zlib.crc32(name.encode()))
    @settings(
        max_examples=2 * count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(family.scenarios)
    def draw(scenario: Scenario) -> None:
        found.append(scenario)

    draw()
    # The first that are drawn are the simplest; those with something to order are the ones with a script.
    chosen = sorted(dict.fromkeys(found), key=lambda each: len(each.script), reverse=True)[:count]
    cases = tuple(Case(fitted(each, kind), kind) for each in chosen for kind in kinds_for(each))
    return Scope(name, f"{len(chosen)} scenarios of the family {name}", cases)


def named(names: tuple[str, ...], seed: int) -> Scope:
    """The scopes ``names`` as one; all small ones and all families if there are none. :data:`WIDE` is one to
    be named.

    Raises :class:`UsageError` for a name that is no scope's.
    """
    known = {**SMALL, WIDE.name: WIDE}
    for name in names:
        if name not in known and name not in FAMILIES:
            raise UsageError(f"no scope is named {name!r}: there are {', '.join((*known, *FAMILIES))}")
    chosen = [known[name] if name in known else drawn(name, seed) for name in names or (*SMALL, *FAMILIES)]
    return chosen[0] if len(chosen) == 1 else together(" ".join(names) or "all", chosen)


def together(name: str, scopes: Sequence[Scope]) -> Scope:
    """All of ``scopes`` as one."""
    return Scope(name, f"{len(scopes)} scopes", tuple(case for scope in scopes for case in scope.cases))
