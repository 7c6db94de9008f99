"""The survey: real calls, measured on the live kernel, and the quadrant that each of them falls into.

Whether a call is blocking is not a matter of how long it took, but of what the kernel did with its thread:
``ru_nvcsw`` of ``getrusage(RUSAGE_THREAD)`` counts how often the thread was switched out while not runnable.
It is read just before the call and just after it, on a thread that has nothing else to do. Preemption does
not count there, but strangers do: a page fault that goes to disk and a wait for the interpreter's lock add to
it, and a timed wait adds nothing if its thread is preempted on the way to sleep until the time is over. So
every call is made several times, and the median counts.

A call that would sleep for ever has to be released, and a second thread does so, once ``/proc`` says that the
caller sleeps in it: never after a delay, and never because the caller waits for the interpreter's lock, which
is the one timed futex wait here. What ``wchan`` said then is the second, independent account.

Whether a call is synchronous is seen at its return: did the return bring the result, or was it still to come?
A failure is a result too, but for EINPROGRESS, which says that it is to come. What was measured is told as a
trace, so that the rules of :mod:`loopspec.call` judge the kernel by the same words as they judge a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loopspec import clause
from loopspec.judge import Judge
from loopspec.trace import Call, Deliver, Event, Quiescent, Resume, Return, Suspend

TIMES: Final = 5
"""How often each call is made: the median of five stands two strangers."""

SHOWS: Final = frozenset(cls.__name__ for cls in (Call, Return, Deliver, Suspend, Resume, Quiescent))
"""The events of a survey's trace."""

CALLER: Final = "caller"
"""The name of the calling thread in a survey's trace."""


class AccountError(RuntimeError):
    """The kernel, or the sandbox around it, does not tell what its threads do."""


@dataclass(frozen=True)
class Measured:
    """One kind of call, under one condition.

    ``on`` is the kind of object of the kernel it acts on, None for a call of a library, which is made of
    others; ``suspensions`` are the growths of ``ru_nvcsw``, a number a time; ``delivered`` says that the
    return brought the result, ``inside`` and ``later`` how often it was delivered otherwise, before and after
    the return; ``seen`` is the function of the kernel in which ``/proc`` saw the caller sleep.
    """

    name: str
    condition: str
    on: str | None
    nonblocking_mode: bool
    suspensions: tuple[int, ...]
    delivered: bool
    inside: int
    later: int
    error: str | None
    seen: str | None

    @property
    def blocking(self) -> bool:
        """Its thread was suspended, most times."""
        return self.typical > 0

    @property
    def typical(self) -> int:
        """How often its thread was suspended: the median."""
        return statistics.median_low(self.suspensions)

    @property
    def title(self) -> str:
        """Function and condition: what the call is named in a trace."""
        return f"{self.name}: {self.condition}"

    def events(self, call: int) -> tuple[Event, ...]:
        """The life of this call, as call number ``call`` of a trace."""
        events: list[Event] = [Call(call, CALLER, self.title, self.on, self.nonblocking_mode)]
        if self.blocking:
            events += [Suspend(CALLER), Resume(CALLER)]
        events += [Deliver(call)] * self.inside
        events.append(Return(call, CALLER, self.delivered, self.error))
        events += [Deliver(call)] * self.later
        return tuple(events)


def events(measured: Iterable[Measured]) -> tuple[Event, ...]:
    """The trace of a survey: the lives of its calls, one after the other, and rest."""
    lives = (event for number, one in enumerate(measured) for event in one.events(number))
    return (*lives, Quiescent(turn=0))


def breaches(measured: Measured) -> tuple[str, ...]:
    """The clauses of CALL that this one call breaks, by id."""
    judge = Judge(clause.select(["CALL"]), SHOWS)
    judge.read(measured.events(0))
    return tuple(violation.clause for violation in judge.violations)


# --- one call, once -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shot:
    """A call ready to be made: ``release`` ends its sleep, ``finish`` lets a result come that is due."""

    act: Callable[[], object]
    release: Callable[[], object] | None = None
    finish: Callable[[], object] | None = None


