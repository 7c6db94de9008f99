"""The live kernel, asked in the words of the model: one call in, one result out.

To be comparable at every step a run needs three things that an ordinary process has not. *Numbers from 0*:
every number below a base is filled, so that model number n is number base + n here, and the instrument's own
descriptors lie above. *Threads whose state is known*: a call that may wait is made by a worker, and whether
it is suspended is read from ``/proc/self/task``, never concluded from the passing of time. *A quiet
interpreter*: when the driver makes a call every worker sleeps inside a system call, so that a voluntary
switch of the driver is the kernel's doing and not the interpreter lock's.

A unit of a stream is as many bytes as make it exact: half a page of a pipe of two pages, and of a Unix
stream with the smallest buffer what fills one socket buffer.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle
import resource
import select
import signal
import socket
import struct
import termios
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias, assert_never

from loopspec.kernel.calls import (
    DONE,
    Abort,
    Accept,
    Close,
    Connect,
    Count,
    Data,
    Dup,
    EpollControl,
    EpollWait,
    Events,
    Exit,
    Failed,
    Fork,
    GetError,
    Listen,
    Opened,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Read,
    Result,
    SetNonblocking,
    SetTimer,
    Shutdown,
    SystemCall,
    Write,
)
from loopspec.kernel.state import Buffer, Errno, Limits, Mask, Number

NUMBERS = 16
"""How many descriptors the process under test may have: small, so that EMFILE is met."""

MS = 1_000_000
"""Nanoseconds in a millisecond, the unit of epoll_wait."""

_NEVER = 1_000_000_000_000
_F_SETPIPE_SZ = 1031
_PIPE_UNIT = 2048
_LIBC = ctypes.CDLL(None, use_errno=True)
_EVENT = struct.Struct("=IQ" if os.uname().machine == "x86_64" else "@IQ")
_UNREADABLE = ctypes.c_void_p(8)
_ONE = struct.pack("i", 1)
_UNACKNOWLEDGED = (4, 9, 11)
"""FIN_WAIT1, LAST_ACK and CLOSING of <netinet/tcp.h>."""


class MachineError(RuntimeError):
    """The live kernel cannot be asked; the message says why, and what would help."""


class _Spec(ctypes.Structure):
    _fields_ = (("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2))


# --- single calls -----------------------------------------------------------------------------------------


def _checked(value: int) -> int:
    if value < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return value


@dataclass(frozen=True)
class Sizes:
    """Bytes a unit, by kind of stream, and the limits that follow from them."""

    unix: int
    pipe: int
    limits: Limits


def measured_sizes() -> Sizes:
    """Ask this kernel how much its smallest Unix stream buffer takes."""
    a, b = _smallest_pair()
    with a, b:
        unit = (a.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >> 1) - 64
        a.setblocking(False)
        most = 0
        with contextlib.suppress(BlockingIOError):
            while a.send(bytes(unit)) == unit:
                most += 1
    limits = Limits(
        numbers=NUMBERS, pipe=Buffer(sure=0, most=4, atomic=2), unix=Buffer(sure=0, most=max(most, 1))
    )
    return Sizes(unix=unit, pipe=_PIPE_UNIT, limits=limits)


def _smallest_pair() -> tuple[socket.socket, socket.socket]:
    a, b = socket.socketpair()
    for end in (a, b):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return a, b


class Ask(NamedTuple):
    """A call and what the model knows of its target: how many bytes a unit of it is."""

    call: SystemCall
    scale: int = 1


class Hands:
    """Makes calls. ``base`` is model number 0; ``ports`` maps the model's ports to the loopback's."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.ports: dict[int, int] = {}

    def make(self, ask: Ask) -> Result:
        """One call of this process, with its result or error."""
        try:
            return self._make(ask)
        except OSError as error:
            return Failed(Errno(error.errno or 0))

    def _real(self, number: Number) -> int:
        return self.base + number

    def _opened(self, *numbers: int) -> Opened:
        return Opened(tuple(Number(number - self.base) for number in numbers))

    def _make(self, ask: Ask) -> Result:
        call = ask.call
        match call:
            case Read() | Write():
                return self._transfer(call, ask.scale)
            case EpollControl():
                return self._control(call)
            case EpollWait():
                return self._wait(call)
            case (
                OpenPipe() | OpenPair() | OpenSocket() | OpenEvent() | OpenTimer() | OpenFile() | OpenEpoll()
            ):
                return self._open(call)
            case Listen() | Connect() | Accept() | Shutdown() | Abort() | GetError():
                return self._network(call)
            case Close():
                os.close(self._real(call.fd))
            case Dup():
                return self._opened(_checked(_LIBC.dup(self._real(call.fd))))
            case SetNonblocking():
                os.set_blocking(self._real(call.fd), not call.nonblocking)
            case SetTimer():
                self._set_timer(call.fd, _NEVER if call.after else 0)
            case Fork() | Exit():
                raise MachineError(f"{call} is for the machine, not for one process of it")
            case _:
                assert_never(call)
        return DONE

    def _transfer(self, call: Read | Write, scale: int) -> Result:
        if isinstance(call, Write):
            data = b"".join(bytes((unit,)) * scale for unit in call.data)
            taken = _checked(_LIBC.write(self._real(call.fd), data, len(data)))
            return Count(taken // scale) if taken % scale == 0 else Count(-taken)
        buffer = ctypes.create_string_buffer(call.size * scale)
        got = _checked(_LIBC.read(self._real(call.fd), buffer, len(buffer)))
        data = buffer.raw[:got]
        units = data[::scale]
        exact = b"".join(bytes((unit,)) * scale for unit in units) == data
        return Data(units if exact else data)

    def _set_timer(self, fd: Number, after: int) -> None:
        spec = _Spec((0, 0), divmod(after, 1_000_000_000))
        _checked(_LIBC.timerfd_settime(self._real(fd), 0, ctypes.byref(spec), None))

    def fire(self, fd: Number) -> None:
        """Let the timer of ``fd`` expire now: the run's time is the model's, not the clock's."""
        self._set_timer(fd, 1)

    def _control(self, call: EpollControl) -> Result:
        event = ctypes.create_string_buffer(_EVENT.pack(call.mask, call.data))
        pointer = ctypes.cast(event, ctypes.c_void_p) if call.readable else _UNREADABLE
        _checked(_LIBC.epoll_ctl(self._real(call.epfd), call.op.value, self._real(call.fd), pointer))
        return DONE

    def _wait(self, call: EpollWait) -> Result:
        room = ctypes.create_string_buffer(_EVENT.size * max(call.maxevents, 1))
        timeout = -1 if call.timeout is None else -(-call.timeout // MS)
        count = _checked(_LIBC.epoll_wait(self._real(call.epfd), room, call.maxevents, timeout))
        events = _EVENT.iter_unpack(room.raw[: count * _EVENT.size])
        return Events(tuple((data, Mask(mask)) for mask, data in events))

    def _open(
        self, call: OpenPipe | OpenPair | OpenSocket | OpenEvent | OpenTimer | OpenFile | OpenEpoll
    ) -> Result:
        match call:
            case OpenPipe():
                ends = os.pipe2(os.O_NONBLOCK if call.nonblocking else 0)
                fcntl.fcntl(ends[0], _F_SETPIPE_SZ, 4 * _PIPE_UNIT)
                return self._opened(*ends)
            case OpenPair():
                a, b = _smallest_pair()
                for end in (a, b):
                    end.setblocking(not call.nonblocking)
                return self._opened(a.detach(), b.detach())
            case OpenSocket():
                fresh = socket.socket()
                fresh.setblocking(not call.nonblocking)
                # To the model data arrive at once, whatever is on its way already: Nagle would hold them.
                fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._opened(fresh.detach())
            case OpenEvent():
                flags = os.EFD_NONBLOCK if call.nonblocking else 0
                made = os.eventfd(0, flags)
                if call.count:
                    os.eventfd_write(made, call.count)
                return self._opened(made)
            case OpenTimer():
                flags = os.O_NONBLOCK if call.nonblocking else 0
                return self._opened(_checked(_LIBC.timerfd_create(time.CLOCK_MONOTONIC, flags)))
            case OpenFile():
                made = os.memfd_create("loopspec")
                os.write(made, call.data)
                os.lseek(made, 0, os.SEEK_SET)
                os.set_blocking(made, not call.nonblocking)
                return self._opened(made)
            case OpenEpoll():
                return self._opened(_checked(_LIBC.epoll_create1(0)))
            case _:
                assert_never(call)

    def _network(self, call: Listen | Connect | Accept | Shutdown | Abort | GetError) -> Result:
        real = self._real(call.fd)
        match call:
            case Listen():
                address = _address(self.ports.get(call.port, 0))
                # Connections to a listener that was there before hold the port; a listener does, even so.
                _LIBC.setsockopt(real, socket.SOL_SOCKET, socket.SO_REUSEADDR, _ONE, len(_ONE))
                _checked(_LIBC.bind(real, address, len(address)))
                _checked(_LIBC.listen(real, call.backlog))
                self.ports[call.port] = _port_of(real)
            case Connect():
                address = _address(self.ports[call.port])
                _checked(_LIBC.connect(real, address, len(address)))
            case Accept():
                flags = socket.SOCK_NONBLOCK if call.nonblocking else 0
                return self._opened(_checked(_LIBC.accept4(real, None, None, flags)))
            case Shutdown():
                _checked(_LIBC.shutdown(real, call.how.value))
            case Abort():
                linger = struct.pack("ii", 1, 0)
                _LIBC.setsockopt(real, socket.SOL_SOCKET, socket.SO_LINGER, linger, len(linger))
                os.close(real)
            case GetError():
                value, size = ctypes.c_int(), ctypes.c_int(4)
                _checked(
                    _LIBC.getsockopt(
                        real,
                        socket.SOL_SOCKET,
                        socket.SO_ERROR,
                        ctypes.byref(value),
                        ctypes.byref(size),
                    )
                )
                return Count(value.value)
            case _:
                assert_never(call)
        return DONE


def _address(port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))


def _port_of(real: int) -> int:
    address, size = ctypes.create_string_buffer(16), ctypes.c_int(16)
    _checked(_LIBC.getsockname(real, address, ctypes.byref(size)))
    (port,) = struct.unpack_from("!H", address.raw, 2)
    return int(port)


# --- threads ------------------------------------------------------------------------------------------------


class _Asleep(NamedTuple):
    """Which call a sleeping thread is in: its first argument."""

    argument: int


class _Account:
    """The kernel's account of one thread. Its files stay open, above: to open one takes a number."""

    def __init__(self, tid: int, above: int) -> None:
        task = f"/proc/self/task/{tid}/"
        self._syscall, self._stat = (
            _moved_above(os.open(task + name, os.O_RDONLY), above) for name in ("syscall", "stat")
        )

    def sleep(self) -> _Asleep | None:
        """Where the thread sleeps, or None while it runs."""
        fields = os.pread(self._syscall, 256, 0).split()
        if len(fields) < 3 or int(fields[0]) < 0:
            return None
        state = os.pread(self._stat, 512, 0).rpartition(b")")[2].split()[0]
        return _Asleep(int(fields[1], 16)) if state == b"S" else None

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._syscall)
        os.close(self._stat)


