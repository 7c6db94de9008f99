"""Small cases of what a handler may do: block, do something fine, compute, or contend for a lock.

A case is a function that prepares what is needed, within an ``ExitStack``, and gives the one act that is
then a step of its own on a loop. The act is a lambda, so that the line which is to be blamed is the line
of its code. Nothing here is slept for: where an act has to last, a time-out of its own or somebody else
ends it.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import json
import logging
import mmap
import multiprocessing
import os
import queue
import re
import select
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loopspec.watching import session

Act = Callable[[], object]
Prepare = Callable[[ExitStack], Act]

LONG: Final = 0.03
"""Seconds that a long block lasts."""


@dataclass(frozen=True)
class Case:
    """``sort``: blocks, fine, computes or contends. ``calls``: the system calls that a long block may be
    found in; none for a short one, which is known by its count alone."""

    name: str
    sort: str
    calls: frozenset[str]
    prepare: Prepare


CASES: Final[list[Case]] = []


def blocks(*calls: str) -> Callable[[Prepare], Prepare]:
    return _case("blocks", *calls)


def _case(sort: str, *calls: str) -> Callable[[Prepare], Prepare]:
    def enter(prepare: Prepare) -> Prepare:
        CASES.append(Case(prepare.__name__, sort, frozenset(calls), prepare))
        return prepare

    return enter


fine, computes, contends = _case("fine"), _case("computes"), _case("contends")


# --- what cases need ---


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair()
    stack.enter_context(here)
    stack.enter_context(there)
    return here, there


def _pipe(stack: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def _file(stack: ExitStack, data: bytes = b"") -> int:
    """A file on a disk: what is in memory alone is never read from one."""
    fd, name = tempfile.mkstemp(dir=Path(__file__).parent)
    stack.callback(os.close, fd)
    Path(name).unlink()
    os.write(fd, data)
    return fd


def _forgotten(stack: ExitStack) -> int:
    """A file whose pages are on the disk and not in memory."""
    fd = _file(stack, os.urandom(1 << 16))
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return fd


def _seen(since: int) -> None:
    """Return when the onlooker has found a step suspended that began after ``since``, or never does."""
    current = session.current()
    evidence = None if current is None else current.evidence
    for _ in range(1000):
        time.sleep(0.002)
        if evidence is None or evidence.has_found_a_wait(since):
            return


def _later(stack: ExitStack, act: Act) -> None:
    """``act`` happens in a thread, when the step that it ends has been seen to wait."""
    now = time.monotonic_ns()

    def run() -> None:
        _seen(now)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    stack.callback(thread.join)


def _child(stack: ExitStack, seconds: float = LONG) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(["sleep", str(seconds)])
    stack.callback(child.wait)
    return child


@contextmanager
def _beside(work: Act) -> Iterator[None]:
    """A thread that does ``work`` again and again."""
    end = threading.Event()
    begun = threading.Event()

    def run() -> None:
        begun.set()
        while not end.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _burn(seconds: float) -> None:
    """Compute for ``seconds`` of the thread's own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


# --- blocks, for long ---


@blocks("clock_nanosleep")
def sleeping(stack: ExitStack) -> Act:
    return lambda: time.sleep(LONG)


@blocks("clock_nanosleep")
def sleeping_in_c(stack: ExitStack) -> Act:
    usleep = ctypes.CDLL(None).usleep
    return lambda: usleep(int(LONG * 1e6))


@blocks("clock_nanosleep")
def sleeping_in_a_handler_of_logging(stack: ExitStack) -> Act:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(LONG)

    logger = logging.Logger("slow")
    logger.addHandler(Slow())
    return lambda: logger.error("x")


@blocks("pselect6", "select")
def selecting(stack: ExitStack) -> Act:
    return lambda: select.select([], [], [], LONG)


@blocks("poll", "ppoll")
def polling(stack: ExitStack) -> Act:
    poll = select.poll()
    poll.register(_pair(stack)[0], select.POLLIN)
    return lambda: poll.poll(LONG * 1000)


@blocks("epoll_wait", "epoll_pwait")
def waiting_in_another_epoll(stack: ExitStack) -> Act:
    epoll = stack.enter_context(select.epoll())
    return lambda: epoll.poll(LONG)


