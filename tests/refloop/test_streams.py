"""Streams: bytes in order, backpressure, half-close, close, and the servers on them."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from refloop import (
    MILLISECOND,
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    Direction,
    Event,
    Listener,
    Returned,
    Runtime,
    SocketStream,
    State,
    Task,
    TaskCancelledError,
    TaskGroup,
    Trap,
    checkpoint,
    current_reactor,
    listen_tcp,
    listen_unix,
    move_on_after,
    notify_closing,
    open_tcp,
    open_unix,
    serve,
    serve_tcp,
    serve_unix,
    sleep,
    wait_readable,
)
from refloop.echo import echo
from refloop.streams import ACCEPTS, BACKLOG
from tests.refloop.fake_kernel import FakeKernel, open_descriptors

Pair = tuple[socket.socket, socket.socket]

SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
"""What the kernel makes of a larger backlog (listen(2))."""


def port_of(listener: Listener) -> int:
    address = listener.socket.getsockname()
    assert isinstance(address, tuple)
    return int(address[1])


async def receive_all(stream: SocketStream) -> bytes:
    parts = []
    while part := await stream.receive(1_000):
        parts.append(part)
    return b"".join(parts)


async def receive_exactly(stream: SocketStream, count: int) -> bytes:
    parts = []
    while count:
        parts.append(await stream.receive(count))
        count -= len(parts[-1])
    return b"".join(parts)


async def receive_some(stream: SocketStream) -> bytes:
    return await stream.receive()


async def send_last(stream: SocketStream) -> None:
    await stream.send_all(b"last")


def fill(end: socket.socket) -> None:
    """Leave no room."""
    with suppress(BlockingIOError):
        while True:
            end.send(bytes(1 << 16))


def drain(end: socket.socket) -> None:
    """Take all that is there."""
    with suppress(BlockingIOError):
        while end.recv(1 << 20):
            pass


async def settle() -> None:
    """Let everybody come to where they wait."""
    for _ in range(6):
        await checkpoint()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_is_sent_in_order_through_a_full_socket_and_the_end_comes_after_it(
    runtime: Runtime, pair: Pair, kind: type[bytes | bytearray | memoryview]
) -> None:
    sent = bytes(range(256)) * 4_096

    async def send(stream: SocketStream) -> None:
        await stream.send_all(kind(sent))
        stream.send_eof()

    async def main() -> bytes:
        with SocketStream(pair[0]) as ours, SocketStream(pair[1]) as theirs:
            runtime.spawn(send, ours)
            return await receive_all(theirs)

    assert runtime.run_until_done(runtime.spawn(main)) == sent


def test_what_is_no_buffer_of_single_bytes_is_sent_whole(runtime: Runtime, pair: Pair) -> None:
    numbers = array("Q", range(100_000))

    async def main() -> bytes:
        with SocketStream(pair[0]) as ours, SocketStream(pair[1]) as theirs:
            sender = runtime.spawn(ours.send_all, memoryview(numbers))
            received = await receive_exactly(theirs, numbers.itemsize * len(numbers))
            await sender.join()
            return received

    assert runtime.run_until_done(runtime.spawn(main)) == numbers.tobytes()


def test_at_most_as_much_is_received_as_was_asked_for(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            pair[1].send(b"abc")
            assert await ours.receive(1) == b"a"
            for nothing in (0, -1):
                with pytest.raises(ValueError, match=f"{nothing} bytes cannot be told from the end"):
                    await ours.receive(nothing)
            assert await ours.receive(2) == b"bc"
            pair[1].send(bytes(10))
            assert len(await ours.receive()) == 10

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("busy", ["receiving", "sending"])
def test_readiness_is_a_hint_and_who_finds_another_was_faster_waits_on(
    runtime: Runtime, pair: Pair, busy: str
) -> None:
    """Given a task that was woken, when what was there, or the room, is taken before it runs, then it waits
    again, as long as that takes."""
    ours, theirs = pair

    async def main() -> object:
        with SocketStream(ours) as stream:
            operation: Callable[[SocketStream], Coroutine[Trap, None, object]] = receive_some
            come: Callable[[], object] = partial(theirs.send, b"x")
            take: Callable[[], object] = partial(ours.recv, 1)
            if busy == "sending":
                fill(ours)
                operation, come, take = send_last, partial(drain, theirs), partial(fill, ours)
            task: Task[object] = runtime.spawn(operation, stream)
            await settle()
            for _ in range(2):
                assert task.waits_for.startswith(("read", "write"))
                come()
                while task.waits_for != "ready":
                    await checkpoint()
                take()
                await settle()
            assert task.waits_for.startswith(("read", "write"))
            come()
            return await task.join()

    assert runtime.run_until_done(runtime.spawn(main)) == (b"x" if busy == "receiving" else None)


def test_a_stream_whose_peer_has_gone_raises_what_the_kernel_says(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            pair[0].send(b"unread")
            pair[1].close()
            with pytest.raises(ConnectionResetError):
                await ours.receive()
            for data in (b"x", bytearray(b"x")):
                with pytest.raises(BrokenPipeError):
                    await ours.send_all(data)

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
def test_a_send_that_has_ended_lets_the_next_one_begin(runtime: Runtime, pair: Pair, ends: str) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            fill(pair[0])
            task = runtime.spawn(ours.send_all, b"x")
            await settle()
            if ends == "cancelled":
                task.cancel()
                with pytest.raises(TaskCancelledError):
                    await task.join()
                drain(pair[1])
                await ours.send_all(b"x")
            else:
                pair[1].close()
                with pytest.raises(BrokenPipeError):
                    await task.join()
            ours.send_eof()

    runtime.run_until_done(runtime.spawn(main))


def test_what_a_stream_or_a_listener_owns_does_not_block(runtime: Runtime) -> None:
    """Whoever has made the socket, and however it came."""

    async def main() -> None:
        with socket.socket() as one, socket.create_server(("127.0.0.1", 0)) as other:
            with SocketStream(one) as stream, Listener(other) as listener:
                assert (one.getblocking(), other.getblocking()) == (False, False)
                with (
                    await open_tcp("127.0.0.1", port_of(listener)) as ours,
                    await listener.accept() as theirs,
                ):
                    for each in (ours, theirs):
                        assert isinstance(each.socket, socket.socket)
                        assert not each.socket.getblocking()
            assert (stream.closed, listener.closed) == (True, True)

    runtime.run_until_done(runtime.spawn(main))


def test_a_half_close_ends_reading_and_writing_goes_on(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours, SocketStream(pair[1]) as theirs:
            theirs.send_eof()
            assert await ours.receive() == b""
            await ours.send_all(b"still here")
            assert await theirs.receive() == b"still here"

    runtime.run_until_done(runtime.spawn(main))


def test_a_send_that_is_cancelled_before_it_begins_sends_nothing(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            with CancelScope() as scope:
                scope.cancel()
                await ours.send_all(b"x")
            assert scope.cancelled_caught
            with pytest.raises(BlockingIOError):
                pair[1].recv(1)

    runtime.run_until_done(runtime.spawn(main))


def test_a_send_that_is_cancelled_at_its_checkpoint_sends_nothing(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            task = runtime.spawn(ours.send_all, b"x")
            await checkpoint()
            assert task.state is State.READY
            task.cancel()
            with pytest.raises(TaskCancelledError):
                await task.join()
            with pytest.raises(BlockingIOError):
                pair[1].recv(1)

    runtime.run_until_done(runtime.spawn(main))


def test_a_blocked_send_whose_rest_went_out_is_reported_done_though_it_is_cancelled_then(
    runtime: Runtime, pair: Pair
) -> None:
    """Writable, and cancelled before its step, in one turn: the rest goes out, so the send is done."""
    done: list[str] = []

    async def main() -> None:
        reactor = current_reactor()
        with SocketStream(pair[0]) as ours:
            with suppress(BlockingIOError):
                while True:
                    pair[0].send(bytes(1 << 16))

            async def send() -> None:
                await ours.send_all(b"last")
                done.append("sent")

            task = runtime.spawn(send)
            await checkpoint()
            await checkpoint()
            with suppress(BlockingIOError):
                while True:
                    pair[1].recv(1 << 20)
            pair[0].send(b"x")
            registration = reactor.register(pair[1], Direction.READ, lambda events: task.cancel())
            while task.state is State.WAITING:
                await checkpoint()
            registration.disarm()
            await task.join()
        assert task.outcome == Returned(None)
        assert done == ["sent"]

    runtime.run_until_done(runtime.spawn(main))


def test_sending_and_receiving_are_checkpoints_when_ready(runtime: Runtime, pair: Pair) -> None:
    steps = [0]

    async def sibling() -> None:
        while True:
            steps[0] += 1
            await checkpoint()

    async def main() -> None:
        with SocketStream(pair[0]) as ours, SocketStream(pair[1]) as theirs:
            async with TaskGroup() as group:
                group.start_soon(sibling)
                await checkpoint()
                for _ in range(3):
                    for operation in (lambda: ours.send_all(b"x"), theirs.receive):
                        before = steps[0]
                        await operation()
                        assert steps[0] > before
                group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_two_tasks_in_one_direction_are_refused(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        with SocketStream(pair[0]) as ours:
            async with TaskGroup() as group:
                group.start_soon(receive_all, ours)
                group.start_soon(ours.send_all, bytes(1 << 22))
                await checkpoint()
                await checkpoint()
                with pytest.raises(BusyResourceError):
                    await ours.receive()
                with pytest.raises(BusyResourceError):
                    await ours.send_all(b"x")
                with pytest.raises(BusyResourceError):
                    ours.send_eof()
                group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_close_settles_both_directions_and_refuses_what_comes_after(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        ours = SocketStream(pair[0])
        tasks = [runtime.spawn(ours.receive), runtime.spawn(ours.send_all, bytes(1 << 22))]
        await checkpoint()
        await checkpoint()
        ours.close()
        ours.close()
        for task in tasks:
            with pytest.raises(ClosedResourceError):
                await task.join()
        for operation in (ours.receive, lambda: ours.send_all(b"x")):
            with pytest.raises(ClosedResourceError):
                await operation()
        with pytest.raises(ClosedResourceError):
            ours.send_eof()

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("operation", [receive_some, send_last])
def test_a_stream_closed_between_wake_and_step_is_neither_read_nor_written(
    runtime: Runtime, pair: Pair, operation: Callable[[SocketStream], Coroutine[Trap, None, object]]
) -> None:
    async def main() -> None:
        stream = SocketStream(pair[0])
        fill(pair[0])
        task = runtime.spawn(operation, stream)
        await settle()
        drain(pair[1])
        pair[1].send(b"x")
        pair[0].send(b"x")
        registration = current_reactor().register(pair[1], Direction.READ, lambda events: stream.close())
        with pytest.raises(ClosedResourceError):
            await task.join()
        registration.disarm()

    runtime.run_until_done(runtime.spawn(main))


def test_a_stream_whose_socket_was_closed_without_notice_does_not_take_the_next_one_for_it(
    runtime: Runtime, pair: Pair
) -> None:
    async def main() -> None:
        stream = SocketStream(pair[0])
        pair[1].send(b"x")
        assert await stream.receive() == b"x"
        number = pair[0].fileno()
        pair[0].close()
        with SocketStream(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
            assert other.socket.fileno() == number
            with pytest.raises(ClosedResourceError):
                await stream.receive()

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async function", "function"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_server_echoes_to_many_and_a_failing_handler_ends_one_connection_alone(
    runtime: Runtime, kind: str, asynchronous: bool, tmp_path: Path
) -> None:
    errors: list[Exception] = []
    streams: list[SocketStream] = []
    current_reactor().on_error = errors.append

    async def handler(stream: SocketStream) -> None:
        streams.append(stream)
        first = await stream.receive(1)
        if first == b"!":
            raise ValueError("bad client")
        await stream.send_all(first)
        await echo(stream)

    def function(stream: SocketStream) -> Awaitable[None]:
        return handler(stream)

    async def client(listener: Listener, text: bytes) -> bytes:
        if kind == "tcp":
            stream = await open_tcp("127.0.0.1", port_of(listener))
        else:
            stream = await open_unix(str(tmp_path / "s"))
        with stream:
            await stream.send_all(text)
            stream.send_eof()
            return await receive_all(stream)

    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) if kind == "tcp" else listen_unix(str(tmp_path / "s")) as listener:
            async with TaskGroup() as group:
                server = group.start_soon(serve, listener, handler if asynchronous else function)
                clients = [group.start_soon(client, listener, text) for text in (b"one", b"!", b"three")]
                assert [await task.join() for task in clients] == [b"one", b"", b"three"]
                server.cancel()

    runtime.run_until_done(runtime.spawn(main))
    assert [str(error) for error in errors] == ["bad client"]
    assert [stream.closed for stream in streams] == [True] * 3


def test_a_server_that_is_cancelled_waits_for_its_handlers_failing_or_not(runtime: Runtime) -> None:
    errors: list[Exception] = []
    current_reactor().on_error = errors.append
    streams: list[SocketStream] = []

    async def handler(stream: SocketStream) -> None:
        streams.append(stream)
        with CancelScope(shield=True):
            await sleep(MILLISECOND)
        raise ValueError("late")

    async def main() -> None:
        with listen_unix("") as listener, socket.socket(socket.AF_UNIX) as client:
            assert isinstance(listener.socket, socket.socket)
            client.connect(listener.socket.getsockname())
            server = runtime.spawn(serve, listener, handler)
            while not streams:
                await checkpoint()
            server.cancel()
            with pytest.raises(TaskCancelledError):
                await server.join()
            assert client.recv(1) == b""

    runtime.run_until_done(runtime.spawn(main))
    assert [str(error) for error in errors] == ["late"]


def test_a_cancelled_server_ends_when_its_last_handler_has(runtime: Runtime) -> None:
    begun, ended = Event(), list[str]()

    async def handler(stream: SocketStream) -> None:
        begun.set()
        try:
            await stream.receive()
        finally:
            with CancelScope(shield=True):
                await sleep(MILLISECOND)
            ended.append("handler")

    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener:
            server = runtime.spawn(serve, listener, handler)
            with socket.create_connection(("127.0.0.1", port_of(listener))):
                await begun.wait()
                server.cancel()
                with pytest.raises(TaskCancelledError):
                    await server.join()
        ended.append("server")

    runtime.run_until_done(runtime.spawn(main))
    assert ended == ["handler", "server"]


class Failing:
    """A listening socket on which ``accept`` fails with ``errors`` first, one a call."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.fileno, self.getsockname = self._socket.fileno, self._socket.getsockname
        self.setblocking, self.close = self._socket.setblocking, self._socket.close

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise self.errors.pop(0)
        return self._socket.accept()


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_server_without_means_rests_and_serves_then(
    kernel: FakeKernel, runtime: Runtime, number: int
) -> None:
    """For a tenth of a second each time; and a client that has left again is no error at all."""

    async def main() -> int:
        served = Event()

        async def handler(_stream: SocketStream) -> None:
            served.set()

        failing = Failing(refused(number), refused(errno.ECONNABORTED), refused(number))
        with Listener(failing) as listener, socket.create_connection(failing.getsockname()):
            server = runtime.spawn(serve, listener, handler)
            await served.wait()
            server.cancel()
            with pytest.raises(TaskCancelledError):
                await server.join()
        return kernel.now

    assert runtime.run_until_done(runtime.spawn(main)) == 200 * MILLISECOND


