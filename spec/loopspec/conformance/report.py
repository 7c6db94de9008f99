"""What the command line shows: the table of verdicts, each broken clause with its run, and the same as JSON.

The table is for the eye that looks for trouble: a row a clause, a column a loop, and in each cell a sign, a
word and how often the clause's premise came true, so that it reads without colour and nothing that was
never exercised looks like a pass. Below it each broken clause is told in the order in which one asks:
what is demanded, what was allowed and what happened, by which run, and how to see it again.

Everything here turns values into renderables or plain data. It prints nothing, so that a test can hold
what is shown.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from loopspec.clause import Clause, Level
from loopspec.conformance.evidence import Evidence
from loopspec.conformance.interleaving import interleaving, printable, told
from loopspec.conformance.kills import EXPLORER, Row, breaks_alone
from loopspec.conformance.live import Disagreement
from loopspec.conformance.live import Report as Comparison
from loopspec.conformance.result import (
    FLOOR,
    Accident,
    ClauseResult,
    Counterexample,
    LoopResult,
    Results,
)
from loopspec.conformance.setting import Setting, here
from loopspec.conformance.versions import Difference
from loopspec.consequences import CONSEQUENCES
from loopspec.judge import Finding, Verdict, Violation
from loopspec.trace import Event, encode

JSON_FORMAT = 1
"""The version of what :func:`as_json` makes. It grows when a reader of the old one would misread the new."""

#: How a verdict looks: sign, word, style. The signs alone tell them apart, and so do the words.
LOOKS: dict[Verdict, tuple[str, str, str]] = {
    Verdict.PASS: ("✓", "pass", "green"),
    Verdict.LOOSE: ("~", "loose", "yellow"),
    Verdict.FAIL: ("✗", "FAIL", "bold red"),
    Verdict.NOT_EXERCISED: ("·", "not exercised", "dim"),
    Verdict.NOT_OBSERVED: ("–", "not observed", "dim"),
}

#: A clause that is broken, and that the loop says of itself it does not keep: no failure, and no pass.
DEVIATES = ("≠", "documented", "cyan")

LEGEND = (
    "pass 7: the premise came true 7 times, and the clause held. FAIL 3/70, a MUST, and loose 3/70, a "
    "SHOULD: broken in 3 runs, its premise came true 70 times. not exercised: it never came true. not "
    "observed: this loop cannot show it. Neither of these two is a pass."
)

_CELL = len("· not exercised")


# --- the table ----------------------------------------------------------------------------------------


def look(result: ClauseResult) -> tuple[str, str, str]:
    """How a result looks: its verdict, or the deviation that its loop declares."""
    return LOOKS[result.verdict] if result.deviation is None else DEVIATES


def _cell(result: ClauseResult | None) -> Text:
    if result is None:
        return Text("")
    sign, word, style = look(result)
    count = f" {result.broken:,}/{result.exercised:,}" if result.broken else f" {result.exercised:,}"
    return Text.assemble((f"{sign} {word}", style), count if result.exercised else "")


def _table(loops: Sequence[tuple[str, LoopResult]], clauses: Sequence[Clause]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("clause", overflow="fold")
    for name, _ in loops:
        table.add_column(Text(printable(name)), overflow="fold", min_width=_CELL)
    following = [*(entry.area for entry in clauses[1:]), ""]
    for entry, next_area in zip(clauses, following, strict=False):
        cells = (_cell(loop.clauses.get(entry.id)) for _, loop in loops)
        table.add_row(entry.id, *cells, end_section=next_area != entry.area)
    return table


def verdicts(results: Results, clauses: Sequence[Clause], width: int) -> RenderableType:
    """The table of verdicts, as several below each other where ``width`` does not hold all loops."""
    judged = [entry for entry in clauses if any(entry.id in loop.clauses for loop in results.values())]
    loops = [(name, loop) for name, loop in results.items() if loop.absent is None]
    longest = max((len(entry.id) for entry in judged), default=0)
    abreast = max(1, (width - longest) // (_CELL + 2))
    tables = [_table(loops[start : start + abreast], judged) for start in range(0, len(loops), abreast)]
    return Group(*(Padding(table, (1, 0)) for table in tables))


def tallies(results: Results) -> RenderableType:
    """A line a loop: how many clauses got each verdict, out of how many runs."""
    return Group(*(_tally(name, loop) for name, loop in results.items()))


def cited(name: str, loop: LoopResult) -> str:
    """The loop of column ``name`` with its version, as a person would cite it."""
    # Told so, a version often begins with the name.
    told = loop.version if loop.version.startswith(loop.loop) else f"{loop.loop} {loop.version}".rstrip()
    return told if name == loop.loop else f"{name} ({told})"


def _tally(name: str, loop: LoopResult) -> Text:
    if loop.absent is not None:
        return Text.assemble((printable(name), "bold"), ": ", printable(loop.absent))
    counts = Counter(entry.verdict for entry in loop.clauses.values() if entry.deviation is None)
    deviating = sum(entry.deviation is not None for entry in loop.clauses.values())
    line = Text.assemble((printable(cited(name, loop)), "bold"), ": ")
    shares = [
        Text(f"{counts[verdict]} {word}", style)
        for verdict, (_, word, style) in LOOKS.items()
        if counts[verdict]
    ]
    shares += [
        Text(f"{deviating} documented {'deviation' if deviating == 1 else 'deviations'}", DEVIATES[2])
    ][: deviating and 1]
    line.append_text(Text(", ").join(shares or [Text("nothing judged")]))
    line.append(f"; {_counted(loop.scenarios, 'run')}" if loop.scenarios else "")
    once = ", ".join(f"{id} ({count})" for id, count in loop.unrepeated.items())
    line.append(f"; seen once, not again when run again, and not counted: {once}" if once else "")
    thin = ", ".join(f"{entry.clause} ({entry.share:.1%})" for entry in loop.clauses.values() if entry.thin)
    return line.append(f"; thin, exercised by less than {FLOOR:.0%} in every family: {thin}" if thin else "")


def deviations(results: Results, clauses: Sequence[Clause]) -> RenderableType:
    """What loops say of themselves that they do not keep, and were seen not to keep: a line each, its link
    below."""
    lines = [
        Text.assemble(
            (f"{DEVIATES[0]} {printable(loop.loop)}", DEVIATES[2]),
            f" {entry.id}: ",
            printable(deviation.line),
        ).append(f"\n  {printable(deviation.link)}")
        for loop in results.values()
        for entry in clauses
        if (result := loop.clauses.get(entry.id)) is not None and (deviation := result.deviation) is not None
    ]
    return Group(*lines, Text())


def accidents(results: Results) -> Iterator[tuple[LoopResult, Accident]]:
    """Every kind of accident, loop by loop."""
    return ((loop, accident) for loop in results.values() for accident in loop.accidents)


def mishap(loop: LoopResult, accident: Accident) -> RenderableType:
    """What went wrong with one scenario, and went wrong again; :func:`mishap_line` belongs below."""
    title = Text.assemble(("✗ accident", "bold red"), "  ", (printable(loop.loop), "bold"))
    rows = [("it", f"{accident.words}, in {_counted(accident.count, 'run')}")]
    facts = _facts([*rows, *_listed("scenario", accident.scenario)])
    rule = Rule(title, align="left", style="dim", characters="─")
    return Group(rule, Padding(facts, (0, 0, 0, 2)))


def mishap_in_words(loop: LoopResult, accident: Accident) -> str:
    """An accident in a line, with what to type to see it again."""
    command = shlex.join(["loopspec", "check", loop.loop, "--replay", accident.token])
    return f"{accident.words}, in {_counted(accident.count, 'run')}; again: {command}"


def mishap_line(loop: LoopResult, accident: Accident) -> Text:
    """What to type to see that again."""
    command = shlex.join(["loopspec", "check", loop.loop, "--replay", accident.token])
    return Text(f"  $ {printable(command)}\n")


# --- what is broken -----------------------------------------------------------------------------------


def broken(results: Results, clauses: Sequence[Clause]) -> Iterator[tuple[LoopResult, Clause, ClauseResult]]:
    """Every broken clause, loop by loop, its MUSTs first."""
    for loop in results.values():
        for verdict in (Verdict.FAIL, Verdict.LOOSE):
            for entry in clauses:
                result = loop.clauses.get(entry.id)
                if result is not None and result.verdict is verdict and result.deviation is None:
                    yield loop, entry, result


def replay_command(loop: str, clause: str, token: str) -> str:
    """What to type to see that run again."""
    return shlex.join(["loopspec", "check", loop, "--clause", clause, "--replay", token])


def _facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value if isinstance(value, Text) else Text(printable(value)))
    return grid


def _heading(loop: str, clause: Clause, verdict: Verdict) -> RenderableType:
    sign, word, style = LOOKS[verdict]
    title = Text.assemble((f"{sign} {word}", style), "  ", (printable(loop), "bold"), "  ", clause.citation)
    return Rule(title, align="left", style="dim", characters="─")


def _run(example: Counterexample, width: int) -> RenderableType:
    rows: list[tuple[str, str | Text]] = [
        ("allowed", example.violation.allowed),
        ("observed", example.violation.observed),
    ]
    rows += _listed("scenario", example.scenario)
    table = interleaving(example.events, example.violation.position, width)
    return Group(_facts(rows), Padding(table, (1, 0)))


def breach(loop: LoopResult, clause: Clause, result: ClauseResult, width: int) -> RenderableType:
    """One broken clause of one loop, with the run that breaks it; :func:`replay_line` belongs below."""
    level = f"{clause.level.value}, broken in {_counted(result.broken, 'run')}; its premise came true "
    level += _counted(result.exercised, "time")
    body: list[RenderableType] = [_facts([("demands", clause.sentence), ("level", level)])]
    if result.counterexample is not None:
        body.append(_run(result.counterexample, width - 2))
    return Group(_heading(loop.loop, clause, result.verdict), Padding(Group(*body), (0, 0, 0, 2)))


def replay_line(loop: LoopResult, result: ClauseResult) -> Text:
    """What to type to see that run again; to be printed unwrapped, or it could not be copied."""
    example = result.counterexample
    if example is None:
        return Text("")
    return Text(f"  $ {printable(replay_command(loop.loop, result.clause, example.token))}\n")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def heading(seed: int | None, examples: int | None) -> Text:
    """What the run depends on, in a line: versions, seed, examples."""
    return Text(" · ".join(here(seed, examples).parts), "dim")


# --- the kernel -----------------------------------------------------------------------------------------


def comparison(found: Comparison, clauses: Sequence[Clause]) -> RenderableType:
    """How often each clause of the kernel's was asked of it, and how often it agreed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("clause", no_wrap=True)
    table.add_column("fired", justify="right")
    table.add_column("agreed", justify="right")
    table.add_column("")
    for entry in clauses:
        fired, agreed = found.fired[entry.id], found.agreed[entry.id]
        if entry.watches and not fired:
            continue  # a trace shows it, and the model has nothing to say
        verdict = Verdict.FAIL if agreed < fired else Verdict.PASS if fired else Verdict.NOT_EXERCISED
        sign, word, style = LOOKS[verdict]
        table.add_row(entry.id, f"{fired:,}", f"{agreed:,}", Text(f"{sign} {word}", style))
    asked = f"{_counted(found.calls, 'call')} in {_counted(found.sequences, 'sequence')}; at most "
    states = f"{_counted(found.most_states, 'state')} of the model were possible at once."
    return Group(Padding(table, (1, 0)), Text(asked + states))


