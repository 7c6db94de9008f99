"""The kernel's account of a process that is somebody else's: what its threads are suspended in, and on what.

All of it is read from ``/proc``, with no help from the process. That is enough to know when a server is *at
rest*, without a clock: a thread whose state is S, and whose count of switches is the same as at the look
before, has not run in between; if nothing was on its way at some moment in between, then nothing can wake it
but an act from outside. That nothing is on its way on the loopback device is known by sending a letter of
one's own: each processor keeps what it is to deliver in one queue, in order, so that when the letter has
come, everything that was sent before it from that processor has come, too.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

_CALLS: Final[Mapping[str, Mapping[int, str]]] = {
    "x86_64": {
        0: "read", 1: "write", 7: "poll", 23: "select", 35: "nanosleep", 42: "connect", 43: "accept",
        44: "send", 45: "recv", 61: "wait", 72: "fcntl", 73: "flock", 202: "futex", 230: "nanosleep",
        232: "epoll_wait", 257: "open", 270: "select", 271: "poll", 281: "epoll_wait", 288: "accept",
        441: "epoll_wait",
    },
    "aarch64": {
        22: "epoll_wait", 25: "fcntl", 32: "flock", 56: "open", 63: "read", 64: "write", 72: "select",
        73: "poll", 98: "futex", 101: "nanosleep", 115: "nanosleep", 202: "accept", 203: "connect",
        206: "send", 207: "recv", 242: "accept", 260: "wait", 441: "epoll_wait",
    },
}  # fmt: skip
"""The names of the calls that a server may be suspended in, by their number on each machine
(unistd.h); variants of one call share its name."""


class AccountError(RuntimeError):
    """The kernel, or the sandbox around it, does not tell what its threads do."""


class Thread(NamedTuple):
    """One thread at one moment: ``state`` as ``ps`` has it, ``switches`` how often it was switched out."""

    process: int
    thread: int
    state: str
    switches: tuple[int, int]


class Suspended(NamedTuple):
    """The call that a thread is suspended in, its first argument, and whether a time-out will end it."""

    call: str
    argument: int
    timed: bool


def processes(root: int) -> list[int]:
    """``root`` and all its descendants."""
    found = [root]
    for process in found:
        for task in _listed(f"/proc/{process}/task"):
            children = _read(f"/proc/{process}/task/{task}/children")
            found += map(int, children.split())
    return found


def threads(root: int) -> list[Thread]:
    """The threads of ``root`` and its descendants. One that ends meanwhile may be missing."""
    found = []
    for process in processes(root):
        for task in sorted(_listed(f"/proc/{process}/task"), key=int):
            fields = dict(
                line.split(":", 1) for line in _read(f"/proc/{process}/task/{task}/status").splitlines()
            )
            if fields:
                switches = fields["voluntary_ctxt_switches"], fields["nonvoluntary_ctxt_switches"]
                found.append(
                    Thread(
                        process, int(task), fields["State"].split()[0], (int(switches[0]), int(switches[1]))
                    )
                )
    return found


def suspended(thread: Thread) -> Suspended | None:
    """The call that ``thread`` is suspended in; None if it runs, or has ended.

    Raises :class:`AccountError` where that is hidden.
    """
    try:
        words = Path(f"/proc/{thread.process}/task/{thread.thread}/syscall").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        raise AccountError("/proc/PID/syscall is hidden here: measure outside of this sandbox") from None
    if len(words) < 7:
        return None
    names = _CALLS.get(platform.machine())
    if names is None:
        raise AccountError(f"the numbers of system calls on {platform.machine()} are not known here")
    call = names.get(int(words[0]), f"call {words[0]}")
    return Suspended(call, int(words[1], 16), call == "futex" and words[4] != "0x0")


def descriptors(process: int) -> dict[int, str]:
    """The descriptors of ``process`` by number, each with what it is, ``socket:[INODE]`` for one."""
    found = {}
    for number in _listed(f"/proc/{process}/fd"):
        try:
            found[int(number)] = str(Path(f"/proc/{process}/fd/{number}").readlink())
        except OSError:
            continue  # closed meanwhile
    return found


class Connection(NamedTuple):
    """One end of a TCP connection over IPv4, as the kernel lists it: ports, bytes that were sent and not
    acknowledged, and the number of its socket."""

    local: int
    remote: int
    unacknowledged: int
    inode: int


def connections() -> Iterator[Connection]:
    """All ends that are listed now."""
    for line in _read("/proc/self/net/tcp").splitlines()[1:]:
        words = line.split()
        local, remote = (int(words[place].rpartition(":")[2], 16) for place in (1, 2))
        yield Connection(local, remote, int(words[4].partition(":")[0], 16), int(words[9]))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208  # names are wanted, a thousand times a second
    except (FileNotFoundError, ProcessLookupError):
        return []


class Post:
    """Letters to oneself: when :meth:`flush` returns, what had been sent on the loopback device has come."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._there = socket.create_connection(listener.getsockname())
            self._here, _ = listener.accept()
        self._there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._processors = os.sched_getaffinity(0)

    def flush(self) -> None:
        """Send a letter from every processor, and wait for it."""
        try:
            for processor in self._processors:
                os.sched_setaffinity(0, {processor})
                self._there.send(b"!")
                self._here.recv(1)
        finally:
            os.sched_setaffinity(0, self._processors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._there.close()
        self._here.close()