def test_a_server_whose_listener_fails_ends_with_the_error(runtime: Runtime) -> None:
    async def main() -> None:
        failing = Failing(refused(errno.EPERM))
        with Listener(failing) as listener, socket.create_connection(failing.getsockname()):
            await serve(listener, echo)

    with pytest.raises(BaseExceptionGroup) as caught:
        runtime.run_until_done(runtime.spawn(main))
    assert caught.group_contains(PermissionError)


def test_a_stream_that_cannot_be_closed_is_reported_and_the_server_goes_on(runtime: Runtime) -> None:
    errors: list[Exception] = []
    current_reactor().on_error = errors.append
    streams: list[SocketStream] = []

    async def handler(stream: SocketStream) -> None:
        streams.append(stream)
        if len(streams) == 1:
            assert isinstance(stream.socket, socket.socket)
            os.close(stream.socket.fileno())

    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener:
            server = runtime.spawn(serve, listener, handler)
            for _ in range(2):
                with await open_tcp("127.0.0.1", port_of(listener)) as client:
                    assert await client.receive() == b""
            server.cancel()
            with pytest.raises(TaskCancelledError):
                await server.join()

    runtime.run_until_done(runtime.spawn(main))
    assert [error.errno for error in errors if isinstance(error, OSError)] == [errno.EBADF]
    assert len(errors) == 1


