"""The benches: what is measured, on whom, and what comes out of it.

A bench is a function from :class:`Settings` to tables; each table holds, for every setting and loop, the
median over the rounds and their spread, and against refloop the ratio that was taken within each round.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from bench import explorer, tools
from bench.echo import SERVERS
from bench.measure import (
    COMPILED,
    COMPILED_PYTHON,
    Load,
    Run,
    Spread,
    echo_rounds,
    fresh_echo_rounds,
    has_valgrind,
    instructions,
    micro_rounds,
    ratio,
)
from bench.micro import MICRO

OURS: Final = "refloop"
CALLBACKS: Final = "refloop callbacks"
FLOOR: Final = "bare epoll"
PEERS: Final = ("uvloop", "trio", "curio")
"""The packages that hold peers: the extra ``bench`` installs them; what cannot be imported is left out."""

US, MS = 1e3, 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured. ``measure`` is in milliseconds; ``few`` are the rounds of what takes long."""

    program: Path
    rounds: int = 7
    few: int = 3
    measure: int = 300
    sizes: tuple[int, ...] = (64, 1024)
    connections: tuple[int, ...] = (10, 100, 1_000)
    counted: tuple[str, ...] = tuple(SERVERS)
    requests: int = 4_000
    idle: int = 10_000
    scale: float = 1.0
    memory: tuple[int, ...] = (100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one kind: for every setting and loop one number a round, in ``unit``; less is better."""

    title: str
    unit: str
    rounds: Mapping[str, Mapping[str, Sequence[float]]]
    remarks: Sequence[str] = field(default=())

    @property
    def panels(self) -> dict[str, dict[str, Spread]]:
        """For every setting and loop the median and the spread."""
        return {
            setting: {name: Spread.of(values) for name, values in loops.items()}
            for setting, loops in self.rounds.items()
        }

    def against(self, setting: str, name: str, of: str = OURS) -> Spread:
        """``name ÷ of``, within each round: above 1 ``of`` is ahead."""
        return ratio(self.rounds[setting][name], self.rounds[setting][of])


def present(names: Sequence[str]) -> list[str]:
    """Those of ``names`` that can be measured here."""
    return [
        name
        for name in names
        if _package(name) not in absent() and (name != COMPILED or COMPILED_PYTHON.exists())
    ]


@cache
def absent() -> dict[str, str]:
    """The peers that cannot be imported, each with what the interpreter says of it."""
    return {package: why for package in PEERS if (why := _unusable(package)) is not None}


def versions() -> dict[str, str]:
    """The versions of the peers that can be."""
    return {package: importlib.metadata.version(package) for package in PEERS if package not in absent()}


def _package(name: str) -> str | None:
    first = name.partition(" ")[0]
    return first if first in PEERS else None


def _unusable(package: str) -> str | None:
    """What the interpreter says when it imports ``package``: in a process of its own, so that no peer is in
    the one in which the explorer and the judge are measured."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _in(
    unit: float, values: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, dict[str, list[float]]]:
    """``values``, which are in nanoseconds, in ``unit`` of them."""
    return {
        setting: {name: [value / unit for value in rounds] for name, rounds in loops.items()}
        for setting, loops in values.items()
    }


# --- on sockets -------------------------------------------------------------------------------------------


def echo(settings: Settings) -> list[Table]:
    """Echo over TCP: CPU time a request, and what the clients wait for."""
    names = present(list(SERVERS))
    loads = {
        _words(size, connections): Load(active=connections, size=size, measure=settings.measure)
        for size in settings.sizes
        for connections in settings.connections
    }
    runs = echo_rounds(names, list(loads.values()), settings.rounds, settings.program)
    cost = {
        words: {name: [run.cpu for run in runs[load][name]] for name in names}
        for words, load in loads.items()
    }
    size = settings.sizes[0]
    waits: dict[str, dict[str, list[float]]] = {}
    for connections in settings.connections[-2:]:
        of = runs[loads[_words(size, connections)]]
        waits[f"{connections:,} connections, median"] = {
            name: [float(run.median) for run in of[name]] for name in names
        }
        waits[f"{connections:,} connections, 99 %"] = {
            name: [float(run.p99) for run in of[name]] for name in names
        }
        waits[f"{connections:,} connections, worst"] = {
            name: [float(run.worst) for run in of[name]] for name in names
        }
    everything = [run for by_name in runs.values() for of_name in by_name.values() for run in of_name]
    return [
        Table("echo", "server CPU time a request, µs", _in(US, cost), remarks=[_saturation(everything)]),
        Table("latency", f"round trip of {size} B as the client sees it, ms", _in(MS, waits)),
    ]


def _words(size: int, connections: int) -> str:
    return f"{_bytes(size)}, {connections:,} connections"


def _bytes(size: int) -> str:
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


