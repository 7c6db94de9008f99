"""Counterexamples in the Trace Event format, which Perfetto and chrome://tracing open.

A counterexample is a process, a lane a thread of it; spans are complete events (``X``), what happens in a
moment is an instant event (``i``), and the place where the clause breaks is one of the whole process, so that
it is drawn across all lanes. Where a trace tells instants they are arguments of their events. The axis is the
order of the events, a microsecond each: see :mod:`loopspec.conformance.timeline` for why.

Source: "Trace Event Format", the document of Chromium's tracing team; the members used here are those that
both viewers read. Perfetto's user interface, version 52.0, has been seen to open what is written here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from loopspec.clause import Clause
from loopspec.conformance.interleaving import printable
from loopspec.conformance.report import broken, replay_command
from loopspec.conformance.result import Counterexample, Results
from loopspec.conformance.timeline import timeline
from loopspec.trace import encode

Fact = dict[str, object]


def document(results: Results, clauses: Sequence[Clause]) -> str:
    """All counterexamples of a campaign as one JSON object; no event at all if nothing is broken."""
    events: list[Fact] = []
    for name, loop in results.items():
        for _, entry, result in broken({name: loop}, clauses):
            if result.counterexample is not None:
                process = 1 + len({event["pid"] for event in events})
                again = replay_command(loop.loop, entry.id, result.counterexample.token)
                events += _process(process, name, entry, result.counterexample, again)
    written = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"axis": "one event, one microsecond"},
    }
    return json.dumps(written, ensure_ascii=False, indent=1) + "\n"


def _process(process: int, name: str, clause: Clause, example: Counterexample, again: str) -> Iterator[Fact]:
    found = example.violation
    line = timeline(example.events, found.position)
    title = printable(f"{name}: {clause.citation}")
    yield {"ph": "M", "pid": process, "tid": 0, "name": "process_name", "args": {"name": title}}
    for lane, label in enumerate(line.lanes):
        # A lane's number is from 1: thread 0 is the process itself to both viewers.
        here: Fact = {"ph": "M", "pid": process, "tid": lane + 1}
        yield {**here, "name": "thread_name", "args": {"name": label}}
        yield {**here, "name": "thread_sort_index", "args": {"sort_index": lane}}
    for span in line.spans:
        yield {
            "ph": "X",
            "pid": process,
            "tid": span.lane + 1,
            "ts": span.begin,
            "dur": max(span.end - span.begin, 1),
            "name": span.words,
            "cat": span.what.value,
            "args": {"ended": span.ended},
        }
    for mark in line.marks:
        event = json.loads(encode(example.events[mark.position]))
        args: Fact = {"position": mark.position, "event": event}
        if mark.refused:
            args |= {"clause": clause.citation, "demands": clause.sentence}
            args |= {"allowed": found.allowed, "observed": found.observed, "again": again}
        yield {
            "ph": "i",
            "pid": process,
            "tid": mark.lane + 1,
            "ts": mark.position,
            "s": "p" if mark.refused else "t",
            "name": f"✗ {mark.words}" if mark.refused else mark.words,
            "cat": "broken" if mark.refused else "event",
            "args": args,
        }
