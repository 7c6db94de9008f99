"""A mutant on trial: a process forked from one that is warm, in which the change is made and tests run.

A function gets the code that the changed source compiles to, whoever holds the function and however it is
decorated. The code of a module or of a class body has run already: :func:`replacements` says None, and the
mutant has to be imported in a process in which the module has not been.

A mutant that computes without end is ended by the kernel at a limit of processor time, one that sleeps
without end by its parent, which counts only the time in which it sleeps: a busy machine makes nobody late.
What it started goes with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType
from typing import NoReturn

_FUNCTION = 0x1
"""CO_OPTIMIZED: the code is a function's, and not that of a module or of a class body."""

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: which signal a process is sent when its parent ends."""

_MEMORY = 2 << 30
"""Bytes that a mutant may take beyond what it begins with, since a loop without end may fill a list."""

_BEGINNING = 60.0
"""Seconds that a mutant may sleep before it begins its first test: one that collects has much to do."""

_LOOK = 0.05
"""Seconds between two looks at whether a mutant sleeps."""


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"  #: a test failed
    ENDLESS = "endless"  #: it computed, or slept, many times as long as a test does
    REFUSED = "refused"  #: no test failed, but the type checker refuses it
    SURVIVED = "survived"


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, and the last test that it began, the one that has killed it, if one has; or what
    the type checker said."""

    verdict: Verdict
    test: str


@dataclass(frozen=True)
class Told:
    """How a mutant tells its parent which test it begins, and how many seconds that may take."""

    descriptor: int

    def begins(self, test: str, seconds: float) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
        os.write(self.descriptor, f"{seconds} {test}".encode())


def tried(act: Callable[[Told], bool]) -> Outcome:
    """``act`` in a process of its own, which does whatever the mutant does and says whether it survived."""
    hear, tell = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)  # a message a read
    process = os.fork()
    if process == 0:
        _live(act, tell)
    os.close(tell)
    ends = os.pidfd_open(process)
    try:
        slept, last = _watched(process, ends, hear)
        os.kill(process, signal.SIGKILL)  # a zombie does not mind
        with suppress(ProcessLookupError):  # it has not come to have a group
            os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    finally:
        os.close(ends)
        os.close(hear)
    if slept or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome(Verdict.ENDLESS, last)
    return Outcome(Verdict.SURVIVED if status == 0 else Verdict.KILLED, last)


def _live(act: Callable[[Told], bool], tell: int) -> NoReturn:
    survived = False
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        memory = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        survived = act(Told(tell))
    finally:
        os._exit(0 if survived else 1)


def _watched(process: int, ends: int, hear: int) -> tuple[bool, str]:
    """Whether it slept for too long, and the last test that it began, once one of these is known."""
    slept, allowed, last = 0.0, _BEGINNING, ""
    while slept <= allowed:
        readable, _, _ = select.select([hear, ends], [], [], _LOOK)
        if hear in readable and (heard := os.read(hear, 4096)):
            seconds, _, last = heard.decode().partition(" ")
            slept, allowed = 0.0, float(seconds)
        elif ends in readable:
            return False, last
        elif _sleeps(process):
            slept += _LOOK
    return True, last


def _sleeps(process: int) -> bool:
    """Whether no thread of ``process``, or of any that descends from it, computes or wants to."""
    for task in Path(f"/proc/{process}/task").glob("*"):
        try:
            state = (
                (task / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
            )
            children = (task / "children").read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            return False  # it has just ended, which is something done
        if state in ("R", "D") or not all(_sleeps(int(child)) for child in children):
            return False
    return True


# -- new code for old functions


def replacements(original: CodeType, changed: CodeType) -> dict[tuple[str, int], CodeType] | None:
    """The code of each function that differs, by the function's qualified name and first line; None if
    something differs that the import runs."""
    if original.co_flags & _FUNCTION:
        return {} if original == changed else {(original.co_qualname, original.co_firstlineno): changed}
    if _by_itself(original) != _by_itself(changed):
        return None
    found: dict[tuple[str, int], CodeType] = {}
    for old, new in zip(_within(original), _within(changed), strict=True):
        deeper = replacements(old, new)
        if deeper is None or old.co_freevars != new.co_freevars:
            return None
        found |= deeper
    return found


def _within(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _by_itself(code: CodeType) -> CodeType:
    """``code`` without the functions in it, and without its line numbers."""
    constants = tuple(None if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"", co_firstlineno=1)


Functions = dict[tuple[str, int], list[FunctionType]]


def functions_of(path: Path) -> Functions:
    """The functions that live and whose code is that of the file ``path``."""
    found: Functions = defaultdict(list)
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == str(path):
            found[each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
    return found


def put_in(code: Mapping[tuple[str, int], CodeType], functions: Functions) -> None:
    """Give the functions their new code."""
    for place, new in code.items():
        for function in functions[place]:
            function.__code__ = new
    sys.dont_write_bytecode = True