_PATIENCE = 200_000
"""How often a thread that is neither asleep nor done is looked at before the run is given up."""


class Worker:
    """A thread that makes one call when told to, and sleeps in a read of its own pipe otherwise."""

    def __init__(self, hands: Hands, above: int) -> None:
        self._hands = hands
        self._commands = tuple(_moved_above(end, above) for end in os.pipe2(0))
        self._ask: Ask | None = None
        self.target: int | None = None
        self.result: Result | None = None
        self.lasted = 0
        self._thread = threading.Thread(target=self._serve, name="loopspec-worker", daemon=True)
        self._thread.start()
        self._account = _Account(self._tid, above)
        self._await_parked()

    def _serve(self) -> None:
        while os.read(self._commands[0], 1):
            ask = self._ask
            assert ask is not None
            began = time.monotonic_ns()
            result = self._hands.make(ask)
            self.lasted = time.monotonic_ns() - began
            self.result = result

    def start(self, ask: Ask, target: int) -> None:
        """Make the call; ``target`` is its first argument, by which its sleep is known."""
        self._ask, self.target, self.result = ask, target, None
        os.write(self._commands[1], b".")

    def settle(self) -> tuple[Result | None, bool]:
        """The result, or None if the thread is suspended in its call; and whether at first sight."""
        for look in range(_PATIENCE):
            asleep = self._account.sleep()
            if asleep and self.result is not None and asleep.argument == self._commands[0]:
                return self.result, look == 0
            if asleep and self.result is None and asleep.argument == self.target:
                return None, look == 0
            os.sched_yield()
        raise MachineError(f"worker {self._tid} neither sleeps in its call nor returns")

    @property
    def _tid(self) -> int:
        tid = self._thread.native_id
        assert tid is not None
        return tid

    def _await_parked(self) -> None:
        for _ in range(_PATIENCE):
            asleep = self._account.sleep()
            if asleep and asleep.argument == self._commands[0]:
                return
            os.sched_yield()
        raise MachineError(f"worker {self._tid} does not come to rest")

    def interrupt(self) -> None:
        """Send the thread a signal until its call has failed with EINTR."""
        while self.settle()[0] is None:
            signal.pthread_kill(self._thread.ident or 0, signal.SIGUSR1)
            for _ in range(100):
                if self.result is not None:
                    break
                os.sched_yield()

    def stop(self) -> None:
        """End the thread."""
        os.close(self._commands[1])
        self._thread.join()
        self._account.close()
        os.close(self._commands[0])