@blocks("rt_sigtimedwait")
def waiting_for_a_signal(stack: ExitStack) -> Act:
    return lambda: signal.sigtimedwait([signal.SIGUSR2], LONG)


@blocks("futex")
def waiting_for_an_event(stack: ExitStack) -> Act:
    event = threading.Event()
    return lambda: event.wait(LONG)


@blocks("futex")
def acquiring_a_lock_in_vain(stack: ExitStack) -> Act:
    lock = threading.Lock()
    lock.acquire()
    return lambda: lock.acquire(timeout=LONG)


@blocks("futex")
def acquiring_a_lock_that_a_thread_releases(stack: ExitStack) -> Act:
    lock = threading.Lock()
    lock.acquire()
    _later(stack, lock.release)
    return lambda: lock.acquire()


@blocks("futex")
def waiting_for_a_condition(stack: ExitStack) -> Act:
    condition = threading.Condition()
    stack.enter_context(condition)
    return lambda: condition.wait(LONG)


@blocks("futex")
def getting_from_a_queue(stack: ExitStack) -> Act:
    empty: queue.Queue[int] = queue.Queue()
    return lambda: empty.get(timeout=LONG)


@blocks("futex")
def acquiring_a_semaphore_of_processes(stack: ExitStack) -> Act:
    semaphore = multiprocessing.get_context("spawn").Semaphore(0)
    return lambda: semaphore.acquire(timeout=LONG)


@blocks("futex")
def waiting_for_a_result(stack: ExitStack) -> Act:
    pool = stack.enter_context(ThreadPoolExecutor(1))
    future = pool.submit(_seen, time.monotonic_ns())
    return lambda: future.result()


@blocks("futex")
def joining_a_thread(stack: ExitStack) -> Act:
    thread = threading.Thread(target=_seen, args=(time.monotonic_ns(),))
    thread.start()
    stack.callback(thread.join)
    return lambda: thread.join()


@blocks("futex")
def meeting_at_a_barrier(stack: ExitStack) -> Act:
    barrier = threading.Barrier(2)
    return lambda: barrier.wait(LONG)


@blocks("poll", "ppoll")
def receiving_with_a_time_out(stack: ExitStack) -> Act:
    here, _ = _pair(stack)
    here.settimeout(LONG)
    return lambda: here.recv(1)


@blocks("recvfrom")
def receiving(stack: ExitStack) -> Act:
    here, there = _pair(stack)
    _later(stack, lambda: there.send(b"x"))
    return lambda: here.recv(1)


@blocks("recvmsg")
def receiving_a_message(stack: ExitStack) -> Act:
    here, there = _pair(stack)
    _later(stack, lambda: there.send(b"x"))
    return lambda: here.recvmsg(1)


@blocks("sendto")
def sending_to_one_who_does_not_read(stack: ExitStack) -> Act:
    here, there = _pair(stack)
    here.setblocking(False)
    try:
        while True:
            here.send(bytes(1 << 16))
    except BlockingIOError:
        here.setblocking(True)
    _later(stack, lambda: there.recv(1 << 20))
    return lambda: here.send(bytes(1 << 16))


@blocks("accept4", "accept")
def accepting(stack: ExitStack) -> Act:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    _later(stack, lambda: socket.create_connection(listener.getsockname()).close())
    return lambda: listener.accept()[0].close()


@blocks("poll", "ppoll")
def accepting_in_vain(stack: ExitStack) -> Act:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(LONG)
    return lambda: listener.accept()


@blocks("poll", "ppoll")
def connecting_to_a_full_listener(stack: ExitStack) -> Act:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(3):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    client = stack.enter_context(socket.socket())
    client.settimeout(LONG)
    return lambda: client.connect(listener.getsockname())


@blocks("read")
def reading_a_pipe_of_a_process(stack: ExitStack) -> Act:
    child = stack.enter_context(subprocess.Popen(["sh", "-c", f"sleep {LONG}; echo"], stdout=subprocess.PIPE))
    assert child.stdout is not None
    fd = child.stdout.fileno()
    return lambda: os.read(fd, 1)