def test_a_handler_that_is_interrupted_ends_the_server(runtime: Runtime) -> None:
    async def handler(_stream: SocketStream) -> None:
        raise SystemExit(3)

    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener:
            async with TaskGroup() as group:
                group.start_soon(serve, listener, handler)
                with await open_tcp("127.0.0.1", port_of(listener)) as client:
                    assert await client.receive() == b""

    with pytest.raises((BaseExceptionGroup, SystemExit)):
        runtime.run_until_done(runtime.spawn(main))


def test_accepting_where_nobody_waits_gives_nobody_and_a_closed_listener_refuses(runtime: Runtime) -> None:
    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener:
            assert listener.accept_nowait() is None
            with await open_tcp("127.0.0.1", port_of(listener)):
                await settle()
                stream = listener.accept_nowait()
                assert stream is not None
                stream.close()
            first = runtime.spawn(listener.accept)
            await settle()
            with pytest.raises(BusyResourceError):
                await listener.accept()
            first.cancel()
        listener.close()
        with pytest.raises(ClosedResourceError):
            listener.accept_nowait()
        with pytest.raises(ClosedResourceError):
            await listener.accept()

    runtime.run_until_done(runtime.spawn(main))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ECONNABORTED])
def test_who_finds_a_connection_gone_waits_for_the_next(runtime: Runtime, number: int) -> None:
    """Another has accepted it, or its client has left."""

    async def main() -> None:
        failing = Failing(refused(number), refused(number))
        with (
            Listener(failing) as listener,
            socket.create_connection(failing.getsockname()) as client,
            await listener.accept() as stream,
        ):
            assert isinstance(stream.socket, socket.socket)
            assert stream.socket.getpeername() == client.getsockname()

    runtime.run_until_done(runtime.spawn(main))