_Deliver: TypeAlias = Callable[[], None]
_Make: TypeAlias = Callable[[ExitStack, _Deliver], _Shot]


@dataclass(frozen=True)
class _Case:
    """A row of the survey; ``answers``: what the call returns is its result, and not a promise of it."""

    name: str
    condition: str
    on: str | None
    make: _Make
    nonblocking_mode: bool = False
    answers: bool = True


@dataclass
class _Seen:
    """What one shot has shown."""

    suspensions: int = 0
    error: str | None = None
    inside: int = 0
    deliveries: int = 0
    asleep_in: str | None = None


def _sleeps_in(task: Path) -> str | None:
    """The function of the kernel in which the thread of directory ``task`` sleeps; None if it runs.

    A thread that waits for the interpreter's lock does so with a time-out, to ask for it when it is over, and
    is on its way into or out of its call; a lock of the program is waited for without one.
    """
    wchan = (task / "wchan").read_text()
    if wchan in ("", "0"):
        return None
    if wchan.startswith("futex"):
        words = (task / "syscall").read_text().split()
        if len(words) < 5 or words[4] != "0x0":
            return None
    return wchan


@dataclass
class _Helper:
    """Releases the caller once it sleeps in its call; gives up when the call is over."""

    task: Path
    release: Callable[[], object]
    seen: str | None = None
    _over: bool = False
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="releases a sleeping caller")
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over and self.seen is None:
            self.seen = _sleeps_in(self.task)
        if self.seen is not None:
            self.release()

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()


def _suspensions() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _shoot(case: _Case) -> _Seen:
    """Make the call of ``case`` once."""
    seen = _Seen()

    def deliver() -> None:
        seen.deliveries += 1

    with ExitStack() as stack:
        shot = case.make(stack, deliver)
        helper: _Helper | None = None
        with ExitStack() as watching:
            if shot.release is not None:
                task = Path(f"/proc/self/task/{threading.get_native_id()}")
                helper = watching.enter_context(_Helper(task, shot.release))
            act = shot.act
            before = _suspensions()
            try:
                act()
            except OSError as error:
                seen.suspensions = _suspensions() - before
                seen.error = errno.errorcode.get(error.errno or 0, type(error).__name__)
            else:
                seen.suspensions = _suspensions() - before
            seen.inside = seen.deliveries
        seen.asleep_in = helper.seen if helper is not None else None
        if shot.finish is not None:
            shot.finish()
    return seen


def _measure(case: _Case) -> Measured:
    seen = [_shoot(case) for _ in range(TIMES)]
    last = seen[-1]
    return Measured(
        name=case.name,
        condition=case.condition,
        on=case.on,
        nonblocking_mode=case.nonblocking_mode,
        suspensions=tuple(one.suspensions for one in seen),
        delivered=case.answers and last.error != "EINPROGRESS",
        inside=last.inside,
        later=last.deliveries - last.inside,
        error=last.error,
        seen=last.asleep_in,
    )


def _check_account() -> None:
    """Raise :class:`AccountError` if the accounts that all of this rests on are not kept here.

    Without them no helper would ever see that its caller sleeps.
    """
    before = _suspensions()
    for _ in range(TIMES):
        time.sleep(0.001)
    if _suspensions() == before:
        raise AccountError("ru_nvcsw of a thread that slept has not grown: measure on plain Linux")
    parked = threading.Lock()
    with parked:
        thread = threading.Thread(target=parked.acquire)
        thread.start()
        task = Path(f"/proc/self/task/{thread.native_id}")
        # The thread waits for nothing else for ever, so it comes to sleep; then wchan has to name where.
        while (task / "stat").read_text().rpartition(")")[2].split()[0] != "S" or not _waits_untimed(task):
            os.sched_yield()
        shown = (task / "wchan").read_text()
    thread.join()
    if shown in ("", "0"):
        raise AccountError("/proc/self/task/*/wchan is hidden here: measure outside of this sandbox")