@blocks("write")
def writing_to_a_full_pipe(stack: ExitStack) -> Act:
    out, into = _pipe(stack)
    os.write(into, bytes(1 << 16))
    _later(stack, lambda: os.read(out, 1 << 16))
    return lambda: os.write(into, b"x")


@blocks("read")
def reading_an_eventfd(stack: ExitStack) -> Act:
    fd = os.eventfd(0)
    stack.callback(os.close, fd)
    _later(stack, lambda: os.eventfd_write(fd, 1))
    return lambda: os.eventfd_read(fd)


@blocks("openat", "open")
def opening_a_fifo(stack: ExitStack) -> Act:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "fifo"
    os.mkfifo(path)
    _later(stack, lambda: path.open("wb").close())
    return lambda: path.open("rb").close()


@blocks("flock")
def locking_a_file(stack: ExitStack) -> Act:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "file"
    path.touch()
    mine = stack.enter_context(path.open("rb"))
    other = stack.enter_context(path.open("rb"))
    fcntl.flock(other, fcntl.LOCK_EX)
    _later(stack, lambda: fcntl.flock(other, fcntl.LOCK_UN))
    return lambda: fcntl.flock(mine, fcntl.LOCK_EX)


@blocks("wait4", "waitid")
def waiting_for_a_child(stack: ExitStack) -> Act:
    child = _child(stack)
    return lambda: child.wait()


@blocks("clock_nanosleep", "wait4")
def waiting_for_a_child_for_a_time(stack: ExitStack) -> Act:
    child = _child(stack, 2 * LONG)
    return lambda: child.wait(10)


@blocks("wait4", "vfork", "read", "poll", "clone", "clone3")
def running_a_program(stack: ExitStack) -> Act:
    return lambda: subprocess.run(["sleep", str(LONG)], check=True)


@blocks("wait4", "clone", "vfork", "clone3")
def running_a_shell(stack: ExitStack) -> Act:
    return lambda: os.system(f"sleep {LONG}")


@blocks("clock_nanosleep", "nanosleep", "poll")
def asking_a_locked_database(stack: ExitStack) -> Act:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "database"
    holder = sqlite3.connect(path, isolation_level=None)
    stack.callback(holder.close)
    holder.execute("begin exclusive")
    mine = sqlite3.connect(path, timeout=2 * LONG)
    stack.callback(mine.close)
    return lambda: mine.execute("create table t(x)")


@blocks("poll", "recvfrom", "ppoll")
def fetching_a_page(stack: ExitStack) -> Act:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    now = time.monotonic_ns()

    def answer() -> None:
        with listener.accept()[0] as client:
            client.recv(65536)
            _seen(now)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    stack.callback(thread.join)
    return lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()


@blocks("poll", "ppoll")
def waiting_for_a_connection_of_multiprocessing(stack: ExitStack) -> Act:
    here, there = multiprocessing.Pipe()
    stack.enter_context(here)
    stack.enter_context(there)
    return lambda: here.poll(LONG)


# --- blocks, for a moment ---


@blocks()
def sleeping_for_nothing(stack: ExitStack) -> Act:
    # Since 3.13 a sleep of zero does not suspend: this is the shortest that does.
    return lambda: time.sleep(1e-9)


@blocks()
def sleeping_for_half_a_millisecond(stack: ExitStack) -> Act:
    return lambda: time.sleep(0.0005)


@blocks()
def touching_a_page_on_the_disk(stack: ExitStack) -> Act:
    fd = _file(stack, os.urandom(1 << 16))
    os.fsync(fd)
    mapped = stack.enter_context(mmap.mmap(fd, 1 << 16, prot=mmap.PROT_READ))
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return lambda: mapped[1 << 15]


@blocks()
def reading_what_is_on_the_disk(stack: ExitStack) -> Act:
    fd = _forgotten(stack)
    return lambda: os.pread(fd, 1 << 12, 1 << 15)


@blocks()
def synchronizing_a_file(stack: ExitStack) -> Act:
    fd = _file(stack, os.urandom(1 << 14))
    return lambda: os.fsync(fd)


@blocks()
def spawning_a_program(stack: ExitStack) -> Act:
    started: list[int] = []
    stack.callback(lambda: os.waitpid(started[0], 0))
    return lambda: started.append(os.posix_spawn("/bin/true", ["true"], {}))


