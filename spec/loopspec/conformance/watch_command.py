"""``loopspec watch``: runs a program as Python itself would, and tells afterwards what its loops did.

The program finds its own ``sys.argv``, its own ``sys.path[0]`` and itself as ``__main__``; its output is
its own, since the report goes to standard error; and its exit status is passed on. What was seen is told
even if it raises or is interrupted: a program that is stopped because it stalls is the one that is asked
about.
"""

from __future__ import annotations

import runpy
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import click

from loopspec.conformance import watch_report
from loopspec.conformance.result import UsageError
from loopspec.watching.sensors import SENSORS, SensorError
from loopspec.watching.session import Watching, watch
from loopspec.watching.steps import ALLOWED, Seen, Step

PERIOD: Final = 0.25
"""Seconds between two looks of the live report."""

BLOCKED, INTERRUPTED = 1, 130


@contextmanager
def _as_main(program: str, module: bool, args: Sequence[str]) -> Iterator[None]:
    """``sys.argv`` and ``sys.path`` as the program would find them."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = [program, *args]
    # The directory of the console script is what stands there now.
    sys.path[0] = "" if module else str(Path(program).resolve().parent)
    try:
        yield
    finally:
        sys.argv = argv
        sys.path[:] = path


def _run(program: str, module: bool) -> int:
    """Run the program to its end, and give its exit status as Python has it."""
    try:
        if module:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program, run_name="__main__")
    except SystemExit as ending:
        return _status(ending)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:
        traceback.print_exception(error.with_traceback(_own(error.__traceback__)))
        return 1
    return 0


def _own(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is the program's."""
    at = trace
    while at is not None:
        name = at.tb_frame.f_globals.get("__name__")
        if name not in (__name__, "runpy"):
            return at
        at = at.tb_next
    return trace


def _status(ending: SystemExit) -> int:
    match ending.code:
        case None:
            return 0
        case int(code):
            return code
        case message:
            click.echo(str(message), err=True)
            return 1


class _Live:
    """Tells every blocked step in a line, soon after it has ended, from a thread of its own."""

    def __init__(self, seen: Watching, allow: Sequence[str]) -> None:
        self._seen, self._allow = seen, allow
        self._told = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="loopspec-live", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._end.wait(PERIOD):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        steps = self._seen.seen.steps
        for step in steps[self._told :]:
            if not step.allowed(self._allow):
                click.echo(_line(step), err=True)
        self._told = len(steps)


def _line(step: Step) -> str:
    word = "held" if step.holds else step.verdict.value
    place = "" if step.place is None else f" at {step.place}"
    what = f"{step.kind} {step.name} {step.call}".rstrip()
    return f"loopspec: {word} {watch_report.ms(step.held)}{place} in {what}"


def main(
    program: str,
    args: Sequence[str],
    *,
    module: bool,
    page: Path | None,
    live: bool,
    held: float,
    sensor: str | None,
    allow: Sequence[str],
    fail: bool,
) -> int:
    """Run ``program`` under watch and tell what was seen. Gives the exit status.

    Raises :class:`UsageError` for a program or a sensor that there is not.
    """
    if not module and not Path(program).exists():
        raise UsageError(f"there is no file {program}: give a script, or a module with -m")
    allowed = (*ALLOWED, *allow)
    try:
        watching = watch(held=held, sensor=sensor)
        with watching as seen, _as_main(program, module, args):
            if live:
                with _Live(seen, allowed):
                    status = _run(program, module)
            else:
                status = _run(program, module)
    except SensorError as error:
        raise UsageError(f"{error}; the sensors are {', '.join(SENSORS)}") from None
    found = watching.seen.without(allowed)
    _tell(found, program, page)
    return BLOCKED if fail and status == 0 and found.blocked else status


def _tell(seen: Seen, program: str, page: Path | None) -> None:
    sys.stdout.flush()
    for line in watch_report.lines(seen):
        click.echo(line, err=True)
    if page is not None:
        page.write_text(watch_report.page(seen, f"loopspec watch {program}"), encoding="utf-8")
