"""What is shown of the figures: tables in the terminal, and ``docs/performance.md`` with its pictures."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import refloop
from bench.benches import OURS, Outcome, Settings, Table, absent, outcomes, versions
from bench.measure import COMPILED, LOAD_CPU, SERVER_CPU, Spread
from bench.plots import Chart, number, svg

DOCS = Path(refloop.__file__).parents[2] / "docs"

PICTURES = {
    "throughput": ("What a request costs", "server CPU time a request, µs", ("echo",)),
    "latency": ("What a client waits for", "round trip, ms", ("latency",)),
    "memory": ("What waiting costs", "resident bytes", ("task memory", "connection memory")),
    "growth": (
        "What connections that are idle cost the others",
        "server CPU time a request, µs",
        ("growth",),
    ),
}
"""One picture each: title, unit, and the tables that it shows."""

WHY = """\
## Where a peer is ahead, and why

- **uvloop, Protocol** and the **bare epoll loop** spend less a request than a coroutine of refloop. uvloop's
  transport is C from the socket to the callback, and has neither tasks nor checkpoints on the way. The bare
  loop is the floor for Python: a wait, a receive and a send, and nobody to cancel, to time out, or to close.
- **What a request costs above the floor** is two steps of a task. Every public operation of refloop is a
  checkpoint on every successful call, sending included: a peer that always reads keeps no task from the
  others, and a cancellation comes before the effect or not at all. `drain` of asyncio goes on at once while
  its buffer is below the mark. Without the checkpoint in `send_all` a request would be a step and half a turn
  cheaper. It stays.
- **12,000 instructions a request** are out of reach of the interpreter for that reason: five thousand go to
  the floor, and the rest is some 340 bytecodes, each of which says one thing that a clause asks for: who is
  running, what it waits for, whether it is cancelled, in which context it runs, who holds the direction, and
  since which turn.
- **Of the CPU time of a request** the kernel takes the most, four fifths of the bare loop's, and from all
  alike. So no loop in Python is further ahead of asyncio than the bare one, whatever it saves.
- **An idle connection** of uvloop's Protocol or of a callback is smaller: nothing is suspended there, and the
  price is that the state between two requests is the programmer's to keep.
- **20,000 schedules a second** are out of the explorer's reach. No schedule is left out as equivalent, and
  coroutines cannot be copied, so that each is a run from the beginning: a reactor is made, three clients come
  and are accepted, ten turns pass, and all is closed again. More than a third of a schedule's time is
  refloop's own, as it is for everybody, and that alone is more than 50 µs; the rest is the model of the
  kernel, some 60 calls, the world that is made and taken down, and who acts when. Nearly every step of the
  model is one look-up by now. What is played unobserved is the same code that is judged.
- **curio** is left out where very many tasks live at once: what a spawn costs there grows with their number.
"""


COMPILED_WHY = """\
## Compiled

*refloop compiled* is what `make compiled` builds: the same sources, of which `compiled/modules.toml` says
what mypyc compiles and why the rest is not. Pure Python is the default and the authority, and the suite
passes on both. The handlers are the same for both, and interpreted.

- **What it saves** are instructions between the calls of the system and those of the handler: the turn, the
  step, the timers. `receive` and `send_all` are generators and stay interpreted: compiled, as async
  functions, they took 2,000 instructions a request more. Of the time of an echo most is the kernel's, so
  that it hardly changes.
- **1.8 times asyncio's streams** is about what the bare loop reaches, which has no tasks, no timers and no
  errors, and hardly anything to compile but two calls of the system.
- **8 times asyncio's switch** is out of reach while the handler is interpreted: half of what a compiled
  switch takes is the coroutine's own, a generator that is made, resumed and done with. A checkpoint that is
  none, but a trap whose `__await__` gives an iterator, was tried: compiled 6.9 times asyncio's, and in pure
  Python, which is the default, 5 to 10 % slower.
- What was left undone would have been paid for by the sources: calls that say less, copies of what is said
  once.
"""

NOT_COMPILED = """\
## Compiled

There was no compiled refloop to measure: `make compiled` builds one.
"""


def terminal(tables: Iterable[Table]) -> str:
    """The tables as lines of text."""
    return "\n".join(line for table in tables for line in _lines(table))


def _lines(table: Table) -> list[str]:
    lines = [f"{table.title}: {table.unit}"]
    for setting, loops in table.panels.items():
        lines.append(f"  {setting}")
        for name, spread in loops.items():
            against = None if name == OURS else table.against(setting, name)
            beside = "" if against is None else f"   {_ratio(against)} of {OURS}"
            lines.append(f"    {name:<18} {_spread(spread):>28}{beside}")
    lines += [f"  {remark}" for remark in table.remarks]
    return [*lines, ""]


def told(found: Iterable[Outcome]) -> str:
    """The targets as lines of text."""
    lines = [
        f"  {'met' if each.met else 'missed':<7} {each.what}: {each.measured}, {each.wanted}"
        for each in found
    ]
    return "\n".join(["targets", *lines]) if lines else ""


def _spread(spread: Spread) -> str:
    if spread.low == spread.high:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}–{number(spread.high)})"


def _ratio(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"×{spread.median:.2f}"
    return f"×{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


def write(tables: Sequence[Table], settings: Settings, load_before: float, load_after: float) -> None:
    """Write the document and its pictures."""
    DOCS.mkdir(exist_ok=True)
    for name, (title, unit, shown) in PICTURES.items():
        panels = {
            setting: loops
            for table in tables
            if table.title in shown
            for setting, loops in table.panels.items()
        }
        if panels:
            (DOCS / f"{name}.svg").write_text(svg(Chart(title, unit, panels)), encoding="utf-8")
    (DOCS / "performance.md").write_text(
        _document(tables, settings, load_before, load_after), encoding="utf-8"
    )


HOW = """\
## How it is measured

