"""Sensors: has the kernel suspended this thread since I last looked, and for how long?

The best answer costs nothing to ask for. ``perf_event_open`` gives a thread a ring in shared memory into
which the kernel writes a record whenever the thread is switched out or in, and says of each switch out
whether the thread was still runnable. The head of the ring is one word of that memory: as long as it has
not moved, the thread has not been suspended, and to know this takes no system call. The ring needs no
privilege where ``perf_event_paranoid`` is 2 or less. It is mapped read-only, so that the kernel
overwrites what is old: a ring that nobody empties is never full.

Where the ring is refused (paranoid 3, a container's filter), ``getrusage`` counts the same switches, for
a system call a look, and without their times. Where that, too, says nothing (a sandbox that answers
zero), there are two clocks: time that has passed and the processor did not work. That is a guess, for a
preempted thread looks the same, and a sensor that guesses says so.

Which sensor tells the truth is found out by trying: suspend a thread for a moment, compute in it for a
moment, and see that the one is told and the other is not.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import resource
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from typing import Final, NamedTuple, Protocol

_OPEN: Final = {"x86_64": 298, "aarch64": 241}
"""The number of ``perf_event_open`` on each machine (unistd.h)."""

_SOFTWARE, _DUMMY = 1, 9
_SAMPLE_TID_TIME: Final = 1 << 1 | 1 << 2
_FLAGS: Final = 1 << 5 | 1 << 6 | 1 << 18 | 1 << 25 | 1 << 26
"""exclude_kernel, exclude_hv, sample_id_all, use_clockid, context_switch."""
_CLOEXEC: Final = 8

_HEAD: Final = 1024 // 8
"""Where the head of the ring is in its control page, in words (linux/perf_event.h)."""
_PAGES: Final = 16
_SWITCH, _OUT, _PREEMPTED = 14, 1 << 13, 1 << 14
_WORDS: Final = 3
"""A record of a switch: header, process and thread, time; a word each."""

_GUESSED: Final = 1_000_000
"""Nanoseconds off the processor below which the two clocks do not tell anything."""


class Heads(Protocol):
    """The number that moves, as something to be indexed by 0: of all ways to read a word the quickest."""

    def __getitem__(self, index: int, /) -> int:
        """The number."""


class Asked:
    """The number, where it has to be asked for."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    def __getitem__(self, index: int, /) -> int:
        return self._read()


def _first(heads: Heads) -> int:
    return heads[0]


class Account(NamedTuple):
    """What the kernel says of a stretch of time: how many ``times`` the thread was suspended, and how many
    nanoseconds it was ``suspended`` and ``preempted``; None where the sensor cannot tell."""

    times: int
    suspended: int | None
    preempted: int | None


class SensorError(OSError):
    """A sensor that is refused here, or does not tell the truth."""


class Sensor(Protocol):
    """What one thread is asked by. Made in the thread that it is about, and used there alone."""

    @property
    def name(self) -> str:
        """How reports name it."""

    @property
    def read(self) -> Callable[[], int]:
        """A number that moves when the thread is suspended, and may move when it is preempted."""

    @property
    def heads(self) -> Heads:
        """The same number."""

    def since(self, before: int, now: int) -> Account:
        """What happened while the number moved from ``before`` to ``now``."""

    def close(self) -> None:
        """Give back what the sensor holds."""


