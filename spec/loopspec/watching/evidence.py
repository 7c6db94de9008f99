"""Evidence: what the onlooker reads, joined with the frames of the thread that it reads about.

The onlooker (:mod:`loopspec.watching.onlooker`) is another process, which the loop does not notice. What
it cannot read is Python's frames. So a thread of this process sleeps on the onlooker's pipe, and takes
the frames of a loop thread when it is told that a step of it is late: never before, because to take them
it needs the interpreter lock. It is gone while the process forks, and a forked child has none of this.

Where there is no ``/proc``, or another process may not read it, steps are judged by their counts alone.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from loopspec.watching import lock, onlooker
from loopspec.watching.steps import Frame, Sample

_PROGRAM: Final = Path(onlooker.__file__)
_PACKAGE: Final = __name__.rpartition(".")[0]
_SET_TRACER: Final = 0x59616D61
_PATIENCE: Final = 2.0
"""Seconds after which an onlooker that does not answer is taken for dead."""
_KEPT: Final = 4096
"""So many late steps are remembered until they are asked for."""

_ACTIVE: weakref.WeakSet[Evidence] = weakref.WeakSet()


@dataclass
class Late:
    """What was seen of one late step."""

    samples: list[Sample] = field(default_factory=list)
    looks: int = 0
    stack: tuple[Frame, ...] = ()


class EvidenceError(OSError):
    """There is no evidence to be had here."""


def blank() -> memoryview:
    """A page that nobody looks at."""
    return memoryview(bytearray(mmap.PAGESIZE)).cast("Q")


def frames(frame: FrameType | None) -> tuple[Frame, ...]:
    """The stack that ends at ``frame``, the outermost first, up to where the step began."""
    found: list[Frame] = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        if module.startswith(_PACKAGE):
            if found:
                break
        else:
            name = frame.f_code.co_qualname
            if module == "asyncio.events" and name == "Handle._run":
                break
            found.append(Frame(frame.f_code.co_filename, frame.f_lineno, f"{module}.{name}"))
        frame = frame.f_back
    return tuple(reversed(found))


def _peer(fd: int) -> str:
    """What socket ``fd`` is, by its addresses, or nothing if that is not known any more."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            kind = (
                "listening socket" if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else "socket"
            )
            try:
                there = copy.getpeername()
            except OSError:
                return f"{kind} at {_address(copy.getsockname())}"
            return f"{kind} to {_address(there)}"
    except OSError:
        return ""


def _address(name: object) -> str:
    match name:
        case (str(host), int(port), *_):
            return f"{host}:{port}"
        case "" | b"":
            return "a nameless Unix socket"
        case _:
            return str(name)


def _described(fd: int | None, what: str) -> str:
    if fd is None:
        return ""
    if what.startswith("socket:"):
        return f"{fd}, {_peer(fd) or what}"
    return f"{fd}, {what}" if what else str(fd)