def _waits_untimed(task: Path) -> bool:
    words = (task / "syscall").read_text().split()
    return len(words) > 4 and words[4] == "0x0"


def measure() -> tuple[Measured, ...]:
    """Make every call of the survey and say what came of it. Takes a fraction of a second.

    Raises :class:`AccountError` where the kernel's account is not to be had.
    """
    measured: list[Measured] = []
    trouble: list[BaseException] = []

    def caller() -> None:
        try:
            _check_account()
            measured.extend(_measure(case) for case in _CASES)
        except BaseException as error:
            trouble.append(error)

    # A thread of its own: it has no signal handlers to run, and the one that asks sleeps until it is done.
    thread = threading.Thread(target=caller, name="makes the calls of the survey")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return tuple(measured)


# --- how each call is set up ----------------------------------------------------------------------------


def _pair(stack: ExitStack, nonblocking: bool) -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair()
    stack.enter_context(here)
    stack.enter_context(there)
    here.setblocking(not nonblocking)
    return here, there


def _pipe(stack: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    return reader, writer


def _fill(write: Callable[[bytes], int]) -> None:
    """Write with ``write``, which does not block, until it would."""
    with contextlib.suppress(BlockingIOError):
        while True:
            write(b"x" * 4096)


def _recv(data: bytes = b"", *, nonblocking: bool = False, eof: bool = False) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        here, there = _pair(stack, nonblocking)
        there.sendall(data)
        if eof:
            there.shutdown(socket.SHUT_WR)
        ready = bool(data) or eof or nonblocking
        return _Shot(lambda: here.recv(1), None if ready else lambda: there.send(b"x"))

    return make


def _send(*, full: bool, nonblocking: bool = False) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        here, there = _pair(stack, nonblocking=True)
        if full:
            _fill(here.send)
        here.setblocking(not nonblocking)
        ready = not full or nonblocking
        return _Shot(lambda: here.send(b"x"), None if ready else lambda: there.recv(1 << 20))

    return make


def _listener(stack: ExitStack) -> socket.socket:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def _accept(*, pending: bool, nonblocking: bool = False) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        listener = _listener(stack)
        client = stack.enter_context(socket.socket())

        def connect() -> None:
            client.connect(listener.getsockname())

        if pending:
            connect()
        listener.setblocking(not nonblocking)
        ready = pending or nonblocking
        return _Shot(lambda: stack.enter_context(listener.accept()[0]), None if ready else connect)

    return make


def _connect(*, nonblocking: bool = False) -> _Make:
    def make(stack: ExitStack, deliver: _Deliver) -> _Shot:
        address = _listener(stack).getsockname()
        client = stack.enter_context(socket.socket())
        client.setblocking(not nonblocking)

        def finish() -> None:
            writable = select.poll()
            writable.register(client, select.POLLOUT)
            writable.poll()
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                deliver()

        return _Shot(lambda: client.connect(address), finish=finish if nonblocking else None)

    return make


def _connect_unix(*, nonblocking: bool) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("")  # The kernel chooses an abstract name.
        listener.listen(0)
        address = listener.getsockname()

        def client(blocks: bool) -> socket.socket:
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(blocks)
            return one

        with contextlib.suppress(BlockingIOError):
            while True:
                client(blocks=False).connect(address)
        last = client(blocks=not nonblocking)

        def accept() -> None:
            stack.enter_context(listener.accept()[0])

        return _Shot(lambda: last.connect(address), None if nonblocking else accept)

    return make


def _read_pipe(data: bytes = b"", *, nonblocking: bool = False) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        reader, writer = _pipe(stack)
        os.write(writer, data)
        os.set_blocking(reader, not nonblocking)
        ready = bool(data) or nonblocking
        return _Shot(lambda: os.read(reader, 1), None if ready else lambda: os.write(writer, b"x"))

    return make


def _write_pipe(*, full: bool, nonblocking: bool = False) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        reader, writer = _pipe(stack)
        os.set_blocking(writer, False)
        if full:
            _fill(lambda data: os.write(writer, data))
        os.set_blocking(writer, not nonblocking)
        ready = not full or nonblocking
        return _Shot(lambda: os.write(writer, b"x"), None if ready else lambda: os.read(reader, 1 << 16))

    return make


def _file(stack: ExitStack, nonblocking: bool) -> int:
    fd, path = tempfile.mkstemp()
    stack.callback(os.close, fd)
    Path(path).unlink()
    os.pwrite(fd, b"x" * 4096, 0)
    os.set_blocking(fd, not nonblocking)
    return fd


def _read_file(*, nonblocking: bool) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        fd = _file(stack, nonblocking)
        return _Shot(lambda: os.read(fd, 4096))

    return make


def _register_file(stack: ExitStack, _: _Deliver) -> _Shot:
    fd = _file(stack, nonblocking=True)
    epoll = stack.enter_context(select.epoll())
    return _Shot(lambda: epoll.register(fd, select.EPOLLIN))


def _epoll(timeout: float | None, *, ready: bool) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        epoll = stack.enter_context(select.epoll())
        reader, writer = _pipe(stack)
        epoll.register(reader, select.EPOLLIN)
        if ready:
            os.write(writer, b"x")
        released = timeout is None and not ready
        return _Shot(lambda: epoll.poll(timeout), (lambda: os.write(writer, b"x")) if released else None)

    return make


def _eventfd(*, nonblocking: bool) -> _Make:
    def make(stack: ExitStack, _: _Deliver) -> _Shot:
        fd = os.eventfd(0, os.EFD_CLOEXEC | (os.EFD_NONBLOCK if nonblocking else 0))
        stack.callback(os.close, fd)
        return _Shot(lambda: os.eventfd_read(fd), None if nonblocking else lambda: os.eventfd_write(fd, 1))

    return make


def _eventfd_write(stack: ExitStack, _: _Deliver) -> _Shot:
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    stack.callback(os.close, fd)
    return _Shot(lambda: os.eventfd_write(fd, 1))


def _lock(*, held: bool, tries: bool = False) -> _Make:
    def make(_: ExitStack, __: _Deliver) -> _Shot:
        lock = threading.Lock()
        if held:
            lock.acquire()
        return _Shot(lambda: lock.acquire(blocking=not tries), lock.release if held and not tries else None)

    return make


def _plain(act: Callable[[], object]) -> _Make:
    return lambda _, __: _Shot(act)


def _asyncio(
    ask: Callable[[asyncio.AbstractEventLoop, ExitStack, _Deliver], Callable[[], object]],
) -> _Make:
    """A call of asyncio's: ``ask`` gives it, with the callback that it gets."""

    def make(stack: ExitStack, deliver: _Deliver) -> _Shot:
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)

        def callback() -> None:
            deliver()
            loop.stop()

        return _Shot(ask(loop, stack, callback), finish=loop.run_forever)

    return make