Each server runs in a process of its own on processor {server}, the load on processor {load}. The load is one
thread of C (`bench/load.c`): every connection sends, waits for the echo, and sends again. Rounds are
interleaved, {rounds} of them ({few} where one takes long), every loop in each, and beginning with another one
each time; a ratio is taken within a round. Shown are the median and, in brackets, the least and the most. CPU
time is the server's, user and kernel, which the load reads from the server's own clock as the counted
requests begin and end. Instructions are the user's, counted under cachegrind as the difference between two
runs. The thresholds of glibc's malloc are pinned, the same for all. The handlers are those of `bench/echo.py`
and `bench/micro.py`, on the public interface of each loop; nobody observes refloop. The explorer, the judge
and the search of states have no peers: theirs is the CPU time of the bench's own process.
"""

CROWDED = """\
Others worked on the same processors meanwhile: CPU time and instructions mean something, and the clock
on the wall little: latency, and whatever was taken by that clock, is to be taken again on a quiet machine."""

QUIET = "The machine was otherwise quiet."


def _document(tables: Sequence[Table], settings: Settings, before: float, after: float) -> str:
    in_pictures = {title for _, _, shown in PICTURES.values() for title in shown}
    parts = [
        "# Performance\n",
        "Written by `make bench`. The ratios are what to quote; absolute figures belong to the machine.\n",
        _setting(before, after),
        HOW.format(server=SERVER_CPU, load=LOAD_CPU, rounds=settings.rounds, few=settings.few),
        _targets(outcomes(tables)),
        WHY,
    ]
    for name, (title, _, shown) in PICTURES.items():
        parts += [f"## {title}\n", f"![{title}]({name}.svg)\n"]
        parts += [_markdown(table) for table in tables if table.title in shown]
    parts += ["## The rest\n", *(_markdown(table) for table in tables if table.title not in in_pictures)]
    parts.append(_compiled(tables))
    return "\n".join(parts).rstrip() + "\n"


def _compiled(tables: Sequence[Table]) -> str:
    """What compiling refloop buys, wherever both have been measured."""
    lines = ["| | refloop ÷ refloop compiled |", "|---|---|"]
    for table in tables:
        for setting, loops in table.panels.items():
            if COMPILED in loops:
                lines.append(
                    f"| {table.title}, {setting} | {_ratio(table.against(setting, OURS, COMPILED))} |"
                )
    return "\n".join([COMPILED_WHY, *lines, ""]) if len(lines) > 2 else NOT_COMPILED


def _setting(before: float, after: float) -> str:
    """When, where, on what, beside whom, and in what company."""
    today = datetime.datetime.now(datetime.UTC).date()
    peers = ", ".join(f"{name} {version}" for name, version in versions().items()) or "none"
    processors = len(os.sched_getaffinity(0))
    # The last minute of the benchmark itself makes up to two of the load: the server and its clients.
    crowd = CROWDED if before > 1 or after > 3 else QUIET
    lines = [
        f"{today} · CPython {platform.python_version()} · {platform.system()} {platform.release()}",
        f"{processors} processors · peers: {peers}",
        *(f"{package} is left out: {why}" for package, why in absent().items()),
        f"load average {before:.1f} before, {after:.1f} after",
    ]
    return " · ".join(lines) + f".\n\n{crowd}\n"


def _targets(found: Sequence[Outcome]) -> str:
    head = ["| what | wanted | measured | | bare epoll |", "|---|---|---|---|---|"]
    lines = ["## What refloop set out for\n", *head]
    for each in found:
        met = "met" if each.met else "**missed**"
        lines.append(f"| {each.what} | {each.wanted} | {each.measured} | {met} | {each.floor} |")
    lines.append(
        "\nThe last column is what a bare epoll loop reaches in refloop's place, "
        "and what no loop written in Python betters."
    )
    return "\n".join([*lines, ""])


def _markdown(table: Table) -> str:
    lines = []
    for setting, loops in table.panels.items():
        lines += [f"| {table.title}, {setting} | {table.unit} | ÷ {OURS} |", "|---|---|---|"]
        for name, spread in loops.items():
            against = None if name == OURS else table.against(setting, name)
            lines.append(f"| {name} | {_spread(spread)} | {'' if against is None else _ratio(against)} |")
        lines.append("")
    lines += [f"{remark[0].upper()}{remark[1:]}.\n" for remark in table.remarks]
    return "\n".join(lines)