def test_a_listener_that_is_closed_between_wake_and_step_accepts_nobody(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        listener = listen_unix("")
        assert isinstance(listener.socket, socket.socket)
        task = runtime.spawn(listener.accept)
        await settle()
        registration = current_reactor().register(pair[0], Direction.READ, lambda events: listener.close())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.socket.getsockname())
            pair[1].send(b"x")
            with pytest.raises(ClosedResourceError):
                await task.join()
        registration.disarm()

    runtime.run_until_done(runtime.spawn(main))


def waiting_at_most(listener: Listener) -> int:
    """How many connections the kernel holds for ``listener`` at most, as it says itself (tcp(7))."""
    assert isinstance(listener.socket, socket.socket)
    info = listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int.from_bytes(info[28:32], sys.byteorder)  # tcpi_sacked


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_tcp_listener_is_where_and_as_it_was_asked_for(runtime: Runtime, host: str) -> None:
    """Its port can be had again at once, a reply does not wait for another, and a crowd waits in the
    kernel."""

    async def main() -> None:
        with listen_tcp(host, 0) as listener, listen_tcp(host, 0, backlog=3) as narrow:
            assert isinstance(listener.socket, socket.socket)
            address, port, *_ = listener.socket.getsockname()
            assert address == host
            assert waiting_at_most(listener) == min(BACKLOG, int(SOMAXCONN.read_text()))
            assert waiting_at_most(narrow) == 3
            with await open_tcp(host, port_of(listener)) as ours, await listener.accept() as theirs:
                for stream in (ours, theirs):
                    assert isinstance(stream.socket, socket.socket)
                    assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                theirs.close()
                assert await ours.receive() == b""
        listen_tcp(host, port).close()

    runtime.run_until_done(runtime.spawn(main))


