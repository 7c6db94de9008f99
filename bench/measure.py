"""How a figure is come by: processes of their own, pinned apart; rounds that are interleaved; ratios that are
paired.

The speed of a machine wanders by a factor of two within hours, and by less within minutes; so every loop is
measured in every round, the rounds follow each other, and a ratio is taken within a round before the median
is taken over rounds. What is compared is CPU time: the time that a loop takes from its processor, which other
people on the machine disturb little, where what the clock on the wall shows is theirs as much as ours.

The server has one processor to itself and the load another (:data:`SERVER_CPU`, :data:`LOAD_CPU`). glibc's
malloc adapts its thresholds to what a process happens to do, so that the same code may or may not return
memory to the kernel at every request: they are pinned, the same for all (:data:`ENVIRONMENT`).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "load.c"

_CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = _CPUS[-1], _CPUS[0]

ENVIRONMENT = {
    **os.environ,
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TOP_PAD_": str(2**20),
    "PYTHONHASHSEED": "0",
}

PATIENCE = 300
"""No single run takes so many seconds."""

DIRECTORY = str(HERE.parent)

COMPILED = "refloop compiled"
"""The loop that is refloop, in the environment that ``make compiled`` has made."""

COMPILED_PYTHON = HERE.parent / "build" / "compiled" / "venv" / "bin" / "python"


class BenchError(Exception):
    """A run that gave no figure; its text says why in a line."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do: see ``load.c``, whose arguments these are."""

    active: int
    idle: int = 0
    size: int = 64
    warmup: int = 100
    measure: int = 300
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the load has seen; times in nanoseconds, memory in bytes."""

    requests: int
    wall: int
    server_cpu: int
    load_cpu: int
    resident_before: int
    resident_after: int
    median: int
    p99: int
    worst: int

    @property
    def cpu(self) -> float:
        """The server's CPU time a request."""
        return self.server_cpu / self.requests


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, and the extremes."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of one value a round."""
        return Spread(statistics.median(values), min(values), max(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """``above ÷ below``, taken within each round."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def allow_many_descriptors() -> None:
    """Let this process and its children have as many descriptors as the system grants."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def built_load() -> Iterator[Path]:
    """The load generator, compiled for the occasion."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchError("the load generator is C and there is no compiler: install gcc")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        program = Path(directory) / "load"
        made = subprocess.run(
            [compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise BenchError(f"{SOURCE.name} does not compile: {made.stderr.strip().splitlines()[0]}")
        yield program


def _pinned(cpu: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(cpu), *command]


def _program(module: str, *arguments: str) -> list[str]:
    """``python -m module arguments``: refloop compiled is refloop for another interpreter."""
    python = COMPILED_PYTHON if COMPILED in arguments else sys.executable
    return [str(python), "-m", module, *("refloop" if each == COMPILED else each for each in arguments)]


@dataclass(frozen=True, slots=True)
class Server:
    """An echo server that runs."""

    pid: int
    port: int


@contextmanager
def serving(name: str, under: Sequence[str] = (), errors: Path = Path(os.devnull)) -> Iterator[Server]:
    """The echo server of loop ``name`` in a process of its own, run by the command ``under`` if given; what
    it has to say goes to the file ``errors``."""
    command = [*under, *_program("bench.echo", name)]
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            command if under else _pinned(SERVER_CPU, command),  # instructions are the same anywhere
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=ENVIRONMENT,
            cwd=DIRECTORY,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            port = process.stdout.readline()
            if not port:
                raise BenchError(f"the echo server of {name} has not come up")
            yield Server(process.pid, int(port))
        finally:
            process.terminate()


def put_under(load: Load, server: Server, program: Path) -> Run:
    """Have the clients of ``load`` talk to ``server``."""
    arguments = (
        server.port,
        server.pid,
        load.active,
        load.idle,
        load.size,
        load.warmup,
        load.measure,
        load.requests,
    )
    return Run(**json.loads(_output(LOAD_CPU, [str(program), *map(str, arguments)])))


def _output(cpu: int, command: Sequence[str]) -> str:
    """What ``command`` prints, run on processor ``cpu``; :class:`BenchError` if it fails or does not end."""
    try:
        done = subprocess.run(
            _pinned(cpu, command),
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            cwd=DIRECTORY,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)} has not ended within {PATIENCE} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise BenchError(f"{' '.join(command)}: {said[-1]}")
    return done.stdout


def echo_rounds(
    names: Sequence[str], loads: Sequence[Load], rounds: int, program: Path
) -> dict[Load, dict[str, list[Run]]]:
    """Every loop under every load, once a round: one list with a run a round for each."""
    runs: dict[Load, dict[str, list[Run]]] = {load: {name: [] for name in names} for load in loads}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name)) for name in names}
        for number in range(rounds):
            for load in loads:
                for name in _rotated(names, number):
                    runs[load][name].append(put_under(load, servers[name], program))
    return runs


def fresh_echo_rounds(names: Sequence[str], load: Load, rounds: int, program: Path) -> dict[str, list[Run]]:
    """Like :func:`echo_rounds`, with a server that is new each time: what is resident is what it needs."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds):
        for name in _rotated(names, number):
            with serving(name) as server:
                runs[name].append(put_under(load, server, program))
    return runs


def _rotated(names: Sequence[str], by: int) -> Sequence[str]:
    """Nobody is always the first, who finds the processor cold."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


def micro_rounds(
    measure: str, loops: Sequence[str], count: int, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """One measure of :mod:`bench.micro` on each of ``loops``, in a new process each time."""
    reports: dict[str, list[dict[str, float]]] = {loop: [] for loop in loops}
    for number in range(rounds):
        for loop in _rotated(loops, number):
            command = _program("bench.micro", measure, loop, str(count))
            reports[loop].append(json.loads(_output(SERVER_CPU, command)))
    return reports


# --- instructions -------------------------------------------------------------------------------------------

_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


def has_valgrind() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def instructions(names: Sequence[str], requests: int, program: Path) -> dict[str, float]:
    """User instructions a request, 10 connections with 64 B: the difference between a run with ``requests``
    more and one without, so that what comes before the first request does not count."""
    few = 500
    tasks = [(name, few + more) for name in names for more in (0, requests)]
    with ThreadPoolExecutor(len(_CPUS)) as pool:
        counted = list(pool.map(lambda task: _counted(task[0], task[1], program), tasks))
    return {
        name: (counted[2 * place + 1] - counted[2 * place]) / requests for place, name in enumerate(names)
    }


def _counted(name: str, requests: int, program: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        told = Path(directory) / "told"
        with serving(name, _VALGRIND, told) as server:
            put_under(Load(active=10, requests=requests), server, program)
        found = re.search(r"I\s+refs:\s+([\d,]+)", told.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise BenchError(f"valgrind has not said how many instructions {name} took")
    return int(found[1].replace(",", ""))
