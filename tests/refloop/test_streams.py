"""Streams: bytes in order, backpressure, half-close, close, and the servers on them."""

from __future__ import annotations

import errno
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable
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
    Listener,
    Returned,
    Runtime,
    SocketStream,
    State,
    TaskCancelledError,
    TaskGroup,
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
from refloop.streams import ACCEPTS
from tests.refloop.fake_kernel import FakeKernel, open_descriptors

Pair = tuple[socket.socket, socket.socket]


def port_of(listener: Listener) -> int:
    address = listener.socket.getsockname()
    assert isinstance(address, tuple)
    return int(address[1])


async def receive_all(stream: SocketStream) -> bytes:
    parts = []
    while part := await stream.receive(1_000):
        parts.append(part)
    return b"".join(parts)


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


def test_a_stream_closed_between_wake_and_step_is_not_read(runtime: Runtime, pair: Pair) -> None:
    async def main() -> None:
        stream = SocketStream(pair[0])
        task = runtime.spawn(stream.receive)
        await checkpoint()
        registration = current_reactor().register(pair[1], Direction.READ, lambda events: stream.close())
        pair[1].send(b"x")
        pair[0].send(b"x")
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


def test_a_refused_connect_raises(runtime: Runtime) -> None:
    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await open_tcp(*nobody.getsockname())
        with pytest.raises(FileNotFoundError):
            await open_unix("/nowhere/at/all")

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