def test_where_another_listens_nobody_else_does(runtime: Runtime, tmp_path: Path) -> None:
    before = open_descriptors()
    with listen_tcp("127.0.0.1", 0) as listener, listen_unix(str(tmp_path / "s")):
        with pytest.raises(OSError, match="Address already in use"):
            listen_tcp("127.0.0.1", port_of(listener))
        with pytest.raises(OSError, match="Address already in use"):
            listen_unix(str(tmp_path / "s"))
        assert len(open_descriptors() - before) == 2


def test_a_refused_connect_raises(runtime: Runtime) -> None:
    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = nobody.getsockname()
            with pytest.raises(ConnectionRefusedError) as refusal:
                await open_tcp(*address)
            number = errno.ECONNREFUSED
            assert refusal.value.args == (number, os.strerror(number))
            assert refusal.value.filename == str(address)
        with pytest.raises(FileNotFoundError, match="/nowhere/at/all"):
            await open_unix("/nowhere/at/all")

    runtime.run_until_done(runtime.spawn(main))


def test_of_a_connect_that_failed_nothing_is_left_with_the_kernel(
    kernel: FakeKernel, runtime: Runtime
) -> None:
    """It is told before the descriptor is closed: its number may be another's next."""

    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await open_tcp(*nobody.getsockname())

    runtime.run_until_done(runtime.spawn(main))
    told = {fd: what for what, fd, _ in kernel.controls}
    told.pop(kernel.controls[0][1])  # the channel of the reactor
    assert set(told.values()) <= {"unregister"}


