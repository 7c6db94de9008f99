"""What is shown is held as text, since a text is what is read; widths and colours are part of the claim."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

import loopspec
from loopspec.clause import register
from loopspec.conformance.evidence import Evidence, Killed
from loopspec.conformance.interleaving import HEAD, TAIL, Lane, instant, interleaving, lane, told
from loopspec.conformance.report import (
    LOOKS,
    as_json,
    breach,
    broken,
    explanation,
    register_table,
    replay_line,
    tallies,
    verdicts,
)
from loopspec.conformance.result import LoopResult
from loopspec.conformance.setting import here
from loopspec.judge import Verdict
from loopspec.trace import EVENTS as EVENT_TYPES
from loopspec.trace import (
    Await,
    Call,
    Event,
    HandlerEnd,
    Receive,
    Send,
    TimerArm,
    WaitBegin,
    WaitReturn,
    decode,
)
from tests.conformance.made_up import CLAUSES, COUNTEREXAMPLE, EARLY, EVENTS, REFUSED, results


def lines(shown: RenderableType, width: int, *, colour: bool = False) -> list[str]:
    """``shown`` as a console of this width prints it, without the blanks that end a line."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(shown)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


# --- the table ----------------------------------------------------------------------------------------


def test_the_table_has_a_row_a_clause_and_a_column_a_loop() -> None:
    assert [line for line in lines(verdicts(results(), CLAUSES, 80), 80) if line] == [
        "clause                             good              bad",
        "─" * 68,
        "LOOP.DISPATCH.NOT_NESTED           ✓ pass 12,345     – not observed",
        "TIMER.FIRE.NEVER_EARLY             ✓ pass 321        ✗ FAIL 3/70",
        "TIMER.ORDER.DEADLINE_THEN_ARMING   · not exercised   ~ loose 1/50",
        "WAKE.POST.NOT_LOST                 ✓ pass 9          ✓ pass 4",
    ]


def test_loops_that_do_not_fit_abreast_get_tables_below_each_other() -> None:
    many = {f"loop{number}": replace(results()["good"], loop=f"loop{number}") for number in range(6)}
    shown = lines(verdicts(many, CLAUSES, 80), 80)
    headings = [line.split()[1:] for line in shown if line.startswith("clause")]
    assert headings == [["loop0", "loop1"], ["loop2", "loop3"], ["loop4", "loop5"]]
    assert sum("TIMER.FIRE.NEVER_EARLY" in line for line in shown) == 3


def test_every_verdict_is_told_apart_without_colour() -> None:
    assert set(LOOKS) == set(Verdict)
    assert len({sign for sign, _, _ in LOOKS.values()}) == len({word for _, word, _ in LOOKS.values()}) == 5


def test_colour_changes_no_character_of_the_table() -> None:
    plain = lines(verdicts(results(), CLAUSES, 80), 80)
    coloured = lines(verdicts(results(), CLAUSES, 80), 80, colour=True)
    assert coloured != plain
    assert [Console().render_str(line).plain for line in plain] == plain


def test_what_counts_as_nothing_is_counted() -> None:
    assert lines(tallies(results()), 80) == [
        "good 1.0: 3 pass, 1 not exercised; 400 runs",
        "bad 0.9: 1 pass, 1 loose, 1 FAIL, 1 not observed; 380 runs",
    ]
    assert lines(tallies({"none": LoopResult("none", "")}), 80) == ["none: nothing judged"]


# --- a counterexample ---------------------------------------------------------------------------------