def disagreement(found: Disagreement) -> RenderableType:
    """The shortest sequence of calls after which this kernel does what the model does not allow."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("observed", printable(found.observed))
    for place, allowed in enumerate(found.allowed):
        facts.add_row("" if place else "allowed", printable(allowed))
    facts.add_row("clauses", ", ".join(sorted(found.clauses)))
    return Group(
        Padding(facts, (1, 0)),
        Text("# This script shows it, on any Python 3.11 or later:"),
        Text(found.script),
    )


# --- a recorded trace ---------------------------------------------------------------------------------


def findings_as_result(loop: str, findings: Mapping[str, Finding]) -> LoopResult:
    """One judged trace as a column of the table."""
    clauses = {
        id: ClauseResult(id, entry.verdict, entry.exercised, entry.broken) for id, entry in findings.items()
    }
    return LoopResult(loop, "", clauses=clauses)


def place(file: str, found: Violation, clause: Clause) -> Text:
    """Where the refused event stands, as ``FILE:LINE``, which editors take; to be printed unwrapped."""
    sign, word, style = LOOKS[Verdict.FAIL if clause.level is Level.MUST else Verdict.LOOSE]
    line = found.position + 2  # lines count from 1, and the first is the header
    return Text.assemble(
        (printable(f"{file}:{line}"), "bold"), "  ", (f"{sign} {word}", style), "  ", clause.citation
    )


def violation(found: Violation, clause: Clause) -> RenderableType:
    """One refused event: itself, what was allowed, what was seen instead, and what the clause demands."""
    facts = _facts(
        [
            ("event", f"{type(found.event).__name__}: {told(found.event)}"),
            ("allowed", found.allowed),
            ("observed", found.observed),
            ("demands", clause.sentence),
        ]
    )
    return Padding(facts, (0, 0, 1, 2))


# --- the register -------------------------------------------------------------------------------------


def register_table(clauses: Sequence[Clause]) -> Table:
    """The register: a row a clause."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("clause", no_wrap=True)
    table.add_column("sentence", overflow="fold")
    following = [*(entry.area for entry in clauses[1:]), ""]
    for entry, next_area in zip(clauses, following, strict=False):
        style = "bold" if entry.level is Level.MUST else ""
        traits = f"{entry.level.value} · {entry.kind.value} · {entry.profile.value} · {entry.digest}"
        table.add_row(
            Text.assemble((entry.id, style), "\n", (traits, "dim")),
            Text(entry.sentence),
            end_section=next_area != entry.area,
        )
    return table