def _add_reader(
    loop: asyncio.AbstractEventLoop, stack: ExitStack, callback: _Deliver
) -> Callable[[], object]:
    here, there = _pair(stack, nonblocking=True)
    there.send(b"x")

    def readable() -> None:
        loop.remove_reader(here)
        callback()

    return lambda: loop.add_reader(here, readable)


def _pool(stack: ExitStack, *, warm: bool) -> ThreadPoolExecutor:
    pool = stack.enter_context(ThreadPoolExecutor(1))
    if warm:
        pool.submit(int).result()
    return pool


def _run_in_executor(
    loop: asyncio.AbstractEventLoop, stack: ExitStack, callback: _Deliver
) -> Callable[[], object]:
    pool = _pool(stack, warm=True)
    return lambda: loop.run_in_executor(pool, int).add_done_callback(lambda _: callback())


def _submit(*, warm: bool) -> _Make:
    def make(stack: ExitStack, deliver: _Deliver) -> _Shot:
        pool = _pool(stack, warm=warm)
        may_end = threading.Event()

        def finish() -> None:
            may_end.set()
            pool.shutdown()

        return _Shot(lambda: pool.submit(may_end.wait).add_done_callback(lambda _: deliver()), finish=finish)

    return make


def _done_callback(_: ExitStack, deliver: _Deliver) -> _Shot:
    future: Future[None] = Future()
    future.set_result(None)
    return _Shot(lambda: future.add_done_callback(lambda _: deliver()))