def test_each_client_thread_and_the_loop_has_a_column_and_the_refused_event_is_last() -> None:
    assert lines(interleaving(EVENTS, REFUSED, 80), 80) == [
        "       client 1               client 2   loop                    thread t1",
        "─" * 80,
        "   0                                     wait without end",
        "   1   connect to be echoed",
        "   2                                     turn 1 at 0: fd 7",
        "                                         IN|RDHUP",
        "   3                                     arm 3: read stream 1,",
        "                                         fd 8",
        "   4                                     arm timer 1 at 0 +",
        "                                         1.5 ms: due 1.5 ms",
        "   5                                     wait, timeout 1.5 ms",
        "   6                          connect",
        "   7   send 'ping\\x1b[2J",
        "       pon'… (32 bytes)",
        "   8                                                             post callback 4",
        "   9                                     turn 2 at 1 ms:",
        "                                         nothing ready",
        "  10                                     dispatch 3, fd 8",
        "  11                                     handler raises",
        "                                         ValueError",
        "  12                          leave",
        "13 ✗                                     fire timer 1 at 1 ms",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_run_fits_the_terminal(width: int) -> None:
    assert max(map(len, lines(interleaving(EVENTS, REFUSED, width), width))) <= width


def test_a_run_too_wide_for_columns_names_who_acts() -> None:
    shown = lines(interleaving(EVENTS, REFUSED, 60), 60)
    assert shown[0].split() == ["who", "event"]
    assert "   6   client 2    connect" in shown
    assert shown[-1] == "13 ✗   loop        fire timer 1 at 1 ms"


def test_a_long_run_is_shown_without_its_middle() -> None:
    events = [WaitBegin(turn, None) for turn in range(HEAD + TAIL + 50)]
    shown = lines(interleaving(events, len(events) - 2, 80), 80)
    assert len(shown) == 2 + HEAD + 1 + TAIL
    assert shown[2 + HEAD].split() == ["⋮", "49", "more"]
    assert shown[-1].startswith("96 ✗")


def test_a_broken_clause_is_told_in_the_order_in_which_one_asks() -> None:
    ((loop, entry, result),) = [found for found in broken(results(), CLAUSES) if found[1] == EARLY]
    shown = lines(breach(loop, entry, result, 100), 100)
    assert shown[0].startswith(f"✗ FAIL  bad  {EARLY.citation} ───")
    assert shown[1:7] == [
        "  demands  A timer never fires before its deadline.",
        "  level    MUST, broken in 3 runs; its premise came true 70 times",
        "  allowed   1500000 ns or later",
        "  observed  1000000 ns",
        "  scenario  client 1 connects and sends 30 bytes",
        "            a timer of 1.5 ms",
    ]


def test_broken_musts_come_before_broken_shoulds() -> None:
    assert [entry.id for _, entry, _ in broken(results(), tuple(reversed(CLAUSES)))] == [
        "TIMER.FIRE.NEVER_EARLY",
        "TIMER.ORDER.DEADLINE_THEN_ARMING",
    ]


def test_the_command_that_replays_survives_a_shell() -> None:
    loop, _, result = next(broken(results(), CLAUSES))
    assert replay_line(loop, result).plain == (
        "  $ loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa\n"
    )
    awkward = replace(result, counterexample=replace(COUNTEREXAMPLE, token="a b;c"))
    assert "--replay 'a b;c'" in replay_line(loop, awkward).plain


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nanoseconds", "words"),
    [
        (0, "0"),
        (1, "1 ns"),
        (999, "999 ns"),
        (1_000, "1 µs"),
        (1_500, "1.5 µs"),
        (1_500_000, "1.5 ms"),
        (1_000_001, "1,000.001 µs"),
        (20_000_000_000, "20 s"),
        (1_000_000_000_001, "1,000,000,000.001 µs"),
        (-1_000, "-1 µs"),
    ],
)
def test_an_instant_is_told_exactly(nanoseconds: int, words: str) -> None:
    assert instant(nanoseconds) == words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (WaitReturn(2, 5, ((3, 0x10), (4, 0)), 8), "turn 2 at 5 ns: fd 3 HUP, fd 4 0x0"),
        (WaitBegin(1, 0), "wait, timeout 0"),
        (Await(1, 2, "sleep", 3_000_000), "task 2 awaits instant 3 ms"),
        (Await(1, 2, "join", 3), "task 2 awaits the end of task 3"),
        (TimerArm(1, 1, 10, -5, 5), "arm timer 1 at 10 ns + -5 ns: due 5 ns"),
        (Receive(1, b""), "receive end of file"),
        (Send(1, b"a\n"), "send 'a\\n'"),
        (HandlerEnd(1, None), "handler ends"),
    ],
)
def test_an_event_has_words(event: Event, words: str) -> None:
    assert told(event) == words


def test_nothing_in_a_trace_steers_the_terminal() -> None:
    assert told(HandlerEnd(1, "\x1b[2J\r")) == "handler raises \\x1b[2J\\r"
    assert lane(Call(1, "\x1b]0;x\x07", "recv")).label == "thread \\x1b]0;x\\x07"


def test_what_the_loops_own_thread_calls_stands_in_the_loops_column() -> None:
    assert lane(Call(1, "loop", "recv")) == lane(WaitBegin(1, None)) == Lane(1, 0, "")


# --- for machines, and of the register ----------------------------------------------------------------


def test_the_json_holds_everything_and_its_traces_can_be_read_back() -> None:
    written = json.loads(json.dumps(as_json(results(), CLAUSES, here(7, 400))))
    assert (written["seed"], written["examples"], written["loopspec"]) == (7, 400, loopspec.__version__)
    assert written["clauses"][EARLY.id]["digest"] == EARLY.digest
    found = written["loops"]["bad"]["clauses"][EARLY.id]
    assert (found["verdict"], found["exercised"], found["broken"]) == ("fail", 70, 3)
    example = found["counterexample"]
    assert example["position"] == REFUSED
    assert tuple(decode(json.dumps(event)) for event in example["trace"]) == EVENTS
    assert example["replay"] == "loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa"
    assert written["loops"]["good"]["clauses"][EARLY.id]["counterexample"] is None


def test_the_register_is_shown_whole() -> None:
    shown = " ".join(" ".join(lines(register_table(tuple(register().values())), 160)).split())
    for entry in register().values():
        assert entry.id in shown
        assert entry.digest in shown


@pytest.mark.full
@pytest.mark.parametrize("id", register())
def test_every_clause_can_be_explained_with_its_rule_and_its_evidence(id: str) -> None:
    entry = register()[id]
    evidence = Evidence(
        ("tests/t.py::test_a",), (Killed("slip", "Somebody slipped.", "https://example.org/1"),)
    )
    shown = " ".join(" ".join(lines(explanation(entry, evidence, "9.9.9"), 160)).split())
    for part in (
        entry.sentence,
        f"loopspec 9.9.9, {entry.citation}",
        "tests/t.py::test_a",
        "slip: Somebody slipped. (https://example.org/1)",
        f"class {entry.rule.__name__}" if isinstance(entry.rule, type) else f"def {entry.rule.__name__}",
    ):
        assert part in shown


def test_every_event_of_the_format_stands_in_some_column() -> None:
    """The type checker holds `told` to the whole union; this holds the run-time union to the same."""
    assert {type(event) for event in EVENTS} <= set(EVENT_TYPES.values())