class Evidence:
    """The onlooker and the thread that waits for its word."""

    def __init__(self, hold: int) -> None:
        """``hold``: nanoseconds after which a step that computes is looked at.

        Raises :class:`EvidenceError` where a process may not look into another.
        """
        self._late: dict[tuple[int, int], Late] = {}
        self._threads: dict[int, int] = {}
        self._answered = threading.Event()
        self._lock = lock.find()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self.onlooker = 0
        try:
            page = os.memfd_create("loopspec", os.MFD_CLOEXEC)
            os.ftruncate(page, mmap.PAGESIZE)
            # Unmapped by whoever lets go of it last: a thread may be about to write its time into it.
            self.page = memoryview(mmap.mmap(page, mmap.PAGESIZE)).cast("Q")
        except (OSError, AttributeError) as error:
            raise EvidenceError(f"no shared memory: {error}") from None
        try:
            self._from, self._to = self._start(page, hold)
        finally:
            os.close(page)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._listen()
        _ACTIVE.add(self)

    def _start(self, page: int, hold: int) -> tuple[int, int]:
        come, theirs = os.pipe()
        ours, go = os.pipe()
        command = [sys.executable, "-I", "-S", str(_PROGRAM), str(os.getpid()), str(page), str(hold)]
        try:
            subprocess.run(
                command, stdin=ours, stdout=theirs, stderr=subprocess.DEVNULL, pass_fds=(page,), timeout=10
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(come)
            os.close(go)
            raise EvidenceError(f"the onlooker does not start: {error}") from None
        finally:
            os.close(theirs)
            os.close(ours)
        try:
            self._admit(come, go)
        except EvidenceError:
            os.close(come)
            os.close(go)
            raise
        return come, go

    def _admit(self, come: int, go: int) -> None:
        """Find out whether the onlooker may look, and let it, where that needs to be said (yama)."""
        process = _line(come)
        if not process.strip().isdigit():
            raise EvidenceError("the onlooker does not start")
        for attempt in range(2):
            os.write(go, b"?")
            if _line(come).strip() == b"yes":
                self.onlooker = int(process)
                return
            if attempt == 0:
                ctypes.CDLL(None).prctl(_SET_TRACER, ctypes.c_ulong(int(process)), 0, 0, 0)
        raise EvidenceError("/proc/PID/syscall is hidden from other processes here")

    def _listen(self) -> None:
        self._thread = threading.Thread(target=self._run, name="loopspec-evidence", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rest = b""
        while True:
            ready, _, _ = select.select([self._from, self._stop], [], [])
            if self._stop in ready:
                os.read(self._stop, 8)
                return
            chunk = os.read(self._from, 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        match json.loads(line):
            case None:
                self._answered.set()
            case [int(slot), int(begun), call, fd, str(what), int(argument), str(channel)]:
                self._note(slot, begun, call, fd, what, argument, channel)
            case _:
                return

    def _note(
        self, slot: int, begun: int, call: object, fd: object, what: str, argument: int, channel: str
    ) -> None:
        late = self._late.setdefault((slot, begun), Late())
        current: bool = self.page[2 * slot + 1] == begun
        if current and slot in self._threads:
            frame = sys._current_frames().get(self._threads[slot])
            # The loop's thread cannot have gone on meanwhile: this thread has the interpreter lock.
            if not late.stack or call is not None:
                late.stack = frames(frame) or late.stack
        late.looks += 1
        number = fd if isinstance(fd, int) else None
        own = self._lock is not None and self._lock.start <= argument < self._lock.end
        if call is None:
            late.samples.append(Sample(None, "", channel, False))
        else:
            where = _described(number, what)
            late.samples.append(Sample(str(call), where, channel, call == "futex" and own))
        while len(self._late) > _KEPT:
            del self._late[next(iter(self._late))]

    # --- for the threads that are watched ---

    def enter(self) -> int | None:
        """A place in the page for the calling thread, or None if all are taken."""
        for slot in range(onlooker.SLOTS):
            if slot not in self._threads:
                self._threads[slot] = threading.get_ident()
                self.page[2 * slot + 1] = 0
                self.page[2 * slot] = threading.get_native_id()
                return slot
        return None

    def leave(self, slot: int) -> None:
        """Give the place back."""
        self.page[2 * slot] = self.page[2 * slot + 1] = 0
        self._threads.pop(slot, None)

    def drain(self) -> None:
        """Return when all that the onlooker has said so far is known here, or it turns out to be dead."""
        self._answered.clear()
        if self._thread is None:
            return
        with suppress(OSError):
            os.write(self._to, b"!")
            self._answered.wait(_PATIENCE)

    def of(self, slot: int, begun: int) -> Late | None:
        """What was seen of the step that began then, once."""
        return self._late.pop((slot, begun), None)

    def has_found_a_wait(self, since: int) -> bool:
        """Whether a step that began after ``since`` and is not over was found suspended, not for the lock."""
        return any(
            sample.call is not None and not sample.lock
            for (slot, begun), late in list(self._late.items())
            if since <= begun == self.page[2 * slot + 1]
            for sample in list(late.samples)
        )

    # --- its life ---

    def pause(self) -> None:
        """End the thread that listens."""
        if self._thread is not None and self._thread.is_alive():
            os.eventfd_write(self._stop, 1)
            self._thread.join(_PATIENCE)
        self._thread = None

    def resume(self) -> None:
        """Listen again."""
        if self._process == os.getpid():
            self._listen()

    def close(self) -> None:
        """End the thread; the onlooker ends with its pipe."""
        _ACTIVE.discard(self)
        self.pause()
        self.give_up()

    def give_up(self) -> None:
        """Give back what a forked child has of it as well: descriptors and memory."""
        self._thread = None
        self.page = blank()
        for fd in (self._from, self._to, self._stop):
            with suppress(OSError):
                os.close(fd)


def _line(fd: int) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        if not select.select([fd], [], [], _PATIENCE)[0]:
            raise EvidenceError("the onlooker does not answer")
        byte = os.read(fd, 1)
        if not byte:
            raise EvidenceError("the onlooker has ended")
        found += byte
    return found


def _before_fork() -> None:
    for active in list(_ACTIVE):
        active.pause()


def _in_parent() -> None:
    for active in list(_ACTIVE):
        active.resume()


def _in_child() -> None:
    for active in list(_ACTIVE):
        _ACTIVE.discard(active)
        active.give_up()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
