"""The interpreter lock: has it changed hands, and is this address a part of it?

A thread that waits for the interpreter lock is suspended like any other, and the kernel does not know
what for. CPython does: it counts in ``switch_number`` how often the lock has gone to another thread, and
a thread that had to wait for the lock cannot have left that number as it was. If the number stands still,
a suspension was not for the lock: that is certain, and costs one read of memory.

Where the number lies differs between versions, and is not part of any interface. So it is found and not
known: the word before it is the switch interval, which can be set. Two unlikely values are set, one after
the other, and the one word of the interpreter's state that follows both is the interval. It is then
proved, by letting another thread run, that the number moves. What cannot be proved is not used: on a
free-threaded build or on an unknown Python there is no number, and the answer is None.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
import threading
from functools import cache
from typing import Final, NamedTuple

_STATE: Final = 1 << 20
"""So much of the interpreter's state is searched, in bytes."""
_NUMBER, _END = 24, 256
"""From the interval to the number of switches, and to behind the lock (pycore_gil.h, 3.11 to 3.13)."""
_ODD: Final = (0.005021, 0.005077)
"""Two switch intervals that no other word of the state is likely to have, in seconds."""


class Lock(NamedTuple):
    """The interpreter lock of this process: the number of its switches, and where in memory it lies."""

    number: memoryview
    start: int
    end: int

    def switches(self) -> int:
        """How often the lock has gone from one thread to another."""
        value: int = self.number[0]
        return value


def _states() -> list[int]:
    """Where the state begins that may hold the lock: of the interpreter since 3.12, of the runtime before."""
    found = []
    if sys.version_info >= (3, 12):
        get = ctypes.pythonapi.PyInterpreterState_Get
        get.restype = ctypes.c_void_p
        found.append(get())
    found.append(ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime")))
    return [int(address) for address in found if address]


def _places(memory: int, starts: list[int], interval: float) -> set[int]:
    """The addresses at which the words of the state are ``interval``."""
    wanted = struct.pack("=Q", round(interval * 1e6))
    found = set()
    for start in starts:
        # A read of one's own memory through the kernel ends with an error where nothing is mapped.
        state = os.pread(memory, _STATE, start)
        place = state.find(wanted)
        while place >= 0:
            if place % 8 == 0:
                found.add(start + place)
            place = state.find(wanted, place + 1)
    return found


def _interval() -> int | None:
    """The address of the switch interval, or None if not one word behaves like it."""
    before = sys.getswitchinterval()
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        starts = _states()
        found: list[set[int]] = []
        for odd in _ODD:
            sys.setswitchinterval(odd)
            found.append(_places(memory, starts, odd))
        (place,) = found[0] & found[1]
    except ValueError:
        return None
    finally:
        sys.setswitchinterval(before)
        os.close(memory)
    return place


def _number_at(address: int) -> memoryview:
    return memoryview(ctypes.c_uint64.from_address(address)).cast("B").cast("Q").toreadonly()


@cache
def find() -> Lock | None:
    """The interpreter lock, or None where it cannot be found for certain."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    try:
        place = _interval()
    except (OSError, AttributeError, ValueError):
        return None
    if place is None:
        return None
    number = _number_at(place + _NUMBER)
    before: int = number[0]
    thread = threading.Thread(target=int, name="loopspec-self-test")
    thread.start()
    thread.join()
    # Another thread has run in between: the lock went there and came back.
    moved = number[0] - before
    return Lock(number, place, place + _END) if 1 <= moved < 1000 else None