class Ring:
    """The thread's ring of context switches."""

    name = "ring"

    def __init__(self) -> None:
        """Raises :class:`SensorError` where ``perf_event_open`` is refused."""
        number = _OPEN.get(platform.machine())
        if number is None:
            raise SensorError(f"the number of perf_event_open on {platform.machine()} is not known here")
        attributes = struct.pack(
            "=IIQQQQQ48xiI16x",
            _SOFTWARE,
            128,
            _DUMMY,
            0,
            _SAMPLE_TID_TIME,
            0,
            _FLAGS,
            time.CLOCK_MONOTONIC,
            0,
        )
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        fd = syscall(number, attributes.ljust(128, b"\0"), 0, -1, -1, ctypes.c_ulong(_CLOEXEC))
        if fd < 0:
            raise SensorError(f"perf_event_open: {os.strerror(ctypes.get_errno())}")
        page = mmap.PAGESIZE
        try:
            self._map = mmap.mmap(fd, page * (1 + _PAGES), prot=mmap.PROT_READ)
        except OSError as error:
            raise SensorError(f"the ring of perf_event_open cannot be mapped: {error.strerror}") from None
        finally:
            os.close(fd)
        whole = memoryview(self._map)
        words = whole.cast("Q")
        self._views = (whole, words, whole[page:].cast("Q"), words[_HEAD : _HEAD + 1])
        self._data = self._views[2]
        self.heads: Heads = self._views[3]
        self.read: Callable[[], int] = partial(_first, self._views[3])

    def since(self, before: int, now: int) -> Account:
        """Read the records between two positions of the head.

        A thread that was switched more often than the ring is long has its latest switches told with their
        times, and the others counted as like them.
        """
        records = (now - before) // (8 * _WORDS)
        kept = min(records, len(self._data) // _WORDS - 1)
        times = suspended = preempted = 0
        out: tuple[int, bool] | None = None
        for header, at in self._records(now, kept):
            if header & 0xFFFFFFFF != _SWITCH:
                continue
            misc = header >> 32
            if misc & _OUT:
                out = (at, bool(misc & _PREEMPTED))
                times += not out[1]
            elif out is not None:
                if out[1]:
                    preempted += at - out[0]
                else:
                    suspended += at - out[0]
                out = None
        return Account(times * records // kept if kept else 0, suspended, preempted)

    def _records(self, head: int, count: int) -> Iterator[tuple[int, int]]:
        """Header and time of the last ``count`` records before ``head``."""
        size = len(self._data)
        for place in range(head // 8 - count * _WORDS, head // 8, _WORDS):
            yield self._data[place % size], self._data[(place + 2) % size]

    def close(self) -> None:
        """Unmap the ring; the kernel then stops writing it."""
        self.read, self.heads = partial(int, 0), [0]
        for view in reversed(self._views):
            view.release()
        self._map.close()


def _voluntary() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Usage:
    """The thread's count of voluntary switches, ``ru_nvcsw``: exact, without times."""

    name = "ru_nvcsw"

    def __init__(self) -> None:
        self.read: Callable[[], int] = _voluntary
        self.heads: Heads = Asked(_voluntary)

    def since(self, before: int, now: int) -> Account:
        """Every one of these switches is a suspension."""
        return Account(now - before, None, None)

    def close(self) -> None:
        """There is nothing to give back."""


def _off_processor() -> int:
    """Milliseconds that have passed and this thread did not work in.

    In whole milliseconds, so that the number does not move by being read.
    """
    return (time.monotonic_ns() - time.thread_time_ns()) // _GUESSED


class Clock:
    """The two clocks. A guess: time without work may be a preemption as well."""

    name = "clock"

    def __init__(self) -> None:
        self.read: Callable[[], int] = _off_processor
        self.heads: Heads = Asked(_off_processor)

    def since(self, before: int, now: int) -> Account:
        """At most one suspension is told: how many there were is not known.

        One whole millisecond may be the rest of two parts, and does not count.
        """
        off = now - before
        return Account(1, off * _GUESSED, None) if off > 1 else Account(0, 0, None)

    def close(self) -> None:
        """There is nothing to give back."""


SENSORS: Final[dict[str, Callable[[], Sensor]]] = {"ring": Ring, "ru_nvcsw": Usage, "clock": Clock}
"""Every sensor by its name, the best first."""

GUESSES: Final = frozenset({"clock"})
"""The sensors whose word is no proof."""


def _asleep(sensor: Sensor, seconds: float) -> Account:
    before = sensor.read()
    time.sleep(seconds)
    return sensor.since(before, sensor.read())


def _try(make: Callable[[], Sensor], seconds: float) -> str | None:
    """What is wrong with the sensors that ``make`` makes, found out in this thread; None if nothing is."""
    try:
        with closing(make()) as sensor:
            asleep = _asleep(sensor, seconds)
    except OSError as error:
        return str(error)
    if not asleep.times:
        return "a thread that slept is said to have run"
    if asleep.suspended is not None and not 0 < asleep.suspended < 1_000_000_000 * (seconds + 60):
        return f"a sleep of {seconds * 1000:g} ms is said to have taken {asleep.suspended} ns"
    return None


@cache
def trouble(name: str) -> str | None:
    """Why the sensor ``name`` cannot be used here, or None if it tells the truth.

    It is tried once a process, in a thread of its own, for a few milliseconds at most.
    """
    found: list[str | None] = []
    make = SENSORS[name]
    seconds = 0.005 if name in GUESSES else 0.0002
    thread = threading.Thread(target=lambda: found.append(_try(make, seconds)), name="loopspec-self-test")
    thread.start()
    thread.join()
    return found[0] if found else "its self-test raised"


class Choice(NamedTuple):
    """The sensor that is used, by name, and a line for each better one that is not."""

    name: str
    lost: tuple[str, ...]


LOSSES: Final = {
    "ring": "suspensions are counted by a system call a step, and their length is not exact",
    "ru_nvcsw": "a suspension below 2 ms is not seen, and a preempted step may be taken for a suspended one",
}
"""What is lost without each sensor."""


def choose(wanted: str | None = None) -> Choice:
    """The best sensor that works here, or ``wanted``.

    Raises :class:`SensorError` if ``wanted`` is no sensor, or does not work here.
    """
    if wanted is not None:
        if wanted not in SENSORS:
            raise SensorError(f"no sensor is named {wanted!r}: there are {', '.join(SENSORS)}")
        if (wrong := trouble(wanted)) is not None:
            raise SensorError(f"the sensor {wanted} does not work here: {wrong}")
        return Choice(wanted, ())
    lost: list[str] = []
    for name in SENSORS:
        if (wrong := trouble(name)) is None:
            return Choice(name, tuple(lost))
        if name in LOSSES:
            lost.append(f"no {name} ({wrong}): {LOSSES[name]}")
    return Choice("clock", tuple(lost))