def _moved_above(number: int, above: int) -> int:
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(number)
    return moved


# --- processes ------------------------------------------------------------------------------------------


class Child:
    """A forked process that makes calls when told to, through a pair of sockets above the base."""

    def __init__(self, hands: Hands, above: int) -> None:
        here, there = socket.socketpair()
        self._here = socket.socket(fileno=_moved_above(here.detach(), above))
        there = socket.socket(fileno=_moved_above(there.detach(), above))
        with warnings.catch_warnings():
            # Python 3.12 warns of threads at a fork. Ours sleep in system calls and hold no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            self._serve(hands, there)
        there.close()

    def _serve(self, hands: Hands, there: socket.socket) -> None:
        """The child: it never returns."""
        try:
            self._here.close()
            while message := there.recv(1 << 16):
                there.send(pickle.dumps(hands.make(pickle.loads(message))))
        finally:
            os._exit(0)

    def make(self, ask: Ask) -> Result:
        """One call of the child."""
        self._here.send(pickle.dumps(ask))
        result: Result = pickle.loads(self._here.recv(1 << 16))
        return result

    def end(self) -> None:
        """The child exits, and is waited for: its descriptors are closed."""
        self._here.close()
        os.waitpid(self.pid, 0)


# --- the machine ------------------------------------------------------------------------------------------


