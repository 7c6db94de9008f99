"""The judge: what it makes of rules, slices and verdicts, shown with rules made for it."""

from __future__ import annotations

import gc
import random
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopspec.clause import Clause, Kind, Level, Profile, Slice, register
from loopspec.judge import Broken, Judge, Kept, Progress, Verdict, Violation
from loopspec.trace import EVENTS, Event, Post, Quiescent, Run, WaitReturn
from tests.spec.busy import Busy
from tests.spec.strange import strange

EVERYTHING = frozenset(EVENTS)


@runtime_checkable
class Watching(Protocol):
    """A rule's state, as the register, which knows rules that read no trace as well, does not tell it."""

    def after(self, event: Event, /) -> Progress: ...


class Counting(NamedTuple):
    """Refuses every third event of its slice."""

    seen: int = 0

    def after(self, event: Event) -> Progress:
        match self.seen:
            case 0:
                return Counting(1)
            case 1:
                return Kept(Counting(2))
            case _:
                return Broken("two events", "a third", None)


def rule(
    watches: dict[type, Slice], also: dict[type, Slice] | None = None, *, level: Level = Level.MUST
) -> Clause:
    return Clause("A.B.C", level, Kind.INV, Profile.LOOP, "A sentence.", "", Counting, watches, also or {})


def judged(clause: Clause, *trace: Event, shows: frozenset[str] = EVERYTHING) -> Judge:
    judge = Judge([clause], shows)
    for event in trace:
        judge.after(event)
    return judge


def positions(judge: Judge) -> list[int]:
    return [violation.position for violation in judge.violations]


def test_a_violation_tells_clause_position_event_and_both_texts() -> None:
    trace = Run(1, 0), Run(1, 1), Run(1, 2)
    assert judged(rule({Run: None}), *trace).violations == [
        Violation("A.B.C", 2, trace[2], "two events", "a third")
    ]


def test_after_a_violation_the_judge_goes_on_from_the_state_that_the_rule_gave() -> None:
    assert positions(judged(rule({Run: None}), *[Run(1, 0)] * 7)) == [2, 5]


def test_each_slice_has_a_state_of_its_own() -> None:
    trace = Run(1, 0), Run(1, 1), Run(1, 0), Run(1, 1), Run(1, 0)
    assert positions(judged(rule({Run: "callback"}), *trace)) == [4]


def test_an_event_for_every_slice_reaches_those_that_are_open_and_opens_none() -> None:
    clause = rule({Run: "callback", Quiescent: "*"})
    assert positions(judged(clause, Run(1, 0), Run(1, 1), Quiescent(1), Quiescent(1))) == [3, 3]
    assert positions(judged(clause, Quiescent(1), Quiescent(1), Quiescent(1))) == []


def test_a_function_of_the_event_gives_its_slices() -> None:
    clause = rule({WaitReturn: lambda event: [fd for fd, _ in event.batch]})
    trace = (
        WaitReturn(1, 0, ((3, 1), (4, 1)), 8),
        WaitReturn(2, 0, ((4, 1),), 8),
        WaitReturn(3, 0, ((4, 1),), 8),
    )
    assert positions(judged(clause, *trace)) == [2]


def test_a_clause_that_reads_no_trace_has_no_finding() -> None:
    other = replace(rule({Run: None}), id="A.B.OTHER")
    assert Judge([rule({}), other], EVERYTHING).findings.keys() == {"A.B.OTHER"}


@pytest.mark.parametrize(
    ("count", "level", "shows", "verdict"),
    [
        (2, Level.MUST, EVERYTHING, Verdict.PASS),
        (3, Level.MUST, EVERYTHING, Verdict.FAIL),
        (3, Level.SHOULD, EVERYTHING, Verdict.LOOSE),
        (1, Level.MUST, EVERYTHING, Verdict.NOT_EXERCISED),
        (3, Level.MUST, EVERYTHING - {"Run"}, Verdict.NOT_OBSERVED),
    ],
)
def test_the_five_verdicts(count: int, level: Level, shows: frozenset[str], verdict: Verdict) -> None:
    judge = judged(rule({Run: None}, level=level), *[Run(1, 0)] * count, shows=shows)
    assert judge.findings["A.B.C"].verdict is verdict