def difference(found: Difference) -> RenderableType:
    """A clause that one interpreter's loop keeps and another's breaks, in the same scenario."""
    breach = found.breach
    rows: list[tuple[str, str | Text]] = [
        ("broken", Text(f"under Python {', '.join(one.version for one in found.broken)}", "red")),
        ("kept", Text(f"under Python {', '.join(one.version for one in found.kept)}", "green")),
        ("observed", printable(breach.observed)),
        *_listed("scenario", breach.scenario),
    ]
    return Group(Rule(Text(breach.clause, "bold"), align="left"), _facts(rows))


def mutants_table(rows: Sequence[Row]) -> Table:
    """The table of mutants: a row a mutant and detector, and beside it what the explorer comes to."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("mutant", overflow="fold")
    table.add_column("breaks", overflow="fold")
    table.add_column("killed by", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("alone", justify="center", no_wrap=True)
    table.add_column("explorer after", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    for row in rows:
        told = Text.assemble((row.name, "bold"), "\n", (row.story, "dim"))
        if row.report is not None:
            told.append("\n").append(row.report, "dim underline")
        second = row.kill(EXPLORER)
        explored = (row.unexplored or "", "") if second is None else (f"{second.tried:,}", f"{second.size:,}")
        for kill in row.kills:
            if kill is not second:
                mark = "✓" if breaks_alone(row, kill) else ""
                cells = kill.detector, f"{kill.tried:,}", f"{kill.size:,}", mark
                table.add_row(told, row.clause, *cells, *explored)
                told, explored = Text(), ("", "")
    return table


def mutants_tally(rows: Sequence[Row]) -> str:
    """What the table of mutants comes to, in a sentence."""
    real = sum(row.report is not None for row in rows)
    kills = [kill for row in rows for kill in row.kills]
    by = Counter(kill.detector for kill in kills)
    told = ", ".join(f"{count:,} by {detector}" for detector, count in by.most_common())
    alone = {row.clause for row in rows for kill in row.kills if breaks_alone(row, kill)}
    return (
        f"{len(rows):,} mutants, {real:,} of them with a report of where it happened; killed {told}. "
        "after: how many scenarios, scripts, calls or surveys were tried up to the kill. "
        "steps: how many are left in the smallest that kills. "
        "alone: of all clauses this one only is broken there, but for those that break along with it by "
        f"their meaning; {len(alone):,} clauses are. "
        "explorer: schedules up to its kill, and how many pieces are left of that, or why there is none."
    )


def explanation(clause: Clause, evidence: Evidence, version: str) -> RenderableType:
    """Everything that is known of one clause, its rule as code included."""
    traits = f"{clause.level.value} · {clause.kind.value} · {clause.profile.value}"
    rows: list[tuple[str, str | Text]] = [
        ("sentence", Text(clause.sentence, "bold")),
        ("binds", traits),
        ("watches", _named(clause.watches) or "no trace: a rule of the model"),
        *([("also", f"{_named(clause.also)}, where the loop shows it")] if clause.also else []),
        ("source", clause.source or "this specification"),
        ("cite as", f"loopspec {version}, {clause.citation}"),
    ]
    rows += _listed("tests", evidence.tests)
    stories = [
        f"{entry.name}: {entry.story}" + (f" ({entry.report})" if entry.report else "")
        for entry in evidence.mutants
    ]
    rows += _listed("mutants", stories)
    # Whoever breaks it breaks these along with it.
    effects = [f"{each.effect}: {each.because}" for each in CONSEQUENCES if each.cause == clause.id]
    rows += _listed("entails", effects)
    code = inspect.cleandoc("\n" + inspect.getsource(clause.rule))
    place = f"{clause.rule.__module__}.{clause.rule.__qualname__}"
    return Group(
        Rule(Text(clause.id, "bold"), align="left", style="dim"),
        Padding(_facts(rows), (0, 0, 1, 0)),
        Text(place, "dim"),
        Syntax(code, "python", theme="ansi_dark", background_color="default", word_wrap=True),
    )


def _named(events: Iterable[type]) -> str:
    return ", ".join(sorted(event.__name__ for event in events))


def _listed(name: str, lines: Sequence[str]) -> list[tuple[str, str | Text]]:
    if not lines:
        return [(name, "none")]
    return [(name if place == 0 else "", line) for place, line in enumerate(lines)]


# --- for machines -------------------------------------------------------------------------------------


def _events(events: Iterable[Event]) -> list[object]:
    return [json.loads(encode(event)) for event in events]


def _counterexample(loop: str, example: Counterexample) -> dict[str, object]:
    found = example.violation
    return {
        "position": found.position,
        "allowed": found.allowed,
        "observed": found.observed,
        "token": example.token,
        "replay": replay_command(loop, found.clause, example.token),
        "scenario": list(example.scenario),
        "trace": _events(example.events),
    }


def _result(loop: str, entry: ClauseResult) -> dict[str, object]:
    example = entry.counterexample
    return {
        "verdict": entry.verdict.value,
        "exercised": entry.exercised,
        "broken": entry.broken,
        "share": entry.share,
        "deviation": None if entry.deviation is None else asdict(entry.deviation),
        "counterexample": None if example is None else _counterexample(loop, example),
    }


def as_json(results: Results, clauses: Sequence[Clause], setting: Setting) -> dict[str, object]:
    """All of a campaign, as JSON takes it. A trace is a list of what its lines of NDJSON hold."""
    return {
        "loopspec-results": JSON_FORMAT,
        **asdict(setting),
        "clauses": {
            entry.id: {"digest": entry.digest, "level": entry.level.value, "sentence": entry.sentence}
            for entry in clauses
        },
        "loops": {
            name: {
                "version": loop.version,
                "scenarios": loop.scenarios,
                "trouble": loop.trouble,
                "absent": loop.absent,
                "accidents": [asdict(accident) for accident in loop.accidents],
                "unrepeated": dict(loop.unrepeated),
                "clauses": {id: _result(loop.loop, entry) for id, entry in loop.clauses.items()},
            }
            for name, loop in results.items()
        },
    }