def test_a_unix_listener_holds_as_many_as_it_says_and_the_next_is_told_to_come_again(
    runtime: Runtime,
) -> None:
    async def main() -> None:
        with listen_unix("", backlog=0) as listener:
            assert isinstance(listener.socket, socket.socket)
            path = listener.socket.getsockname().decode()
            with await open_unix(path):
                with pytest.raises(BlockingIOError):
                    await open_unix(path)
                (await listener.accept()).close()
                (await open_unix(path)).close()

    runtime.run_until_done(runtime.spawn(main))


def test_a_connect_that_is_cancelled_leaves_nothing_open(runtime: Runtime) -> None:
    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener, CancelScope() as scope:
            scope.cancel()
            await open_tcp("127.0.0.1", port_of(listener))
        assert scope.cancelled_caught

    runtime.run_until_done(runtime.spawn(main))


def test_out_of_descriptors_a_listener_rests_and_then_goes_on(kernel: FakeKernel, runtime: Runtime) -> None:
    async def main() -> None:
        with listen_tcp("127.0.0.1", 0) as listener, socket.socket() as client:
            client.setblocking(False)
            assert client.connect_ex(("127.0.0.1", port_of(listener))) in (0, errno.EINPROGRESS)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            async with TaskGroup() as group:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()), limits[1]))
                try:
                    group.start_soon(serve, listener, echo)
                    with move_on_after(1_000 * MILLISECOND):
                        await sleep(10_000 * MILLISECOND)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                assert len(kernel.timeouts) < 40
                client.send(b"x")
                await sleep(200 * MILLISECOND)
                assert client.recv(1) == b"x"
                group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))


