"""Remote calls in lockstep: every answer a service can give, and one program in three forms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loopspec import trace
from loopspec.clause import select
from loopspec.conformance import scenario as s
from loopspec.conformance.families import FAMILIES
from loopspec.conformance.lockstep import Hand, Lockstep, hand
from loopspec.conformance.loops.asyncio import AsyncioLoop
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.scenario import Answering, Ask, At, Dialogue, Plan, Question, Scenario
from loopspec.judge import Judge
from loopspec.trace import EVENTS, Event, RpcOutcome
from tests.conformance.drawn import drawn

RPC = frozenset(name for name in EVENTS if name.startswith("Rpc"))


@pytest.fixture
def other() -> Iterator[Hand]:
    with hand() as made:
        yield made


def run(other: Hand, scenario: Scenario) -> list[Event]:
    events: list[Event] = []
    Lockstep(other, scenario, events.append).run(RefloopLoop)
    return events


def settled(events: list[Event]) -> list[tuple[int, RpcOutcome, str]]:
    return [
        (event.call, event.outcome, event.value) for event in events if isinstance(event, trace.RpcSettle)
    ]


def acts(*script: s.Act) -> tuple[At, ...]:
    """``script``, all of it in the wait after the program has run."""
    return tuple(At(2 if place == 0 else 0, False, act) for place, act in enumerate(script))


@pytest.mark.clause("RPC.CALL.SETTLES_ONCE", "20b11059")
@pytest.mark.parametrize(
    ("how", "outcome", "value", "dropped"),
    [
        ("value", "reply", "a(x)", 0),
        ("error", "error", "a(x)", 0),
        ("twice", "reply", "a(x)", 1),
        ("unknown", "reply", "a(x)", 1),
        ("never", "timeout", "", 0),
        ("half", "timeout", "", 0),
        ("break", "end", "", 0),
        ("garbage", "end", "", 0),
    ],
)
def test_each_answer_settles_a_call_as_it_ought_to(
    other: Hand, how: Answering, outcome: RpcOutcome, value: str, dropped: int
) -> None:
    events = run(other, Scenario(0, False, False, (Ask(0, 3, ()),), acts(s.Answer(0, 0, how))))
    assert settled(events) == [(0, outcome, value)]
    assert trace.RpcDropped(events[-1].turn, 0, dropped) in events  # type: ignore[union-attr]


@pytest.mark.clause("RPC.ID.NOT_REUSED", "7371a25f")
def test_the_second_half_of_a_reply_that_comes_late_is_dropped(other: Hand) -> None:
    """Given half a reply, a time-out, and then another call: the rest of the first reply comes before the
    second's, and only the second is settled by it."""
    program = (Ask(0, 1, (Ask(0, None, ()),)),)
    script = (*acts(s.Answer(0, 0, "half")), At(0, False, s.Elapse()), At(0, False, s.Answer(0, 1, "value")))
    events = run(other, Scenario(0, False, False, program, script))
    assert settled(events) == [(0, "timeout", ""), (1, "reply", "a(x)")]
    assert trace.RpcDropped(events[-1].turn, 0, 1) in events  # type: ignore[union-attr]
    assert [event.id for event in events if isinstance(event, trace.RpcRequest)] == [0, 1]


@pytest.mark.clause("RPC.CLOSE.SETTLES_ALL", "fa5418b9")
def test_calls_made_by_the_callbacks_of_the_close_are_settled_after_all_others(other: Hand) -> None:
    program = (Ask(0, None, (Ask(0, None, (Ask(0, None, ()),)),)), Ask(0, None, ()), s.HangUp(0, "callback"))
    events = run(other, Scenario(0, False, False, program, ()))
    assert settled(events) == [(number, "end", "") for number in range(4)]


DIALOGUE = Dialogue(
    (Question(0, 2, False), Question(1, 1, True), Question(1, 3, False)),
    (Plan(1, "value"), Plan(2, "value"), Plan(0, "unknown")),
)
FORMS = Scenario(
    0,
    False,
    False,
    (s.ConverseByCallbacks(DIALOGUE), s.Spawn((s.ConverseByCoroutine(DIALOGUE),))),
    (At(0, False, s.ConverseBlocking(DIALOGUE)),),
)


@pytest.mark.clause("RPC.STYLES.AGREE", "88f648f2")
def test_three_forms_of_one_program_make_the_same_calls_and_compute_the_same(other: Hand) -> None:
    """Given a program whose second question times out, and is answered while the third one waits, then each
    form asks on, drops the late reply, and computes the same."""
    results = [event for event in run(other, FORMS) if isinstance(event, trace.RpcResult)]
    assert {event.form for event in results} == {"blocking", "callback", "coroutine"}
    assert {(event.calls, event.result) for event in results} == {
        (("0?x", "1?a(x)", "1?a(x)!timeout"), "b(a(x)!timeout)")
    }


@pytest.mark.clause("RPC.BLOCKING.SUSPENDS_CALLER", "119103d4")
def test_a_blocking_form_sleeps_by_the_kernels_account_until_its_replies_are_there(other: Hand) -> None:
    """Given a blocking program of three questions, one of which times out, then its thread sleeps once for
    each outcome, and is never said to run before the service has acted."""
    told = [
        type(event)
        for event in run(other, FORMS)
        if isinstance(event, trace.Suspend | trace.Resume) and event.thread == "hand"
    ]
    assert told == [trace.Suspend, trace.Resume] * (len(told) // 2)
    assert len(told) // 2 >= 3


@pytest.mark.clause("RPC.ASYNC.RETURNS_AT_ONCE", "209b0760")
def test_the_asynchronous_forms_return_before_their_replies_are_sent(other: Hand) -> None:
    events = run(other, FORMS)
    returned = {event.call: place for place, event in enumerate(events) if isinstance(event, trace.RpcReturn)}
    replied = {event.call: place for place, event in enumerate(events) if isinstance(event, trace.RpcReply)}
    assert len(returned) == 6
    assert all(returned[call] < replied[call] for call in returned)


@pytest.mark.parametrize("family", ["remote calls", "dialogues"])
def test_a_run_of_remote_calls_is_the_same_twenty_times(other: Hand, family: str) -> None:
    for scenario in drawn(FAMILIES[family].scenarios, 5, seed=11):
        first = run(other, scenario)
        assert all(run(other, scenario) == first for _ in range(19)), s.token_of(scenario)


def test_a_loop_without_remote_calls_shows_none_and_is_not_judged_by_their_clauses(other: Hand) -> None:
    events: list[Event] = []
    Lockstep(other, FORMS, events.append).run(AsyncioLoop)
    assert [event for event in events if type(event).__name__ in RPC] == []
    judge = Judge(select(["RPC"]), AsyncioLoop.shows)
    assert [finding.clause.id for finding in judge.findings.values() if finding.observable] == []