@blocks()
def polling_for_a_millisecond(stack: ExitStack) -> Act:
    poll = select.poll()
    return lambda: poll.poll(1)


# --- fine ---


@fine
def doing_nothing(stack: ExitStack) -> Act:
    return lambda: None


@fine
def asking_for_a_file(stack: ExitStack) -> Act:
    return lambda: Path("/").stat()


@fine
def receiving_what_is_there(stack: ExitStack) -> Act:
    here, there = _pair(stack)
    there.send(b"x")
    return lambda: here.recv(1)


@fine
def receiving_nothing_on_a_nonblocking_socket(stack: ExitStack) -> Act:
    here, _ = _pair(stack)
    here.setblocking(False)
    return lambda: here.recv(1)


@fine
def polling_without_waiting(stack: ExitStack) -> Act:
    return lambda: select.select([], [], [], 0)


@fine
def yielding_the_processor(stack: ExitStack) -> Act:
    return lambda: os.sched_yield()


@fine
def acquiring_a_free_lock(stack: ExitStack) -> Act:
    lock = threading.Lock()
    return lambda: lock.acquire()


@fine
def failing_to_acquire_a_lock(stack: ExitStack) -> Act:
    lock = threading.Lock()
    lock.acquire()
    return lambda: lock.acquire(blocking=False)


@fine
def writing_to_a_pipe_with_room(stack: ExitStack) -> Act:
    _, into = _pipe(stack)
    return lambda: os.write(into, b"x")


@fine
def reading_a_file_in_memory(stack: ExitStack) -> Act:
    fd = _file(stack, bytes(1 << 16))
    return lambda: os.pread(fd, 1 << 16, 0)


@fine
def touching_new_memory(stack: ExitStack) -> Act:
    return lambda: bytearray(1 << 22)


@fine
def collecting_garbage(stack: ExitStack) -> Act:
    return lambda: gc.collect(0)


@fine
def drawing_random_bytes(stack: ExitStack) -> Act:
    return lambda: os.urandom(64)


@fine
def writing_json(stack: ExitStack) -> Act:
    return lambda: json.dumps(list(range(1000)))


@fine
def looking_at_a_child(stack: ExitStack) -> Act:
    child = _child(stack)
    return lambda: child.poll()


# --- computes ---


@computes
def computing(stack: ExitStack) -> Act:
    return lambda: _burn(0.02)


@computes
def hashing_without_the_lock(stack: ExitStack) -> Act:
    data = bytes(4_000_000)
    return lambda: hashlib.sha256(data).hexdigest()


@computes
def compressing(stack: ExitStack) -> Act:
    data = os.urandom(1_000_000)
    return lambda: zlib.compress(data)


@computes
def sorting(stack: ExitStack) -> Act:
    numbers = [-number % 9973 for number in range(100_000)]
    return lambda: sorted(numbers)


@computes
def matching(stack: ExitStack) -> Act:
    return lambda: re.match(r"(a|a)*b", "a" * 18)


@computes
def asking_for_many_files(stack: ExitStack) -> Act:
    return lambda: [Path("/").stat() for _ in range(3000)]


# --- contends for the interpreter lock ---


@contends
def computing_beside_a_thread_that_computes(stack: ExitStack) -> Act:
    stack.enter_context(_beside(lambda: sum(range(1000))))
    return lambda: _burn(0.02)


@contends
def asking_for_files_beside_a_thread_that_computes(stack: ExitStack) -> Act:
    stack.enter_context(_beside(lambda: sum(range(1000))))
    return lambda: [Path("/").stat() for _ in range(20)]


@contends
def computing_beside_threads_that_sleep(stack: ExitStack) -> Act:
    for _ in range(3):
        stack.enter_context(_beside(lambda: time.sleep(0.0005)))
    return lambda: _burn(0.01)


@contends
def computing_beside_a_thread_that_hashes(stack: ExitStack) -> Act:
    data = bytes(1_000_000)
    stack.enter_context(_beside(lambda: hashlib.sha256(data).digest()))
    return lambda: _burn(0.01)