def test_a_crowd_is_accepted_a_few_a_turn_and_nobody_is_forgotten(runtime: Runtime) -> None:
    served: list[int] = []  # the turn in which each handler began
    crowd = 2 * ACCEPTS + 3

    async def handler(_stream: SocketStream) -> None:
        served.append(current_reactor().turns)

    async def main() -> None:
        with listen_unix("") as listener, ExitStack() as clients:
            assert isinstance(listener.socket, socket.socket)
            for _ in range(crowd):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(listener.socket.getsockname())
            server = runtime.spawn(serve, listener, handler)
            while len(served) < crowd:
                await checkpoint()
            server.cancel()
            with pytest.raises(TaskCancelledError):
                await server.join()

    runtime.run_until_done(runtime.spawn(main))
    assert sorted(Counter(served).values()) == [3, ACCEPTS, ACCEPTS]


@pytest.mark.parametrize("family", ["TCP", "Unix"])
def test_serving_in_one_call_tells_of_its_listener_and_closes_it(runtime: Runtime, family: str) -> None:
    listeners: list[Listener] = []

    async def main() -> None:
        with CancelScope() as scope:
            async with TaskGroup() as group:
                if family == "TCP":
                    serving = partial(serve_tcp, echo, "127.0.0.1", 0, listening=listeners.append)
                else:
                    serving = partial(serve_unix, echo, "", listening=listeners.append)
                group.start_soon(serving)
                while not listeners:
                    await checkpoint()
                (listener,) = listeners
                assert isinstance(listener.socket, socket.socket)
                with socket.socket(listener.socket.family) as client:
                    client.setblocking(False)
                    client.connect_ex(listener.socket.getsockname())
                    client.send(b"x")
                    await wait_readable(client)
                    assert client.recv(1) == b"x"
                    notify_closing(client)
                scope.cancel()

    runtime.run_until_done(runtime.spawn(main))
    assert listeners[0].closed


def held(listener: Listener) -> int:
    """How many connections the kernel has held for a Unix listener when it tells the next to come again."""
    assert isinstance(listener.socket, socket.socket)
    with ExitStack() as clients:
        for count in range(10):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(listener.socket.getsockname()) == errno.EAGAIN:
                return count
        return 10


def test_serving_in_one_call_has_as_many_wait_as_it_was_told_to(runtime: Runtime) -> None:
    held_by: list[int] = []

    async def main() -> None:
        async with TaskGroup() as group:

            def tcp(listener: Listener) -> None:
                held_by.append(waiting_at_most(listener))

            def unix(listener: Listener) -> None:
                held_by.append(held(listener))

            group.start_soon(partial(serve_tcp, echo, "127.0.0.1", 0, backlog=3, listening=tcp))
            group.start_soon(partial(serve_unix, echo, "", backlog=3, listening=unix))
            group.start_soon(partial(serve_tcp, echo, "127.0.0.1", 0))
            group.start_soon(partial(serve_unix, echo, ""))
            await settle()
            group.cancel_scope.cancel()

    runtime.run_until_done(runtime.spawn(main))
    assert held_by == [3, 3 + 1]


def test_the_echo_server_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "refloop.echo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(",")[2].strip(" )\n"))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
        server.send_signal(2)
        assert server.wait() == 130
