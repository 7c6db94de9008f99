"""The onlooker: a process that looks on while a loop thread is late, and reads what the kernel says of it.

It is a program of its own, started by its path, so that it costs the watched process neither the interpreter
lock nor a child to wait for. Thread and time of the current step stand in a page of shared memory. The
onlooker wakes every millisecond; while no step is old it reads that page and nothing else. Of a step that is
it reads the system call, the descriptor, and the wait channel from ``/proc``, and tells what is new in a line
to the process, which then looks at its own frames. When the process ends, or lets go of the pipe, it ends.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import select
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

SLOTS = 64
"""So many threads can be watched: two words a thread, its id and when its step began."""
PERIOD = 0.002
"""Seconds between two looks."""
LATE = 1_500_000
"""Nanoseconds after which a step is old."""
TOLD = 12
"""So many samples of one step are told at most."""

CALLS = {
    "x86_64": {
        0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 7: "poll",
        8: "lseek", 9: "mmap", 10: "mprotect", 11: "munmap", 12: "brk", 16: "ioctl", 17: "pread64",
        18: "pwrite64", 19: "readv", 20: "writev", 21: "access", 22: "pipe", 23: "select", 26: "msync",
        28: "madvise", 34: "pause", 35: "nanosleep", 40: "sendfile", 42: "connect", 43: "accept",
        44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 56: "clone", 58: "vfork", 59: "execve",
        61: "wait4", 65: "semop", 70: "msgrcv", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync",
        77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 87: "unlink", 128: "rt_sigtimedwait",
        130: "rt_sigsuspend", 162: "sync", 202: "futex", 217: "getdents64", 220: "semtimedop",
        230: "clock_nanosleep", 232: "epoll_wait", 242: "mq_timedsend", 243: "mq_timedreceive",
        247: "waitid", 257: "openat", 262: "newfstatat", 263: "unlinkat", 270: "pselect6", 271: "ppoll",
        277: "sync_file_range", 281: "epoll_pwait", 285: "fallocate", 288: "accept4", 295: "preadv",
        296: "pwritev", 299: "recvmmsg", 306: "syncfs", 307: "sendmmsg", 316: "renameat2", 332: "statx",
        435: "clone3", 441: "epoll_pwait2", 449: "futex_waitv",
    },
    "aarch64": {
        20: "epoll_create1", 22: "epoll_pwait", 25: "fcntl", 29: "ioctl", 32: "flock", 34: "mkdirat",
        35: "unlinkat", 46: "ftruncate", 47: "fallocate", 48: "faccessat", 56: "openat", 57: "close",
        61: "getdents64", 62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev", 67: "pread64",
        68: "pwrite64", 71: "sendfile", 72: "pselect6", 73: "ppoll", 79: "newfstatat", 80: "fstat",
        81: "sync", 82: "fsync", 83: "fdatasync", 95: "waitid", 98: "futex", 101: "nanosleep",
        115: "clock_nanosleep", 137: "rt_sigtimedwait", 182: "mq_timedsend", 183: "mq_timedreceive",
        188: "msgrcv", 192: "semtimedop", 193: "semop", 202: "accept", 203: "connect", 206: "sendto",
        207: "recvfrom", 211: "sendmsg", 212: "recvmsg", 214: "brk", 215: "munmap", 220: "clone",
        222: "mmap", 226: "mprotect", 227: "msync", 233: "madvise", 242: "accept4", 243: "recvmmsg",
        260: "wait4", 267: "syncfs", 269: "sendmmsg", 276: "renameat2", 291: "statx", 435: "clone3",
        441: "epoll_pwait2",
    },
}  # fmt: skip
"""The names of calls by their number on each machine (unistd.h), those that can suspend their caller."""

FIRST = frozenset(
    (
        *("read", "write", "close", "ioctl", "lseek", "pread64", "pwrite64", "readv", "writev", "connect"),
        *("accept", "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg", "recvmmsg", "sendmmsg", "fcntl"),
        *("flock", "fsync", "fdatasync", "epoll_wait", "epoll_pwait", "epoll_pwait2", "preadv", "pwritev"),
        *("sync_file_range", "syncfs", "mq_timedsend", "mq_timedreceive", "sendfile"),
    )
)
"""The calls whose first argument is a descriptor."""


class GoneError(Exception):
    """The thread has ended, or cannot be read."""


def read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.read(fd, 512)
        finally:
            os.close(fd)
    except OSError as error:
        raise GoneError(str(error)) from None


def polled(process: int, address: int, count: int) -> int | None:
    """The first descriptor of an array that ``poll`` was given."""
    if not 0 < count < 4096:
        return None
    try:
        fd = os.open(f"/proc/{process}/mem", os.O_RDONLY)
        try:
            found: int = struct.unpack("=i", os.pread(fd, 4, address))[0]
        finally:
            os.close(fd)
    except (OSError, struct.error, OverflowError):
        return None
    return found


def descriptor(process: int, call: str, arguments: list[int]) -> int | None:
    """The descriptor that ``call`` is about, if there is one."""
    if call in FIRST:
        return arguments[0] & 0x7FFFFFFF
    if call in ("poll", "ppoll"):
        return polled(process, arguments[0], arguments[1])
    return None


def sample(process: int, thread: int) -> tuple[str | None, int | None, str, int, str]:
    """What the thread does: its call (None if it runs), the descriptor and what that is, the first argument,
    and the wait channel."""
    words = read(f"/proc/{process}/task/{thread}/syscall").split()
    # The call of one that is just being woken on another processor is named still, and it is not asleep.
    state = read(f"/proc/{process}/task/{thread}/stat").rpartition(b")")[2].split()[:1]
    if not words or words[0] == b"running" or state == [b"R"]:
        return None, None, "", 0, ""
    number = int(words[0])
    arguments = [int(word, 16) for word in words[1:-2]]
    call = CALLS.get(platform.machine(), {}).get(number, f"system call {number}")
    call = "no system call" if number < 0 else call
    fd = descriptor(process, call, arguments) if arguments else None
    what = ""
    if fd is not None:
        try:
            what = os.readlink(f"/proc/{process}/fd/{fd}")  # noqa: PTH115  # the target is often no path
        except OSError:
            what = "closed"
    try:
        channel = read(f"/proc/{process}/task/{thread}/wchan").decode()
    except GoneError:
        channel = ""
    return call, fd, what, arguments[0] if arguments else 0, channel


def look(
    process: int, page: memoryview, slot: int, hold: int, told: dict[int, tuple[int, int, object]]
) -> None:
    """Tell what is new of the step in ``slot``, if it is old."""
    thread, begun = page[2 * slot], page[2 * slot + 1]
    age = time.monotonic_ns() - begun
    if not thread or not begun or age < LATE:
        return
    before, count, last = told.get(slot, (0, 0, None))
    if before != begun:
        count, last = 0, None
    if count >= TOLD:
        return
    try:
        found = sample(process, thread)
    except GoneError:
        return
    # A thread that computes is looked at only when it has done so for long: looking costs it the lock.
    if (found[0] is None and age < hold) or found == last or page[2 * slot + 1] != begun:
        return
    told[slot] = (begun, count + 1, found)
    os.write(1, json.dumps([slot, begun, *found]).encode() + b"\n")


def main() -> None:
    """``onlooker PROCESS PAGE HOLD``: the page as a descriptor, and after how many nanoseconds a thread that
    computes is looked at. Says ``ready`` or what is wrong first. A line of input is answered by one."""
    process, fd, hold = (int(word) for word in sys.argv[1:])
    if os.fork():  # nobody's child: the process that is watched is not to be told of our end
        os._exit(0)
    os.setsid()
    page = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("Q")
    os.close(fd)
    # Asked for only now, when it is known whom the process has to let in.
    os.write(1, b"%d\n" % os.getpid())
    told: dict[int, tuple[int, int, object]] = {}
    while True:
        if select.select([0], [], [], PERIOD)[0]:
            line = os.read(0, 1)
            if not line:
                return
            if line == b"?":
                answer = "yes" if Path(f"/proc/{process}/syscall").exists() and _readable(process) else "no"
                os.write(1, answer.encode() + b"\n")
            else:
                os.write(1, b"null\n")
        for slot in range(SLOTS):
            if page[2 * slot + 1]:
                look(process, page, slot, hold, told)


def _readable(process: int) -> bool:
    try:
        read(f"/proc/{process}/syscall")
    except GoneError:
        return False
    return True


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main()
    sys.exit(0)