def test_an_event_that_a_rule_reads_only_where_it_is_shown_is_not_needed() -> None:
    clause = rule({Run: None}, {Post: None})
    judge = judged(clause, Run(1, 0), Post(1, 1, "a"), shows=EVERYTHING - {"Post"})
    assert judge.findings["A.B.C"].verdict is Verdict.PASS


def test_a_rule_is_not_turned_to_where_nothing_leads_it_out_of_its_first_state() -> None:
    """Given a rule that only a quiescence opens, which makes a call of it show, when it reads in a row, then
    it is called from the first read on in which there is one."""
    called: list[Event] = []

    class Calls(NamedTuple):
        def after(self, event: Event) -> Progress:
            called.append(event)
            return Counting()

    clause = replace(
        rule({Run: None, Quiescent: None}), rule=Calls, opens=frozenset({Quiescent}), id="A.B.CALLS"
    )
    judge = Judge([clause], EVERYTHING)
    judge.read([Run(1, 0), Run(1, 1)])
    assert called == []
    judge.read([Run(1, 2), Quiescent(1)])
    judge.read([Run(1, 3)])
    assert called == [Run(1, 2)]
    assert (judge.position, judge.findings["A.B.CALLS"].exercised) == (5, 1)


def test_a_rule_of_slices_reads_on_while_one_is_open() -> None:
    clause = replace(rule({Run: "callback", Quiescent: "*"}), opens=frozenset({Run}))
    judge = Judge([clause], EVERYTHING)
    judge.read([Quiescent(1)])
    judge.read([Run(1, 0)])
    judge.read([Quiescent(1)])
    judge.read([Quiescent(1)])
    assert positions(judge) == [3]


@pytest.mark.parametrize("id", [id for id, entry in register().items() if entry.opens is not None])
def test_what_does_not_open_a_rule_leaves_its_first_state_as_it_is(id: str) -> None:
    """Given strange events of all types that the rule reads but those that open it, when its first state
    reads one, then it stays, or its slice is closed."""
    entry = register()[id]
    assert entry.opens is not None
    reads = {*entry.watches, *entry.also}
    assert entry.opens <= reads
    first = entry.rule()
    assert isinstance(first, Watching)
    types = sorted(reads - entry.opens, key=lambda cls: cls.__name__)
    for seed in range(8):
        for event in strange(types, 64, seed):
            assert first.after(event) in (first, None)


def test_the_collector_is_put_back_as_it_was() -> None:
    judge = Judge([rule({Run: None})], EVERYTHING)
    before = gc.isenabled()
    try:
        for wanted in (True, False):
            gc.enable() if wanted else gc.disable()
            judge.read([Run(1, 0)])
            assert gc.isenabled() is wanted
    finally:
        gc.enable() if before else gc.disable()


def test_what_is_read_rule_by_rule_is_told_in_the_order_of_events() -> None:
    """Given three rules that are broken at two places, when the trace is read in one go, then what is told is
    what is told event by event: by place, and at one place whole traces first, then slices."""
    whole = replace(rule({Run: None, Quiescent: None}), id="A.B.WHOLE")
    one = replace(rule({Run: "callback", Quiescent: "*"}), id="A.B.ONE")
    many = replace(rule({Run: lambda event: (event.callback, event.turn)}), id="A.B.MANY")
    trace = (Run(1, 0), Run(1, 0), Run(1, 0), Quiescent(1), Run(2, 0), Run(1, 2), Quiescent(1))
    each, row = (Judge([many, one, whole], EVERYTHING) for _ in range(2))
    for event in trace:
        each.after(event)
    row.read(trace[:1])
    row.read(iter(trace[1:]))
    assert len(each.violations) > 4
    assert (row.violations, row.position) == (each.violations, each.position)


class Still(NamedTuple):
    """Whatever happens, it stays as it is."""

    def after(self, event: Event) -> Progress:
        return self


@pytest.mark.parametrize("slice", [None, "callback", lambda event: (event.callback,)])
def test_every_rule_reads_whatever_others_make_of_an_event(slice: Slice) -> None:
    still = replace(rule({Run: slice}), rule=Still, id="A.B.STILL")
    judge = Judge([still, rule({Run: slice})], EVERYTHING)
    for _ in range(3):
        judge.after(Run(1, 0))
    assert positions(judge) == [2]


