"""Other people's loops: each adapter runs every family, and comes to the same verdict each time.

What is found out about a loop here was looked at, and shown by a script of that loop alone, before it was
written down.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance import scenario as s
from loopspec.conformance.adapter import IncompatibleError, World
from loopspec.conformance.campaign import Campaign, MakeLoop
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.isolation import Isolated
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.anyio import AnyioOnAsyncio, AnyioOnTrio
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.trio import TrioLoop
from loopspec.conformance.loops.uvloop import UvloopLoop
from loopspec.conformance.scenario import Scenario
from loopspec.judge import Judge, Verdict
from loopspec.trace import Event

SEED = 1
PEERS: dict[str, MakeLoop] = {"trio": TrioLoop, "uvloop": UvloopLoop}
PEERS |= {"anyio-asyncio": AnyioOnAsyncio, "anyio-trio": AnyioOnTrio}
with suppress(IncompatibleError):
    from loopspec.conformance.loops.curio import CurioLoop

    PEERS["curio"] = CurioLoop
JUDGED: dict[str, MakeLoop] = {"asyncio": AsyncioLoop, **PEERS}

#: The first job starts a thread, and Thread.start waits for the new thread: of a pool that is cold.
COLD = {"CALL.AWAIT.SUSPENDS_TASK_ONLY", "LOOP.THREAD.SUSPENDS_ONLY_IN_WAIT"}

#: What each breaks, with why; consequences of one behaviour stand together.
KNOWN: dict[str, set[str]] = {
    # A read or write that need not wait does not suspend; a getter that was woken finds the item taken.
    "curio": {"CORO.CHECKPOINT.ALWAYS_OR_NEVER", "PRIM.WAITERS.FIFO_NO_BARGING"}
    # And so an echo of 400,000 bytes that are there already goes round in one turn.
    | {"FAIR.DISPATCH.CAPPED"}
    # A condition's waiter that is cancelled while it takes the lock again leaves without it.
    | {"PRIM.CONDITION.HOLDS_LOCK", "CANCEL.EFFECT.DONE_OR_UNDONE"}
    | COLD,
    # Its streams, primitives and executor are asyncio's; add_reader replaces; no thread or child is refused.
    "uvloop": {"LOOP.WAITER.ONE_PER_DIRECTION", "LOOP.CLOSE.SETTLES_WAITERS", "LOOP.CLOSE.BEHIND_THE_BACK"}
    | {"LOOP.FORK.REFUSED", "LOOP.THREAD.OWNED", "WORK.POOL.NO_SELF_DEADLOCK", "LOOP.IDLE.MEANS_IDLE"}
    | {"CORO.CHECKPOINT.ALWAYS_OR_NEVER", "PRIM.WAITERS.FIFO_NO_BARGING", "CANCEL.REQUEST.NEVER_LOST"}
    | {"PRIM.HANDOFF.PASSES_ON", "LOOP.HUP.HAS_A_CONSUMER", *UvloopLoop.deviations}
    | {"CORO.TASK.STRONGLY_HELD"}
    | {*COLD, "WORK.SUBMIT.NEVER_SUSPENDS", "CALL.BLOCKING.IMPLIES_SYNC"}
    # call_later with a delay of nought is call_soon, and no timer: reported as MagicStack/uvloop issue 482.
    | {"TIMER.ORDER.DEADLINE_THEN_ARMING", "TIMER.PHASE.SNAPSHOT"},
    # A job on the only worker, which asks for a task, which asks for a job; a child's post wakes the parent;
    # what is queued while the queue is run leaves its byte in the channel, and the next wait returns for it;
    # one that was notified, and is cancelled while it takes the lock again, takes the notification along.
    "trio": {
        "PRIM.HANDOFF.PASSES_ON",
        "WORK.POOL.NO_SELF_DEADLOCK",
        "LOOP.FORK.REFUSED",
        "LOOP.IDLE.MEANS_IDLE",
        "WAKE.CHANNEL.ONE_BIT",
    }
    | {"FAIR.TASKS.STEPS_DIFFER_BY_ONE", *COLD},
}


# Those who were notified take the lock of the condition again in the order of trio's batch.
KNOWN["anyio-trio"] = KNOWN["trio"] | {"PRIM.WAITERS.FIFO_NO_BARGING"}
# Its scopes deliver from the loop's next turn on: a wait entered after the request may still succeed. And the
# limiter takes a token back when the one who waits is cancelled, while the thread goes on.
KNOWN["anyio-asyncio"] = KNOWN["uvloop"] - set(UvloopLoop.deviations) - {"TIMER.PHASE.SNAPSHOT"} | {
    "WORK.CANCEL.KEEPS_WORKER_BUSY",
    "WORK.POOL.BOUNDED",
}


@pytest.fixture
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def traced(other: Hand, make: MakeLoop, scenario: Scenario) -> list[Event]:
    events: list[Event] = []
    Lockstep(other, scenario, events.append).run(make)
    return events


TALK = Scenario(
    2,
    False,
    False,
    (
        s.Spawn((s.Receive(0, 8), s.SendAll(0, 3), s.Sleep(2), s.Checkpoint(1))),
        s.Spawn((s.Put(0), s.Get(0), s.Hold("lock", 0, (s.Checkpoint(2),)), s.Join(0), s.Operate(1, False))),
        s.Spawn((s.WaitEvent(0),)),
        s.Later(1, ()),
        s.Watch(1, "read", 1, ()),
        s.CancelTask(2),
    ),
    (s.At(2, False, s.Send(0, 5)), s.At(1, True, s.Post(2, ())), s.At(0, True, s.Elapse())),
)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_runs_what_it_has_and_is_not_asked_for_what_it_does_not_have(other: Hand, name: str) -> None:
    make = PEERS[name]
    events = traced(other, make, TALK)
    shown = {type(event).__name__ for event in events}
    assert {"Step", "Await", "Read", "Write", "Receive", "Joined", "Rest", "Post", "Quiescent"} <= shown
    assert shown & {"TimerArm", "Arm", "TimersHeld"} <= make.shows
    outcomes = {event.task: event.outcome for event in events if isinstance(event, trace.Done)}
    assert outcomes == {0: "value", 1: "value", 2: "cancelled"}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_echoes(other: Hand, name: str) -> None:
    scenario = Scenario(1, False, True, (), (s.At(2, False, s.Send(0, 5)), s.At(1, True, s.Finish(0, 5))))
    events = traced(other, PEERS[name], scenario)
    received = b"".join(event.data for event in events if isinstance(event, trace.Receive))
    assert received == b"abcdefghij"


@pytest.mark.full
@pytest.mark.parametrize("name", PEERS)
def test_nothing_is_held_against_a_peer_but_what_was_looked_at(other: Hand, name: str) -> None:
    make = PEERS[name]
    assert isinstance(make, type)
    with Isolated(f"{make.__module__}:{make.__name__}") as isolated:
        judged = Campaign(name, make, select(), other, isolated=isolated)
        judged.look(600, SEED, lambda _: None)
    bad = {Verdict.FAIL, Verdict.LOOSE}
    found = {entry.clause for entry in judged.result().clauses.values() if entry.verdict in bad}
    assert found <= KNOWN[name]
    accidents = {accident.words.partition(":")[0] for accident in judged.result().accidents}
    assert accidents <= ({"raised KeyError"} if name == "curio" else set())


def drawn(count: int) -> list[Scenario]:
    """The first scenarios of each family, always the same."""
    found: list[Scenario] = []

    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    for family in FAMILIES.values():

        @seeded(SEED)
        @settings(
            max_examples=count,
            phases=(Phase.generate,),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(family.scenarios)
        def draw(scenario: Scenario) -> None:
            found.append(scenario)

        draw()
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", JUDGED)
def test_the_same_token_gives_the_same_verdict_twenty_times_out_of_twenty(name: str) -> None:
    """In two processes, whose hashes have different seeds, and of every family."""
    make = JUDGED[name]
    judge = Judge(select(), make.shows)
    assert isinstance(make, type)
    tokens = [s.token_of(scenario) for scenario in drawn(6)[5::6]]
    verdicts: dict[str, set[tuple[str, ...]]] = {token: set() for token in tokens}
    for _ in range(2):
        with Isolated(f"{make.__module__}:{make.__name__}") as isolated:
            for token in tokens * 10:
                ran = isolated(s.scenario_of(token))
                judge.restart()
                for event in ran.events:
                    judge.after(event)
                broken = {violation.clause for violation in judge.violations}
                verdicts[token].add((*sorted(broken), (ran.accident or "").partition("<")[0]))
    assert {token: found for token, found in verdicts.items() if len(found) > 1} == {}
    assert len({verdict for found in verdicts.values() for verdict in found}) > 1, (
        "what fails, and what passes"
    )


def code_of(path: Path) -> int:
    """Lines of code: what is neither blank, nor a comment, nor a docstring."""
    source = path.read_text()
    said: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            said |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(
        1
        for number, line in lines
        if number not in said and line.strip() and not line.strip().startswith("#")
    )


@pytest.mark.parametrize("name", PEERS)
def test_an_adapter_has_at_most_200_lines_of_code(name: str) -> None:
    module = import_module(f"loopspec.conformance.loops.{name.partition('-')[0]}")
    assert code_of(Path(str(module.__file__))) <= 200


@pytest.mark.parametrize("make", [AnyioOnAsyncio, AnyioOnTrio])
def test_what_is_judged_of_anyio_is_its_own(make: type[AnyioOnAsyncio | AnyioOnTrio]) -> None:
    """And not that of the loop beneath, from which its adapter is made."""
    made: list[AnyioOnAsyncio | AnyioOnTrio] = []

    def kept(world: World) -> AnyioOnAsyncio | AnyioOnTrio:
        made.append(make(world))
        return made[0]

    with hand() as other:
        Lockstep(other, Scenario(0, False, False, (), ()), lambda _: None).run(kept)
    for operation in ("group", "scope", "primitives", "sleep", "to_thread"):
        assert getattr(made[0], operation).__module__ == "loopspec.conformance.loops.anyio", operation


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
