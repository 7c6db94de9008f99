"""``loopspec explore``: a search, as a person asks for it and is told of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar

from loopspec import starvation
from loopspec.clause import Clause
from loopspec.conformance import exploration, explorer, report, scopes
from loopspec.conformance.exploration import Explored, Failure, Request, Told
from loopspec.conformance.explorer import Budget
from loopspec.conformance.interleaving import interleaving, told
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, Taped
from loopspec.conformance.scenario import in_words
from loopspec.trace import Event

KEPT, BROKEN, STOPPED = 0, 1, 130

A_MINUTE = 60.0

STARVATION = "starvation"
"""The scope that is not played but searched by states: the finite models of :mod:`loopspec.starvation`, and
the flawed ones, in which the search has to find somebody who starves."""

SEEDS = 2**32


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    scopes: tuple[str, ...]
    strategies: tuple[str, ...]
    seconds: float | None
    schedules: int | None
    seed: int | None
    clauses: tuple[Clause, ...]
    resume: Path | None
    untraced: bool


def search(out: Console, asked: Asked) -> int:
    """Search, show what was found, and give the exit status."""
    if STARVATION in asked.scopes:
        return search_models(out)
    # To go on needs the seed that it was begun with; whoever wants to names one, or has the first.
    drawn = 0 if asked.resume is not None else secrets.randbelow(SEEDS)
    seed = drawn if asked.seed is None else asked.seed
    names = explorer.named(asked.strategies)
    scope = scopes.named(asked.scopes, seed)
    request = Request(scope, names, seed, asked.clauses, asked.untraced)
    seconds = A_MINUTE if asked.seconds is None and asked.schedules is None else asked.seconds
    out.print(report.heading(seed, None), soft_wrap=True)
    out.print(f"scope {scope.name}: {scope.story}; {', '.join(names)}", soft_wrap=True, highlight=False)
    with _progress() as on_progress:
        found = exploration.explore(
            RefloopLoop,
            request,
            Budget(seconds, asked.schedules),
            resume=asked.resume,
            on_progress=on_progress,
        )
    for failure in found.failures:
        show_failure(out, failure)
    show_tally(out, found)
    if found.failures:
        return BROKEN
    return STOPPED if found.ended == "interrupted" else KEPT


def search_models(out: Console) -> int:
    """Search the finite models for a fair cycle on which somebody starves."""
    sound = starvation.sound()
    for found in (*sound, *starvation.flawed()):
        out.print(str(found), soft_wrap=True, highlight=False)
    return BROKEN if any(found.starvation is not None for found in sound) else KEPT


def replay(out: Console, token: str, clauses: tuple[Clause, ...]) -> int:
    """Play the case of ``token``, show its run, and give the exit status."""
    out.print(report.heading(None, None), soft_wrap=True)
    case, failures = exploration.replay(RefloopLoop, token, clauses)
    for failure in failures:
        show_failure(out, failure)
    if not failures:
        _show_case(out, case)
        events, _ = exploration.Bench(RefloopLoop, clauses).play(case, Taped(case.tape))
        out.print(interleaving(events, len(events), out.width))
        out.print("every clause is kept", highlight=False)
    return BROKEN if failures else KEPT


def show_tally(out: Console, found: Explored) -> None:
    """Scope, states, transitions, depth, schedules, and the word."""
    met = found.met
    out.print(
        f"{found.ended}: {met.schedules:,} schedules, {len(met.states):,} states, "
        f"{len(met.transitions):,} transitions, depth {met.depth}; "
        f"{len(met.exhausted)} of {len(found.scope.cases)} cases exhausted",
        soft_wrap=True,
        highlight=False,
    )
    shares = ", ".join(f"{name} {count:,}" for name, count in found.lines.items())
    out.print(f"schedules by strategy: {shares}", soft_wrap=True, highlight=False)
    exercised, observable = found.exercised
    rate = found.played / found.seconds if found.seconds else 0.0
    out.print(
        f"clauses exercised: {exercised} of {observable}; {rate:,.0f} schedules a second of processor time",
        soft_wrap=True,
        highlight=False,
    )


def _show_case(out: Console, case: Case) -> None:
    for line in in_words(case.scenario):
        out.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    tape = " ".join(map(str, case.tape)) or "calm"
    out.print(f"  on the {case.kernel} kernel, schedule: {tape}", soft_wrap=True, highlight=False)


def show_failure(out: Console, failure: Failure) -> None:
    """The failure, its run, and where the nearest run that passes parts from it."""
    out.print(f"✗ {failure.what}", style="bold red", soft_wrap=True, highlight=False)
    if failure.violation is not None:
        for line in (f"allowed:  {failure.violation.allowed}", f"observed: {failure.violation.observed}"):
            out.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    _show_case(out, failure.case)
    refused = len(failure.events) if failure.violation is None else failure.violation.position
    out.print(interleaving(failure.events, refused, out.width))
    parting = failure.parting
    if parting is not None:
        tape = " ".join(map(str, parting.passing.tape)) or "calm"
        out.print(
            f"the nearest run that passes goes the same way up to event {parting.common}, schedule: {tape}",
            soft_wrap=True,
            highlight=False,
        )
        for who, event in (("fails", parting.fails), ("passes", parting.passes)):
            out.print(f"  {who:6}: {_told(event)}", soft_wrap=True, highlight=False, markup=False)
    out.print(f"replay: loopspec explore --replay {failure.token}", soft_wrap=True, highlight=False)


def _told(event: Event | None) -> str:
    return "is over" if event is None else told(event)


@contextmanager
def _progress() -> Iterator[Callable[[Told], None]]:
    """A line on a terminal, elsewhere nothing."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield lambda _: None
        return
    with Bar(
        SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), console=screen, transient=True
    ) as bar:
        task = bar.add_task("", total=None)

        def draw(now: Told) -> None:
            exercised, observable = now.exercised
            bar.update(
                task,
                description=(
                    f"{now.schedules:,} schedules, {now.states:,} states, {now.rate:,.0f} new states "
                    f"a second, {exercised} of {observable} clauses exercised"
                ),
            )

        yield draw
