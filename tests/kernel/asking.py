"""Asking model and kernel the same thing: a script of calls, each with the result that is claimed for it.

Numbers are the model's: the first descriptor of a script is 0. A claim holds if the live kernel gives that
result and the model allows it. What a script cannot be sure of, it does not claim: ``ANY`` takes what comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from loopspec.conformance.live import Report, Run
from loopspec.conformance.machine import Machine
from loopspec.kernel.calls import (
    DONE,
    SLEEPS,
    Call,
    Control,
    Count,
    Data,
    EpollControl,
    EpollWait,
    Events,
    Failed,
    Opened,
    Result,
)
from loopspec.kernel.state import Errno, Mask, Number, ThreadId

ANY: Final = None
Claim: TypeAlias = tuple[Call, Result | None]

DRIVER = ThreadId(0)
WORKER = ThreadId(1)
OTHER = ThreadId(2)
CHILD = ThreadId(9)


def n(number: int) -> Number:
    """A descriptor number."""
    return Number(number)


def opened(*numbers: int) -> Opened:
    """The call has opened these."""
    return Opened(tuple(Number(number) for number in numbers))


def events(*batch: tuple[int, int]) -> Events:
    """The wait has reported these (data, mask), in this order."""
    return Events(tuple((data, Mask(mask)) for data, mask in batch))


def failed(errno: Errno) -> Failed:
    """The call has failed so."""
    return Failed(errno)


def add(epfd: int, fd: int, mask: int, data: int | None = None) -> EpollControl:
    """ADD, with the number as data unless told otherwise."""
    return EpollControl(n(epfd), Control.ADD, n(fd), Mask(mask), fd if data is None else data)


def mod(epfd: int, fd: int, mask: int) -> EpollControl:
    """MOD, with the number as data."""
    return EpollControl(n(epfd), Control.MOD, n(fd), Mask(mask), fd)


def delete(epfd: int, fd: int) -> EpollControl:
    """DEL."""
    return EpollControl(n(epfd), Control.DEL, n(fd))


def wait(epfd: int, maxevents: int = 8) -> EpollWait:
    """A wait that does not sleep."""
    return EpollWait(n(epfd), maxevents, 0)


def asked(machine: Machine, claims: Sequence[Claim]) -> Iterator[str]:
    """What is wrong with ``claims``, a line each; the model's own disagreement is raised."""
    run = Run(machine, Report())
    for call, claimed in claims:
        seen = run.make(call)
        if claimed is not ANY and seen != claimed:
            yield f"{call} gave {seen}, not {claimed}"


__all__ = [
    "ANY",
    "CHILD",
    "DONE",
    "DRIVER",
    "OTHER",
    "SLEEPS",
    "WORKER",
    "Claim",
    "Count",
    "Data",
    "add",
    "asked",
    "delete",
    "events",
    "failed",
    "mod",
    "n",
    "opened",
    "wait",
]