class _Pause:
    def __await__(self) -> Generator[None]:
        yield


def _await(_: ExitStack, deliver: _Deliver) -> _Shot:
    async def waiter() -> None:
        await _Pause()
        deliver()

    task = waiter()

    def finish() -> None:
        with contextlib.suppress(StopIteration):
            task.send(None)

    return _Shot(lambda: task.send(None), finish=finish)


_SOCKET, _PIPE, _FILE, _EPOLL, _EVENTFD, _LOCK = "socket", "pipe", "regular file", "epoll", "eventfd", "lock"

_CASES: Final = (
    _Case("recv", "data there", _SOCKET, _recv(b"x")),
    _Case("recv", "end of file there", _SOCKET, _recv(eof=True)),
    _Case("recv", "no data", _SOCKET, _recv()),
    _Case("recv", "data there, nonblocking", _SOCKET, _recv(b"x", nonblocking=True), True),
    _Case("recv", "no data, nonblocking", _SOCKET, _recv(nonblocking=True), True),
    _Case("send", "room", _SOCKET, _send(full=False)),
    _Case("send", "no room", _SOCKET, _send(full=True)),
    _Case("send", "no room, nonblocking", _SOCKET, _send(full=True, nonblocking=True), True),
    _Case("accept", "a client is there", _SOCKET, _accept(pending=True)),
    _Case("accept", "no client", _SOCKET, _accept(pending=False)),
    _Case("accept", "no client, nonblocking", _SOCKET, _accept(pending=False, nonblocking=True), True),
    _Case("connect", "TCP on loopback", _SOCKET, _connect()),
    _Case("connect", "TCP, nonblocking", _SOCKET, _connect(nonblocking=True), True),
    _Case("connect", "Unix, backlog full", _SOCKET, _connect_unix(nonblocking=False)),
    _Case("connect", "Unix, backlog full, nonblocking", _SOCKET, _connect_unix(nonblocking=True), True),
    _Case("read", "pipe with data", _PIPE, _read_pipe(b"x")),
    _Case("read", "empty pipe", _PIPE, _read_pipe()),
    _Case("read", "empty pipe, nonblocking", _PIPE, _read_pipe(nonblocking=True), True),
    _Case("write", "pipe with room", _PIPE, _write_pipe(full=False)),
    _Case("write", "full pipe", _PIPE, _write_pipe(full=True)),
    _Case("write", "full pipe, nonblocking", _PIPE, _write_pipe(full=True, nonblocking=True), True),
    _Case("read", "regular file in the page cache", _FILE, _read_file(nonblocking=False)),
    _Case("read", "regular file, O_NONBLOCK", _FILE, _read_file(nonblocking=True), True),
    _Case("epoll_ctl", "regular file", _FILE, _register_file),
    _Case("epoll_wait", "time-out 0, nothing ready", _EPOLL, _epoll(0, ready=False)),
    _Case("epoll_wait", "time-out 1 ms, nothing ready", _EPOLL, _epoll(0.001, ready=False)),
    _Case("epoll_wait", "no time-out, ready", _EPOLL, _epoll(None, ready=True)),
    _Case("epoll_wait", "no time-out, nothing ready", _EPOLL, _epoll(None, ready=False)),
    _Case("read", "eventfd at 0", _EVENTFD, _eventfd(nonblocking=False)),
    _Case("read", "eventfd at 0, nonblocking", _EVENTFD, _eventfd(nonblocking=True), True),
    _Case("write", "eventfd", _EVENTFD, _eventfd_write),
    _Case("Lock.acquire", "free", _LOCK, _lock(held=False)),
    _Case("Lock.acquire", "held", _LOCK, _lock(held=True)),
    _Case("Lock.acquire", "held, blocking=False", _LOCK, _lock(held=True, tries=True)),
    _Case("nanosleep", "1 ms", "clock", _plain(lambda: time.sleep(0.001))),
    _Case("sched_yield", "nobody waits", "scheduler", _plain(os.sched_yield)),
    _Case("getaddrinfo", "localhost", None, _plain(lambda: socket.getaddrinfo("localhost", 80))),
    _Case(
        "asyncio call_soon",
        "callback",
        None,
        _asyncio(lambda loop, _, callback: lambda: loop.call_soon(callback)),
        answers=False,
    ),
    _Case(
        "asyncio call_later",
        "delay 0, callback",
        None,
        _asyncio(lambda loop, _, callback: lambda: loop.call_later(0, callback)),
        answers=False,
    ),
    _Case(
        "asyncio call_soon_threadsafe",
        "callback",
        None,
        _asyncio(lambda loop, _, callback: lambda: loop.call_soon_threadsafe(callback)),
        answers=False,
    ),
    _Case("asyncio add_reader", "data there, callback", None, _asyncio(_add_reader), answers=False),
    _Case("asyncio run_in_executor", "worker idle, future", None, _asyncio(_run_in_executor), answers=False),
    _Case("executor.submit", "worker idle, callback", None, _submit(warm=True), answers=False),
    _Case("executor.submit", "worker to be started, callback", None, _submit(warm=False), answers=False),
    _Case("Future.add_done_callback", "future is done", None, _done_callback, answers=False),
    _Case("await", "coroutine suspended, resumed later", None, _await, answers=False),
)