_OPENERS = (
    OpenPipe,
    OpenPair,
    OpenSocket,
    OpenEvent,
    OpenTimer,
    OpenFile,
    OpenEpoll,
    Accept,
    Dup,
)


class Made(NamedTuple):
    """A result, and how often the kernel suspended the caller meanwhile; None where it is not counted."""

    result: Result
    suspensions: int | None


Interests: TypeAlias = tuple[tuple[int, int], ...]
"""What the kernel lists of an epoll: (number, mask) of each registration, sorted."""


class Machine:
    """This process, made ready to be compared; a context manager. ``workers`` threads may be suspended.

    Only for a process whose other threads neither run Python nor open descriptors meanwhile.
    """

    def __init__(self, workers: int = 2) -> None:
        self._wanted = workers
        self._filled: list[int] = []
        self._own: list[socket.socket] = []
        self.workers: list[Worker] = []
        self.children: dict[int, Child] = {}
        self.hands = Hands(0)

    def __enter__(self) -> Self:
        # On one processor the loopback keeps the order in which packets were sent, and a thread that has
        # been woken does not overtake the call that woke it.
        self._processors = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self._processors)})
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._handler = signal.signal(signal.SIGUSR1, lambda *_: None)
        self.sizes = measured_sizes()
        base = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1
        self._fill(base)
        self.hands = Hands(base)
        self.above = base + NUMBERS + 8
        refusing = socket.socket()
        self._refusing = socket.socket(fileno=_moved_above(refusing.detach(), self.above))
        self._refusing.bind(("127.0.0.1", 0))
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._echo = socket.socket(fileno=_moved_above(echo.detach(), self.above))
        self._echo.bind(("127.0.0.1", 0))
        self._echo.connect(self._echo.getsockname())
        self._echo.setblocking(False)
        self.workers = [Worker(self.hands, self.above) for _ in range(self._wanted)]
        return self

    def _fill(self, base: int) -> None:
        null = os.open("/dev/null", os.O_RDONLY)
        while null < base:
            self._filled.append(null)
            null = os.dup(self._filled[0])
        os.close(null)

    def __exit__(self, *_: object) -> None:
        self.clear()
        for worker in self.workers:
            worker.stop()
        self._refusing.close()
        self._echo.close()
        os.sched_setaffinity(0, self._processors)
        for number in self._filled:
            os.close(number)
        signal.signal(signal.SIGUSR1, self._handler)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limit)

    def clear(self) -> None:
        """Close everything that the run has opened, and let every worker go."""
        for worker in self.workers:
            if worker.target is not None:
                worker.interrupt()
                worker.target = None
        for child in self.children.values():
            child.end()
        self.children.clear()
        self.hands.ports.clear()
        base = self.hands.base
        for number in range(base, base + NUMBERS):
            with contextlib.suppress(OSError):
                # A reset leaves no TIME_WAIT behind; on what is no socket it fails, and is a plain close.
                self.hands.make(Ask(Abort(Number(number - base))))

    def make(self, ask: Ask) -> Made:
        """Make a call that the driver may make: of its process or of a forked one."""
        call = ask.call
        if isinstance(call, Connect):
            self.hands.ports.setdefault(call.port, self._refusing.getsockname()[1])
        if isinstance(call, Fork):
            return Made(self._fork(call), None)
        child = self.children.get(call.thread)
        if child and isinstance(call, Exit):
            self.children.pop(call.thread).end()
            return Made(DONE, None)
        if child:
            return Made(child.make(ask), None)
        with self._room(call):
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
            result = self.hands.make(ask)
            after = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        return Made(result, after - before)

    def _fork(self, call: Fork) -> Result:
        self.children[call.child] = Child(self.hands, self.above)
        return Count(len(self.children))

    @contextlib.contextmanager
    def _room(self, call: SystemCall) -> Iterator[None]:
        """Lower the limit of descriptors for a call that opens some: EMFILE at the model's number."""
        if not isinstance(call, _OPENERS):
            yield
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.hands.base + NUMBERS, self._limit[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limit)

    def start(self, worker: int, ask: Ask) -> None:
        """Let ``worker`` make a call that may wait; :meth:`settle` tells what it came to."""
        call = ask.call
        assert isinstance(call, Read | Write | Accept | Connect | EpollWait), call
        if isinstance(call, Connect):
            self.hands.ports.setdefault(call.port, self._refusing.getsockname()[1])
        target = self.hands.base + (call.epfd if isinstance(call, EpollWait) else call.fd)
        with self._room(call):
            self.workers[worker].start(ask, target)
            self.workers[worker].settle()

    def has_returned(self, worker: int) -> bool:
        """Whether ``worker`` has its result by now; says nothing of whether it sleeps."""
        return self.workers[worker].result is not None

    def settle(self) -> dict[int, Result | None]:
        """Of every worker that was given a call: its result once it has returned, None while it is suspended.

        One that goes on may wake another that was seen asleep a moment before. So all are looked at
        until twice in a row nobody had moved.
        """
        quiet = 0
        seen: dict[int, Result | None] = {}
        while quiet < 2:
            looks = {n: w.settle() for n, w in enumerate(self.workers) if w.target is not None}
            still = all(at_first_sight for _, at_first_sight in looks.values())
            results = {worker: result for worker, (result, _) in looks.items()}
            quiet = quiet + 1 if still and results == seen else 0
            seen = results
        for worker, result in seen.items():
            if result is not None:
                self.workers[worker].target = None
        return seen

    def join(self, worker: int) -> tuple[Result, int]:
        """Wait for a call that time will end: its result, and how many nanoseconds it took."""
        while (result := self.workers[worker].settle()[0]) is None:
            os.sched_yield()
        self.workers[worker].target = None
        return result, self.workers[worker].lasted

    # --- what the kernel tells of itself ---

    def interests(self, epfd: Number) -> Interests:
        """``/proc/self/fdinfo`` of an epoll: (model number, mask) of each registration, sorted."""
        fd = os.open(f"/proc/self/fdinfo/{self.hands.base + epfd}", os.O_RDONLY)
        try:
            lines = os.read(fd, 1 << 16).decode().splitlines()
        finally:
            os.close(fd)
        listed = (line.split() for line in lines if line.startswith("tfd:"))
        return tuple(sorted((int(words[1]) - self.hands.base, int(words[3], 16)) for words in listed))

    def conditions(self, fd: Number) -> tuple[int, int]:
        """poll(2) of a descriptor, and the bytes that it has to read: what has arrived by now."""
        poller = select.poll()
        poller.register(self.hands.base + fd, 0x2005)
        found = poller.poll(0)
        mask = found[0][1] if found else 0
        count = ctypes.c_int()
        with contextlib.suppress(OSError):
            _checked(_LIBC.ioctl(self.hands.base + fd, termios.FIONREAD, ctypes.byref(count)))
        return mask, count.value

    def carry(self, ends: Iterable[Number]) -> None:
        """Let the loopback carry what has been sent, and the answers to it, and the answers to those.

        A packet may be left to another context. It is through once a datagram sent after it is back. The
        acknowledgement of a FIN, which is news to the one of the TCP ``ends`` that has sent it, may be put
        off for 40 ms; to the model it comes at once.
        """
        for _ in range(4):
            self._echo.send(b"?")
            self.until(self._is_back)
        for end in ends:
            self.until(partial(self._is_acknowledged, end), _PATIENCE)

    def _is_acknowledged(self, end: Number) -> bool:
        info = ctypes.create_string_buffer(1)
        size = ctypes.c_int(len(info))
        _LIBC.getsockopt(self.hands.base + end, socket.IPPROTO_TCP, socket.TCP_INFO, info, ctypes.byref(size))
        return info.raw[0] not in _UNACKNOWLEDGED

    def _is_back(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(self._echo.recv(1))
        return False

    def until(self, holds: Callable[[], bool], patience: int = 2_000) -> None:
        """Yield until ``holds``: the loopback delivers in another context now and then. Gives up quietly."""
        for _ in range(patience):
            if holds():
                return
            os.sched_yield()
