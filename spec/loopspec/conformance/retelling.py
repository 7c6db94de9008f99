"""A sequence of calls retold as a Python script that anybody can run, without this package.

The numbers of the model start at 0 and a fresh interpreter has three descriptors open: number n is n + 3
there, as long as the script itself opens nothing; sockets are detached, and every call is one statement with
its number in it. The script shows what each call gives on the machine at hand; what was observed
and what is allowed stand in its docstring, to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from loopspec.conformance.drawing import CHILD, DRIVER
from loopspec.kernel.calls import (
    Abort,
    Accept,
    Advance,
    Call,
    Close,
    Connect,
    Dup,
    EpollControl,
    EpollWait,
    Exit,
    Fork,
    GetError,
    Handshake,
    Listen,
    OpenEpoll,
    OpenEvent,
    OpenFile,
    OpenPair,
    OpenPipe,
    OpenSocket,
    OpenTimer,
    Read,
    Resume,
    SetNonblocking,
    SetTimer,
    Shutdown,
    Write,
)

_PRELUDE = '''\
import contextlib, ctypes, fcntl, os, socket, struct, threading, time

libc = ctypes.CDLL(None, use_errno=True)
EVENT = struct.Struct("=IQ" if os.uname().machine == "x86_64" else "@IQ")
FIRST = 3
os.closerange(FIRST, 900)  # what the shell has left open
ports = {}

def show(what, call):
    try:
        result = call()
    except OSError as error:
        result = error.strerror
    print(f"{what}: {result}", flush=True)

def checked(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value

def pair(nonblocking):
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        end.setblocking(not nonblocking)
    return [end.detach() - FIRST for end in ends]

def pipe(nonblocking):
    ends = os.pipe2(os.O_NONBLOCK if nonblocking else 0)
    fcntl.fcntl(ends[0], 1031, 8192)
    return [end - FIRST for end in ends]

def tcp(nonblocking):
    made = socket.socket()
    made.setblocking(not nonblocking)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made.detach() - FIRST

def file(data):
    made = os.memfd_create("loopspec")
    os.write(made, data)
    os.lseek(made, 0, os.SEEK_SET)
    return made - FIRST

@contextlib.contextmanager
def held(fd):
    copy = os.dup(fd + FIRST)
    try:
        with socket.socket(fileno=os.dup(copy)) as made:
            yield made
    finally:
        os.close(copy)

def unit(fd):
    """Bytes that one unit of the model stands for: a half page of a pipe, a buffer of a Unix stream."""
    try:
        kind = os.readlink(f"/proc/self/fd/{fd + FIRST}")
    except OSError:
        return 1
    if kind.startswith("socket:"):
        with held(fd) as end:
            unix = end.family == socket.AF_UNIX
            return (end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >> 1) - 64 if unix else 1
    return 2048 if kind.startswith("pipe:") else 1

def read(fd, size):
    return os.read(fd + FIRST, size * unit(fd))[:: unit(fd)]

def write(fd, data):
    each = unit(fd)
    return os.write(fd + FIRST, b"".join(bytes([one]) * each for one in data)) / each

def control(epfd, op, fd, mask, data, readable=True):
    event = ctypes.create_string_buffer(EVENT.pack(mask, data))
    checked(libc.epoll_ctl(epfd + FIRST, op, fd + FIRST, event if readable else ctypes.c_void_p(8)))

def wait(epfd, maxevents, timeout):
    room = ctypes.create_string_buffer(EVENT.size * max(maxevents, 1))
    count = checked(libc.epoll_wait(epfd + FIRST, room, maxevents, timeout))
    return [(data, hex(mask)) for mask, data in EVENT.iter_unpack(room.raw[: count * EVENT.size])]

def listen(fd, port, backlog):
    with held(fd) as end:
        end.bind(("127.0.0.1", 0))
        end.listen(backlog)
        ports[port] = end.getsockname()

def connect(fd, port):
    with socket.socket() as nobody, held(fd) as end:
        nobody.bind(("127.0.0.1", 0))
        end.connect(ports.get(port, nobody.getsockname()))

def accept(fd, nonblocking):
    return checked(libc.accept4(fd + FIRST, None, None, socket.SOCK_NONBLOCK if nonblocking else 0)) - FIRST

def error(fd):
    with held(fd) as end:
        return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

def abort(fd):
    linger = struct.pack("ii", 1, 0)
    libc.setsockopt(fd + FIRST, socket.SOL_SOCKET, socket.SO_LINGER, linger, len(linger))
    os.close(fd + FIRST)

def timer(fd, after):
    spec = (ctypes.c_long * 4)(0, 0, *divmod(after, 10**9))
    checked(libc.timerfd_settime(fd + FIRST, 0, spec, None))

def interests(epfd):
    with open(f"/proc/self/fdinfo/{epfd + FIRST}") as listing:
        return [line.split()[1:4:2] for line in listing if line.startswith("tfd:")]

class Child:
    """A forked process that shows what it is told to."""

    def __init__(self):
        pair = socket.socketpair()
        here, there = (socket.socket(fileno=fcntl.fcntl(end, fcntl.F_DUPFD, 900)) for end in pair)
        for end in pair:
            end.close()
        self.pid = os.fork()
        self.line = here
        if self.pid == 0:
            here.close()
            while text := there.recv(1 << 16).decode():
                show("child: " + text, lambda: eval(text))
                there.send(b".")
            os._exit(0)
        there.close()

    def tell(self, text):
        self.line.send(text.encode())
        self.line.recv(1)

    def end(self):
        self.line.close()
        os.waitpid(self.pid, 0)
'''

_WORKER = """
    threading.Thread(target=show, args=({title!r}, lambda: {call}), daemon=True).start()
    time.sleep(0.1)  # it sleeps in its call by now, if it sleeps