class Opened(NamedTuple):
    """Refuses that the loop comes to rest after a callback, which it names."""

    callback: int = 0

    def after(self, event: Event) -> Progress:
        match event:
            case Run():
                return Opened(event.callback)
            case _:
                return Broken("no rest", f"callback {self.callback} has run", None)


def test_slices_that_one_event_breaks_are_told_in_the_order_in_which_they_were_opened() -> None:
    clause = replace(rule({Run: "callback", Quiescent: "*"}), rule=Opened)
    trace = Run(1, 2), Run(1, 1), Quiescent(1)
    row = Judge([clause], EVERYTHING)
    row.read(trace)
    assert [each.observed for each in row.violations] == ["callback 2 has run", "callback 1 has run"]
    assert row.violations == judged(clause, *trace).violations


def test_a_run_that_is_read_in_rows_is_judged_as_event_by_event() -> None:
    """Given runs that break much, in each of the ways in which rules are sliced, when one is read in two rows
    and by event, then it is the same that is told and counted, and that is known for what follows."""
    for seed in range(6):
        trace = [Run(1, number) for number in random.Random(seed).choices(range(3), k=40)]
        each, row = (Judge(sliced(), EVERYTHING) for _ in range(2))
        for event in trace:
            each.after(event)
        for part in (trace[:7], trace[7:30], trace[30:]):
            row.read(part)
        assert each.violations == row.violations
        assert [(it.exercised, it.broken) for it in each.findings.values()] == [
            (it.exercised, it.broken) for it in row.findings.values()
        ]


class Lenient(NamedTuple):
    """Refuses every third event of its slice but those of callback 0, and goes on as if it had not been."""

    seen: int = 0

    def after(self, event: Event) -> Progress:
        if event == Run(1, 0):
            return self
        match self.seen % 3:
            case 2:
                return Broken("two events", f"event {self.seen + 1}", Lenient(self.seen + 1))
            case 1:
                return Kept(Lenient(self.seen + 1))
            case _:
                return Lenient(self.seen + 1)


def sliced() -> list[Clause]:
    slices: list[Slice] = [None, "callback", lambda event: (event.callback, event.turn)]
    return [
        replace(rule({Run: slice}), rule=made, id=f"A.B.{number}{made.__name__.upper()}")
        for number, slice in enumerate(slices)
        for made in (Counting, Lenient)
    ]


def test_a_restart_forgets_the_run_and_keeps_the_findings() -> None:
    judge = judged(rule({Run: None}), Run(1, 0), Run(1, 0), Run(1, 0))
    judge.restart()
    judge.after(Run(1, 0))
    finding = judge.findings["A.B.C"]
    assert (judge.violations, judge.position, finding.exercised, finding.broken) == ([], 1, 2, 1)
    assert finding.first == Violation("A.B.C", 2, Run(1, 0), "two events", "a third")
    judge.after(Run(1, 0))
    judge.after(Run(1, 0))
    assert (finding.exercised, finding.broken, finding.first.position) == (4, 2, 2)


# --- all the rules at once ------------------------------------------------------------------------------


def test_every_rule_starts_from_nothing_and_watches_only_events() -> None:
    for clause in register().values():
        if clause.watches:
            assert clause.rule() == clause.rule()
            assert {*clause.watches, *clause.also} <= {*EVENTS.values()}
            assert len({slice is None for slice in (*clause.watches.values(), *clause.also.values())}) == 1
            assert not clause.watches.keys() & clause.also.keys()


def test_a_busy_run_keeps_every_clause() -> None:
    judge = Judge(register().values(), EVERYTHING)
    for event in Busy(40, 1).events(6000):
        judge.after(event)
    assert judge.violations == []


@given(st.lists(st.one_of(*map(st.from_type, EVENTS.values())), max_size=40))
def test_no_sequence_of_events_is_too_strange_to_judge(trace: list[Event]) -> None:
    judge = Judge(register().values(), EVERYTHING)
    for event in trace:
        judge.after(event)
    again = Judge(register().values(), EVERYTHING)
    for event in trace:
        again.after(event)
    assert judge.violations == again.violations
    row = Judge(register().values(), EVERYTHING)
    row.read(trace[: len(trace) // 2])
    row.read(trace[len(trace) // 2 :])
    assert (row.violations, row.position) == (judge.violations, len(trace))
    assert row.findings == judge.findings