# --- what a reader sees -----------------------------------------------------------------------------------


def _line(one: Measured) -> str:
    told = [f"suspended {one.typical}×"]
    if one.seen is not None:
        told.append(f"in {one.seen}")
    if one.error is not None:
        told.append(one.error)
    return f"{one.title} ({', '.join(told)})"


def _cell(measured: Iterable[Measured]) -> Text:
    return Text("\n".join(map(_line, measured)))


_EMPTY: Final = Text(
    "empty: whoever is suspended\nis suspended until the result is there,\nand returns with it", "dim"
)


def render(measured: tuple[Measured, ...]) -> RenderableType:
    """The quadrants, blocking × synchronous, as measured; below, library calls that fit in none."""
    kept = tuple(one for one in measured if not breaches(one))

    def quadrant(blocking: bool, synchronous: bool) -> Text:
        found = [one for one in kept if (one.blocking, one.delivered) == (blocking, synchronous)]
        return _cell(found) if found else _EMPTY

    table = Table(title="blocking × synchronous, as this kernel accounts for it", show_lines=True)
    table.add_column("")
    table.add_column("synchronous: the return brings the result")
    table.add_column("asynchronous: the result comes after the return")
    for blocking, name in ((True, "blocking"), (False, "nonblocking")):
        table.add_row(Text(name, "bold"), quadrant(blocking, True), quadrant(blocking, False))
    summary = Text(
        f"{len(measured)} calls, each made {TIMES} times: ru_nvcsw of the caller, never its time, "
        "says whether it was suspended."
    )
    broken = [Text(f"{_line(one)} breaks {', '.join(breaches(one))}") for one in measured if breaches(one)]
    if not broken:
        return Group(table, summary)
    return Group(table, summary, Text("\nIn no quadrant, calls that break a promise:", "bold"), *broken)


def main(console: Console) -> int:
    """Measure and print. Returns 0; 1 if a call of the kernel breaks a clause, 2 if nothing can be told."""
    try:
        measured = measure()
    except AccountError as error:
        console.print(f"loopspec calls: {error}", style="red")
        return 2
    console.print(render(measured))
    return int(any(one.on is not None and breaches(one) for one in measured))
