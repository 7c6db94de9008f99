"""Which clause is broken along with another, and why: what a clause adds to the others is seen beside this.

A specification whose clauses say the same thing twice is longer than it is strong. So each clause that a run
can break is shown to add something: there is a run that it alone refuses. Some cannot be broken alone, since
what breaks them breaks another clause as well, by the meaning of both: a timer that fires after it was
cancelled is a result that is delivered a second time. Each such pair is declared here, once, with its
reason; what else breaks in a run is then no consequence, and the run shows nothing of what the clause adds.

A consequence is ``strict`` if no run breaks the one and keeps the other; otherwise it comes about in some of
the ways in which the one is broken. Consequences have consequences, and lead nowhere in a circle: two clauses
that imply each other are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Consequence(NamedTuple):
    """Where ``cause`` is broken, ``effect`` is too, ``because`` of what both mean."""

    cause: str
    effect: str
    because: str
    strict: bool = False


CONSEQUENCES: tuple[Consequence, ...] = (
    Consequence(
        "CALL.ASYNC.RESULT_AFTER_RETURN",
        "CALL.ASYNC.SETTLES_ONCE",
        "a result that is never delivered is not delivered exactly once",
        strict=True,
    ),
    Consequence(
        "CALL.SYNC.NEED_NOT_BLOCK",
        "CALL.NONBLOCKING.NEED_NOT_BE_ASYNC",
        "one call is the witness of both: it is nonblocking, and synchronous",
    ),
    Consequence(
        "CALL.BLOCKING.IMPLIES_SYNC",
        "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
        "the loop's thread is suspended in a call that one of its handlers makes",
    ),
    Consequence(
        "CALL.AWAIT.SUSPENDS_TASK_ONLY",
        "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT",
        "a task awaits in a turn, so a thread that is suspended for it is so between two waits",
    ),
    Consequence(
        "WAKE.POST.NEVER_SUSPENDS",
        "CALL.BLOCKING.IMPLIES_SYNC",
        "a post returns before its callback runs, so one that suspends its caller has blocked for nothing",
    ),
    Consequence(
        "WORK.SUBMIT.NEVER_SUSPENDS",
        "CALL.BLOCKING.IMPLIES_SYNC",
        "a submit returns before its job has ended, so one that suspends its caller has blocked for nothing",
    ),
    Consequence(
        "LOOP.DISPATCH.NOT_AFTER_DISARM",
        "LOOP.DISPATCH.LIVE_ONLY",
        "a registration whose disarm has returned is not live",
        strict=True,
    ),
    Consequence(
        "LOOP.HUP.HAS_A_CONSUMER",
        "LOOP.IDLE.MEANS_IDLE",
        "what nobody consumes ends each wait anew, while nothing runs",
    ),
    Consequence(
        "LOOP.WAIT.EARLY_RETURN_MOVES_NOTHING",
        "TIMER.FIRE.NEVER_EARLY",
        "a timer whose deadline has been moved forth fires before it",
    ),
    Consequence(
        "TIMER.FIRE.NOT_AFTER_CANCEL",
        "CALL.ASYNC.SETTLES_ONCE",
        "that a timer is withdrawn is its result, and a firing is another",
    ),
    Consequence(
        "TIMER.FIRE.NOT_AFTER_CANCEL",
        "TIMER.CANCEL.RETAINS_LITTLE",
        "a timer that fires after it was cancelled has kept its callback",
    ),
    Consequence(
        "WAKE.POST.NOT_LOST",
        "CALL.ASYNC.RESULT_AFTER_RETURN",
        "the result of a post is that its callback runs",
    ),
    Consequence(
        "WAKE.CHANNEL.ONE_BIT",
        "LOOP.IDLE.MEANS_IDLE",
        "a channel that says more than once that it was signalled ends waits that nothing is due for",
    ),
    Consequence(
        "RPC.BLOCKING.SUSPENDS_CALLER",
        "RPC.CALL.SETTLES_ONCE",
        "who does not wait for the reply has nothing to settle the call by",
    ),
    Consequence(
        "RPC.BLOCKING.SUSPENDS_CALLER",
        "RPC.STYLES.AGREE",
        "who does not wait for the reply comes to another result than those who do",
    ),
    Consequence(
        "WORK.RESULT.ON_LOOP_THREAD",
        "CALL.ASYNC.RESULT_AFTER_RETURN",
        "the result of a submit is the outcome of its job",
    ),
    Consequence(
        "WORK.CANCEL.KEEPS_WORKER_BUSY",
        "WORK.POOL.BOUNDED",
        "where the worker of an abandoned job is counted as free, one job more runs than there are workers",
    ),
    Consequence(
        "CORO.LIFE.TABLE",
        "CORO.OUTCOME.EXACTLY_ONE",
        "a task that ends a second time has a second outcome",
    ),
    Consequence(
        "CORO.LIFE.TABLE",
        "CORO.RESUME.ONCE_PER_WAKE",
        "a task that is resumed where its life has no step was not suspended",
    ),
    Consequence(
        "CORO.RUN.ONE_AT_A_TIME",
        "CORO.SWITCH.ONLY_AT_AWAIT",
        "a task into whose step another's has broken goes on after it",
        strict=True,
    ),
    Consequence(
        "CANCEL.UNDELIVERABLE.NO_SPIN",
        "LOOP.WAIT.TIMEOUT",
        "a loop that is kept running polls, and nothing is ready",
    ),
    Consequence(
        "CANCEL.UNDELIVERABLE.NO_SPIN",
        "LOOP.IDLE.MEANS_IDLE",
        "a loop that is kept running waits again and again, and nothing runs",
    ),
    Consequence(
        "FLOW.WRITE.KEEPS_SUFFIX",
        "STREAM.BYTES.PREFIX",
        "what is not the rest of the write, in order, is not what was sent next",
        strict=True,
    ),
    Consequence(
        "SERVER.THREAD.SHARES",
        "SERVER.ALL.SAME_ANSWERS",
        "who is not served has fewer answers than others would have given him",
    ),
    Consequence(
        "SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL",
        "SERVER.LOOP.ONE_THREAD",
        "a loop that serves while a handler blocks has a second thread",
    ),
    Consequence(
        "SERVER.ALL.SAME_ANSWERS",
        "ENV.PEER.ARBITRARY",
        "a wrong answer, and none where one is owed, is wrong whatever the others do",
        strict=True,
    ),
    Consequence(
        "FAIR.SLOW_READER.DELAYS_NOBODY",
        "SERVER.THREAD.SHARES",
        "a server with a thread a client promises the same of all others",
    ),
)


RESTATES: Mapping[str, str] = {"CORO.SWITCH.ONLY_AT_AWAIT": "CORO.RUN.ONE_AT_A_TIME"}
"""Clauses that say what another says, from the other side, and are broken by the same runs: no run can break
one alone. The step that begins inside another is refused by the one, the step that goes on after that by the
other. Kept for those who look for either promise under its own name."""


def consequences_of(id: str, consequences: Iterable[Consequence] = CONSEQUENCES) -> frozenset[str]:
    """The clauses that break with clause ``id``, and what breaks with those."""
    effects: dict[str, list[str]] = {}
    for each in consequences:
        effects.setdefault(each.cause, []).append(each.effect)
    found: set[str] = set()
    todo = [id]
    while todo:
        new = [effect for effect in effects.get(todo.pop(), ()) if effect not in found]
        found.update(new)
        todo += new
    return frozenset(found)


def alone(id: str, broken: Iterable[str]) -> bool:
    """Whether of the clauses that a run has ``broken`` it is ``id`` that it shows: all others follow."""
    others = set(broken)
    return id in others and others - {id} <= consequences_of(id)


def complaints(
    known: Iterable[str],
    kills: Mapping[str, Iterable[Iterable[str]]],
    consequences: Iterable[Consequence] = CONSEQUENCES,
) -> Iterator[str]:
    """A line for each consequence that is wrong: of no clause, in a circle, never shown, or contradicted.

    ``known`` are the ids of all clauses; ``kills`` holds by clause what each run breaks that was made to
    break that clause.
    """
    ids, told = set(known), tuple(consequences)
    runs = [frozenset(broken) for each in kills.values() for broken in each]
    for one, other in RESTATES.items():
        if any((one in broken) != (other in broken) for broken in runs):
            yield f"{one} says the same as {other}: a run has broken one of them and kept the other"
    for cause, effect, _, strict in told:
        if not {cause, effect} <= ids:
            yield f"{cause} breaks {effect}: one of them is no clause"
        elif cause in consequences_of(cause, told):
            yield f"{cause} is a consequence of itself"
        elif not any({cause, effect} <= set(broken) for broken in kills.get(cause, ())):
            yield f"{cause} breaks {effect}: no mutant of {cause} shows it"
        elif strict and any(cause in broken and effect not in broken for broken in runs):
            yield f"{cause} always breaks {effect}: a run has broken the one and kept the other"