"""


def script(calls: Iterable[Call], observed: str, allowed: Iterable[str]) -> str:
    """The text of a script that makes ``calls`` and prints what each gives."""
    expected = "\n".join(f"    {result}" for result in allowed) or "    (see the clauses)"
    docstring = f'"""Observed: {observed}\n\nAllowed are only:\n{expected}\n"""'.replace("\\", "\\\\")
    body = "".join(_statement(call) for call in calls)
    return f'{docstring}\n\n{_PRELUDE}\nif __name__ == "__main__":\n{body}'


def _statement(call: Call) -> str:
    expression, title = _expression(call), repr(call)
    match call:
        case Fork():
            return "    child = Child()\n"
        case Exit():
            return "    child.end()\n"
        case Advance():
            return f"    time.sleep(0.005)  # {title}\n"
        case _ if call.thread == CHILD:
            return f"    child.tell({expression!r})\n"
        case _ if call.thread != DRIVER:
            return _WORKER.format(title=title, call=expression)
        case _:
            return f"    show({title!r}, lambda: {expression})\n"


def _expression(call: Call) -> str:
    match call:
        case OpenPipe():
            return f"pipe({call.nonblocking})"
        case OpenPair():
            return f"pair({call.nonblocking})"
        case OpenSocket():
            return f"tcp({call.nonblocking})"
        case OpenEvent():
            return f"os.eventfd({call.count}, {'os.EFD_NONBLOCK' if call.nonblocking else 0}) - FIRST"
        case OpenTimer():
            return f"checked(libc.timerfd_create(1, {'os.O_NONBLOCK' if call.nonblocking else 0})) - FIRST"
        case OpenFile():
            return f"file({call.data!r})"
        case OpenEpoll():
            return "checked(libc.epoll_create1(0)) - FIRST"
        case Listen():
            return f"listen({call.fd}, {call.port}, {call.backlog})"
        case Connect():
            return f"connect({call.fd}, {call.port})"
        case Accept():
            return f"accept({call.fd}, {call.nonblocking})"
        case Read():
            return f"read({call.fd}, {call.size})"
        case Write():
            return f"write({call.fd}, {call.data!r})"
        case Shutdown():
            return f"checked(libc.shutdown({call.fd} + FIRST, {call.how.value}))"
        case Close():
            return f"os.close({call.fd} + FIRST)"
        case Abort():
            return f"abort({call.fd})"
        case Dup():
            return f"checked(libc.dup({call.fd} + FIRST)) - FIRST"
        case SetNonblocking():
            return f"os.set_blocking({call.fd} + FIRST, {not call.nonblocking})"
        case GetError():
            return f"error({call.fd})"
        case SetTimer():
            return f"timer({call.fd}, {call.after})"
        case EpollControl():
            target = f"{call.epfd}, {call.op.value}, {call.fd}, {call.mask:#x}, {call.data}"
            listed = f"interests({call.epfd})"
            return f"(control({target}, readable={call.readable}), {listed})"
        case EpollWait():
            timeout = -1 if call.timeout is None else -(-call.timeout // 1_000_000)
            return f"wait({call.epfd}, {call.maxevents}, {timeout})"
        case Fork() | Exit() | Advance() | Handshake() | Resume():
            return ""
        case _:
            assert_never(call)