def _saturation(runs: Sequence[Run]) -> str:
    """Who was busy: a load that is the bottleneck says nothing of the server's rate, only of its cost."""
    server = Spread.of([run.server_cpu / run.wall for run in runs])
    load = Spread.of([run.load_cpu / run.wall for run in runs])
    busier = sum(run.load_cpu > run.server_cpu for run in runs)
    return (
        f"the server's processor was busy {server.median:.0%} of the time ({server.low:.0%} to "
        f"{server.high:.0%}), the load's {load.median:.0%} ({load.low:.0%} to {load.high:.0%}); the load was "
        f"the busier of the two in {busier} of {len(runs)} runs"
    )


def count_instructions(settings: Settings) -> list[Table]:
    """Echo: user instructions a request, 64 B and 10 connections, under cachegrind."""
    if not has_valgrind():
        return []
    counted = instructions(present(settings.counted), settings.requests, settings.program)
    values = {"64 B, 10 connections": {name: [value] for name, value in counted.items()}}
    return [Table("instructions", "user instructions a request", values)]


def connections(settings: Settings) -> list[Table]:
    """Growth and memory: 10,000 connections of which 1 % are active, against 100 that all are."""
    names = present(list(SERVERS))
    active = max(1, settings.idle // 100)
    few = Load(active=active, measure=settings.measure)
    many = Load(active=active, idle=settings.idle - active, measure=settings.measure)
    costs: dict[str, dict[str, list[Run]]] = {
        "few": fresh_echo_rounds(names, few, settings.few, settings.program),
        "many": fresh_echo_rounds(names, many, settings.few, settings.program),
    }
    growth = {
        name: ratio([run.cpu for run in costs["many"][name]], [run.cpu for run in costs["few"][name]])
        for name in names
    }
    cost = {
        f"{active:,} connections, all active": costs["few"],
        f"{settings.idle:,} connections, 1 % active": costs["many"],
    }
    weight = {
        f"an idle connection, of {settings.idle:,}": {
            name: [(run.resident_after - run.resident_before) / settings.idle for run in costs["many"][name]]
            for name in names
        }
    }
    return [
        Table(
            "growth",
            "server CPU time a request, µs",
            _in(
                US,
                {
                    words: {name: [run.cpu for run in runs[name]] for name in names}
                    for words, runs in cost.items()
                },
            ),
            remarks=[
                "the second ÷ the first: "
                + ", ".join(f"{name} {spread.median:.2f}" for name, spread in growth.items())
            ],
        ),
        Table("connection memory", "resident bytes", weight),
    ]


# --- without sockets --------------------------------------------------------------------------------------


def _micro(measure: str, title: str, count: int, *, wall: bool = False) -> Callable[[Settings], list[Table]]:
    def bench(settings: Settings) -> list[Table]:
        loops, times = present(list(MICRO[measure])), max(1_000, int(count * settings.scale))
        reports = micro_rounds(measure, loops, times, settings.rounds)
        what = title.format(count=times)
        clocks = ("cpu", "wall") if wall else ("cpu",)
        values = {
            f"{what}, {'CPU time' if clock == 'cpu' else 'by the clock on the wall'}": {
                loop: [report[clock] for report in of_loop] for loop, of_loop in reports.items()
            }
            for clock in clocks
        }
        return [Table(measure, "ns", values)]

    bench.__doc__ = f"{title[0].upper()}{title[1:]}.".format(count=count)
    return bench


def task_memory(settings: Settings) -> list[Table]:
    """Memory of a task that waits for an event."""
    values: dict[str, dict[str, list[float]]] = {}
    for count in settings.memory:
        loops = present(list(MICRO["task-memory"]))
        if count > 100_000:
            loops = loops[:2]
        reports = micro_rounds("task-memory", loops, count, min(settings.few, max(1, 200_000 // count)))
        values[f"a suspended task, of {count:,}"] = {
            loop: [report["bytes"] for report in of_loop] for loop, of_loop in reports.items()
        }
    return [Table("task memory", "resident bytes", values)]


def explored(settings: Settings) -> list[Table]:
    """CPU time of the explorer for a schedule, with its trace off."""
    schedules = max(500, round(explorer.SCHEDULES * settings.scale))
    seconds = explorer.seconds_a_schedule(settings.rounds, schedules)
    a_second = f"{1 / Spread.of(seconds).median:,.0f} schedules a second and processor"
    values = {explorer.SCOPE: {OURS: [each * 1e6 for each in seconds]}}
    return [Table("explorer", "CPU time a schedule, µs", values, (a_second,))]


def judged_and_searched(settings: Settings) -> list[Table]:
    """CPU time of the judge for an event, and of the search of hashed states for a transition."""
    events = max(5_000, round(tools.EVENTS_JUDGED * settings.scale))
    judged = tools.seconds_an_event(settings.rounds, events)
    searched = tools.seconds_a_transition(settings.rounds, tools.SIZE if settings.scale else tools.SMALL)
    return [
        Table(
            "judge",
            "CPU time an event, µs",
            {"all rules on, a busy run": {OURS: [each * 1e6 for each in judged]}},
            (f"{1 / Spread.of(judged).median:,.0f} events a second and processor",),
        ),
        Table(
            "state search",
            "CPU time a transition, µs",
            {"reactor, scheduler, lock, pool": {OURS: [each * 1e6 for each in searched]}},
            (f"{1 / Spread.of(searched).median:,.0f} transitions a second and processor",),
        ),
    ]


BENCHES: Final[dict[str, Callable[[Settings], list[Table]]]] = {
    "echo": echo,
    "instructions": count_instructions,
    "connections": connections,
    "switch": _micro("switch", "a switch, 1,000 coroutines at a checkpoint", 300_000),
    "spawn": _micro("spawn", "spawn a task and have it finish", 50_000),
    "timers-fired": _micro("timers-fired", "a timer armed and fired, {count:,} of them", 100_000),
    "timers-cancelled": _micro("timers-cancelled", "a timer armed and cancelled, {count:,} of them", 100_000),
    "posts": _micro("posts", "a post of another thread, in a flood", 100_000, wall=True),
    "to-thread": _micro("to-thread", "a round trip to a worker thread", 3_000, wall=True),
    "task-memory": task_memory,
    "explorer": explored,
    "tools": judged_and_searched,
}
"""The benches by name."""


# --- what it ought to be ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """What refloop sets itself: in every setting of ``table`` that begins with ``setting``, the ratio of
    ``peer`` to ``of`` is at least ``least``."""

    table: str
    setting: str
    peer: str
    least: float
    of: str = OURS


TARGETS: Final = (
    Target("echo", "", "asyncio streams", 1.6),
    Target("echo", "", "uvloop streams", 1.25),
    Target("echo", "", "trio", 2.6),
    Target("echo", "", FLOOR, 1 / 1.35),
    Target("echo", "", "asyncio protocol", 1.2, of=CALLBACKS),
    Target("echo", "", "asyncio streams", 1.8, of=COMPILED),
    Target("latency", "1,000 connections, worst", "asyncio streams", 1.2),
    Target("switch", "", "asyncio", 4),
    Target("switch", "", "asyncio", 8, of=COMPILED),
    Target("spawn", "", "asyncio", 2),
    Target("timers-fired", "", "asyncio", 1.8),
    Target("timers-cancelled", "", "asyncio", 2),
    Target("posts", "", "asyncio", 8),
    Target("to-thread", "", "asyncio", 1.5),
    Target("task memory", "", "asyncio", 1.7),
    Target("connection memory", "", "asyncio streams", 3),
)

INSTRUCTIONS_AT_MOST: Final = 12_000
GROWTH_AT_MOST: Final = 1.3
RATES_AT_LEAST: Final = {
    "explorer": (20_000, "schedules"),
    "judge": (150_000, "events"),
    "state search": (150_000, "transitions"),
}
"""By table, in µs: how many ought to be done in a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a target, in one setting."""

    what: str
    wanted: str
    measured: str
    met: bool
    floor: str = ""  #: what the bare loop reaches, where it is measured


def outcomes(tables: Sequence[Table]) -> list[Outcome]:
    """Every target that ``tables`` have figures for."""
    by_title = {table.title: table for table in tables}
    found: list[Outcome] = []
    for target in TARGETS:
        table = by_title.get(target.table)
        if table is not None:
            found += _of(target, table)
    counted = by_title.get("instructions")
    if counted is not None:
        for setting, loops in counted.panels.items():
            found.append(
                _at_most(f"instructions, {setting}", loops[OURS].median, INSTRUCTIONS_AT_MOST, "{:,.0f}")
            )
    grown = by_title.get("growth")
    if grown is not None:
        few, many = grown.rounds.values()
        growth = ratio(many[OURS], few[OURS]).median
        found.append(_at_most("growth, 10,000 connections ÷ 100", growth, GROWTH_AT_MOST, "{:.2f}"))
    for title, (least, of) in RATES_AT_LEAST.items():
        table = by_title.get(title)
        for setting, loops in table.panels.items() if table is not None else ():
            rate, wanted = 1e6 / loops[OURS].median, f"at least {least:,} {of} a second"
            found.append(Outcome(f"{title}, {setting}", wanted, f"{rate:,.0f}", rate >= least))
    return found


def _of(target: Target, table: Table) -> list[Outcome]:
    found = []
    for setting, loops in table.panels.items():
        if setting.startswith(target.setting) and target.peer in loops and target.of in loops:
            measured = table.against(setting, target.peer, target.of).median
            what = f"{target.table}, {setting}: {target.peer} ÷ {target.of}"
            bare = FLOOR in loops and target.peer != FLOOR
            floor = f"{table.against(setting, target.peer, FLOOR).median:.2f}" if bare else ""
            wanted = f"at least {target.least:.2f}"
            found.append(Outcome(what, wanted, f"{measured:.2f}", measured >= target.least, floor))
    return found


def _at_most(what: str, measured: float, most: float, form: str) -> Outcome:
    return Outcome(what, f"at most {form.format(most)}", form.format(measured), measured <= most)
