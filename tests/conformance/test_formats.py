"""Results as documents: each is read back by a reader of its form, and says what the results say."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import loopspec.conformance
from loopspec.conformance import html, junit, markdown, record, trace_events
from loopspec.conformance.adapter import Deviation
from loopspec.conformance.cli import main
from loopspec.conformance.report import as_json
from loopspec.conformance.result import Accident, LoopResult, UsageError
from loopspec.conformance.setting import Setting
from loopspec.judge import Verdict
from tests.conformance.made_up import CLAUSES, EARLY, EVENTS, NESTED, ORDER, POSTS, REFUSED, results
from tests.conformance.test_cli import FakeCampaign

SETTING = Setting("0.1.0", "3.11.7", "Linux 6.1", "2026-01-02", 7, 400)


def written(found: Mapping[str, LoopResult], setting: Setting = SETTING) -> str:
    return json.dumps(as_json(found, CLAUSES, setting))


# --- JUnit ----------------------------------------------------------------------------------------------


def _suites(found: Mapping[str, LoopResult]) -> ElementTree.Element:
    return ElementTree.fromstring(junit.document(found, CLAUSES, SETTING))


def test_junit_fails_what_breaks_a_must_and_skips_what_is_not_known() -> None:
    suites = _suites(results())
    assert [suites.get(count) for count in ("tests", "failures", "errors", "skipped")] == ["8", "1", "0", "2"]
    outcomes = {
        (str(case.get("classname")), case.get("name")): [
            child.tag for child in case if child.tag != "properties"
        ]
        for case in suites.iter("testcase")
    }
    assert outcomes["bad.TIMER", EARLY.id] == ["failure"]
    assert outcomes["bad.TIMER", ORDER.id] == ["system-out"]
    assert outcomes["bad.LOOP", NESTED.id] == ["skipped"]
    assert outcomes["good.WAKE", POSTS.id] == []


def test_junit_tells_the_run_that_breaks_a_clause() -> None:
    (failure,) = _suites(results()).iter("failure")
    assert failure.get("message") == EARLY.sentence
    for part in ("1500000 ns or later", "client 1 connects", "13 fire timer 1 at 1 ms", "--replay 4f00aa"):
        assert part in (failure.text or "")


def test_junit_counts_a_loop_in_trouble_as_an_error_and_holds_no_character_that_xml_forbids() -> None:
    found = replace(results()["good"], trouble="ended by itself\x00\x1b")
    suites = _suites({"good\x07": found})
    assert (suites.get("errors"), suites.get("tests")) == ("1", "5")


# --- Markdown -------------------------------------------------------------------------------------------


def test_markdown_is_a_matrix_with_its_figures_then_what_is_broken() -> None:
    shown = markdown.document(results(), CLAUSES, SETTING)
    for line in (
        "loopspec 0.1.0 · seed 7 · 400 examples a loop · Python 3.11.7 · Linux 6.1 · 2026-01-02",
        "| loop | version | runs | pass | loose | FAIL | not exercised | not observed | documented |",
        "| bad | bad 0.9 | 380 | 1 | 1 | 1 | 0 | 1 | 0 |",
        "| `TIMER.FIRE.NEVER_EARLY` MUST | ✓ pass 321 | ✗ FAIL 3/70 |",
        "| `TIMER.ORDER.DEADLINE_THEN_ARMING` SHOULD | · not exercised | \\~ loose 1/50 |",
        f"### FAIL: `{EARLY.citation}`",
        "loopspec check bad --clause TIMER.FIRE.NEVER_EARLY --replay 4f00aa",
    ):
        assert line in shown.splitlines()


def test_markdown_takes_no_character_of_a_text_for_markup() -> None:
    assert markdown.plain("a_b | <c> `d` *e*\n") == "a\\_b \\| \\<c\\> \\`d\\` \\*e\\*\\\\n"


# --- Trace Event ----------------------------------------------------------------------------------------


def _trace_events(found: Mapping[str, LoopResult]) -> list[dict[str, object]]:
    document = json.loads(trace_events.document(found, CLAUSES))
    assert document.keys() == {"traceEvents", "displayTimeUnit", "otherData"}
    events = document["traceEvents"]
    assert isinstance(events, list)
    return events


def test_every_trace_event_has_the_members_that_its_phase_wants() -> None:
    wanted = {
        "M": {"ph", "pid", "tid", "name", "args"},
        "X": {"ph", "pid", "tid", "name", "args", "cat", "ts", "dur"},
        "i": {"ph", "pid", "tid", "name", "args", "cat", "ts", "s"},
    }
    events = _trace_events(results())
    assert {str(event["ph"]) for event in events} == set(wanted)
    for event in events:
        assert event.keys() == wanted[str(event["ph"])]
        assert all(type(event[name]) is int for name in ("pid", "tid", "ts", "dur") if name in event)


def test_lanes_are_named_threads_and_every_event_lies_in_one() -> None:
    events = _trace_events(results())
    named = {event["tid"]: event["args"] for event in events if event["name"] == "thread_name"}
    assert list(named.values()) == [
        {"name": name} for name in ("client 1", "client 2", "ready list", "loop", "thread t1")
    ]
    assert {event["tid"] for event in events if event["ph"] != "M"} <= set(named)


def test_the_place_where_the_clause_breaks_is_marked_across_the_process() -> None:
    events = _trace_events(results())
    (here,) = [event for event in events if event.get("cat") == "broken"]
    assert (here["s"], here["ts"], here["name"]) == ("p", REFUSED, "✗ fire timer 1 at 1 ms")
    args = here["args"]
    assert isinstance(args, dict)
    assert (args["clause"], args["allowed"]) == (EARLY.citation, "1500000 ns or later")


def test_spans_of_one_lane_nest_as_the_format_demands() -> None:
    events = _trace_events(results())
    spans = [(event["tid"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"]
    for lane, start, length in spans:
        for other, begin, size in spans:
            assert isinstance(start, int)
            assert isinstance(length, int)
            assert isinstance(begin, int)
            assert isinstance(size, int)
            if lane == other and start < begin < start + length:
                assert begin + size <= start + length


def test_nothing_broken_is_a_file_without_events() -> None:
    assert _trace_events({"good": results()["good"]}) == []


# --- what is no verdict ---------------------------------------------------------------------------------


def _unusual() -> dict[str, LoopResult]:
    """A loop that declares what it breaks and had an accident, and one that is not installed."""
    bad = results()["bad"]
    declared = Deviation("https://example.org/d", "timers may be early")
    bad.clauses[EARLY.id] = replace(bad.clauses[EARLY.id], deviation=declared)
    bad.accidents = (Accident("it hung", 2, "1-x", ("waits",)),)
    return {"bad": bad, "none": LoopResult("none", "", absent="pip install none")}


def test_a_declared_deviation_is_shown_as_such_and_fails_nothing() -> None:
    found = _unusual()
    suites = _suites(found)
    assert (suites.get("failures"), suites.get("errors")) == ("0", "1")
    shown = markdown.document(found, CLAUSES, SETTING)
    assert "| `TIMER.FIRE.NEVER_EARLY` MUST | ≠ documented 3/70 |\n" in shown
    assert "- bad, `TIMER.FIRE.NEVER_EARLY`: timers may be early (https://example.org/d)" in shown
    drawn = html.page(found, CLAUSES, {}, SETTING)
    assert '<td class="deviates">' in drawn
    assert "timers may be early" in drawn


def test_an_accident_and_an_absent_loop_are_told_in_every_form() -> None:
    found = _unusual()
    forms = (
        junit.document(found, CLAUSES, SETTING),
        markdown.document(found, CLAUSES, SETTING),
        html.page(found, CLAUSES, {}, SETTING),
    )
    for shown in forms:
        assert "it hung, in 2 runs; again: loopspec check bad --replay 1-x" in shown
        assert "pip install none" in shown


def test_an_absent_loop_is_a_row_of_the_loops_and_no_column_of_the_clauses() -> None:
    found = _unusual()
    shown = markdown.document(found, CLAUSES, SETTING)
    assert "| none | skipped | 0 | – | – | – | – | – | – |" in shown
    assert "| clause | bad |" in shown
    assert '<th scope="col">none</th>' not in html.page(found, CLAUSES, {}, SETTING)


# --- read back ------------------------------------------------------------------------------------------


def test_what_was_written_is_read_back_whole() -> None:
    found = results()
    found["bad"].unrepeated = {EARLY.id: 2}
    assert record.parse(written(found), "f", CLAUSES) == record.Record(SETTING, found)


def test_a_loop_of_several_files_is_told_apart_by_its_interpreter() -> None:
    there = replace(SETTING, python="3.12.1")
    one, two = (record.parse(written(results(), where), "f", CLAUSES) for where in (SETTING, there))
    setting, found = record.merged((one, two))
    assert list(found) == ["good on 3.11.7", "bad on 3.11.7", "good on 3.12.1", "bad on 3.12.1"]
    assert setting.python == "3.11.7, 3.12.1"
    with pytest.raises(UsageError, match=r"good on 3\.11\.7 is judged in two of the files"):
        record.merged((one, one))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"loopspec-results": 9}, "no results of format 1"),
        ({"loops": {"bad": {}}}, "'version' is missing"),
        ({"loops": []}, "where an object is expected"),
        ({"clauses": {EARLY.id: {"digest": "00000000"}}}, f"{EARLY.id}@00000000 has changed since"),
    ],
)
def test_a_file_that_holds_no_results_is_refused_in_a_line(change: dict[str, object], told: str) -> None:
    spoilt = json.dumps(json.loads(written(results())) | change)
    with pytest.raises(UsageError, match=told) as refused:
        record.parse(spoilt, "f.json", CLAUSES)
    assert str(refused.value).startswith("f.json: ")
    assert "\n" not in str(refused.value)


# --- the command line -----------------------------------------------------------------------------------


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> FakeCampaign:
    """The made-up clauses and results in the place of the register and of the campaign."""
    monkeypatch.setattr("loopspec.clause.AREAS", ())
    monkeypatch.setattr("loopspec.clause._REGISTER", {entry.id: entry for entry in CLAUSES})
    fake = FakeCampaign()
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(loopspec.conformance, "campaign", fake, raising=False)
    return fake


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": "100", "NO_COLOR": "1"}, prog_name="loopspec")


@pytest.mark.usefixtures("campaign")
def test_a_format_is_all_that_is_printed_and_the_exit_status_stays() -> None:
    found = run("check", "good", "bad", "--seed", "7", "--format", "json")
    assert (found.exit_code, json.loads(found.stdout)["seed"]) == (1, 7)
    found = run("check", "--format", "junit")
    assert ElementTree.fromstring(found.stdout).get("failures") == "1"
    assert run("check", "--format", "markdown").stdout.startswith("# Conformance\n")
    assert run("check").stdout.startswith("loopspec ")


@pytest.mark.usefixtures("campaign")
def test_files_are_written_beside_what_is_printed(tmp_path: Path) -> None:
    page, traces, plain = (tmp_path / name for name in ("r.html", "r.trace", "r.json"))
    found = run("check", "--html", str(page), "--trace-events", str(traces), "--json", str(plain))
    assert found.exit_code == 1
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert len(json.loads(traces.read_text(encoding="utf-8"))["traceEvents"]) > len(EVENTS)
    again = run("report", str(plain), "--format", "markdown")
    assert again.exit_code == 1
    assert "✗ FAIL 3/70" in again.stdout


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("check", "--html", "/nowhere/r.html"), "give --html a file that can be written"),
        (("check", "--trace-events", "/nowhere/r"), "give --trace-events a file that can be written"),
        (("check", "--format", "pdf"), "'pdf' is not one of"),
        (("report",), "Missing argument"),
        (("report", "/nowhere/r.json"), "does not exist"),
        (("report", __file__), "give a file that `loopspec check --json` of this version wrote"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_runs(
    campaign: FakeCampaign, asked: tuple[str, ...], told: str
) -> None:
    found = run(*asked)
    assert (found.exit_code, found.stdout, campaign.asked) == (2, "", [])
    (line,) = found.stderr.splitlines()
    assert told in line


@pytest.mark.usefixtures("campaign")
def test_a_verdict_of_a_broken_must_is_never_lost_on_the_way(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    run("check", "--json", str(file))
    parsed = record.parse(file.read_text(encoding="utf-8"), "f", CLAUSES)
    assert parsed.results["bad"].clauses[EARLY.id].verdict is Verdict.FAIL
