"""The servers' command line, and how they end; what they serve is judged in tests/conformance."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from loopspec.conformance import account
from refloop.servers.__main__ import ARCHITECTURES
from refloop.servers.protocol import LINE_LIMIT


def command(what: str, *arguments: str) -> list[str]:
    if what == "backend":
        return [sys.executable, "-m", "refloop.servers.backend", *arguments]
    return [sys.executable, "-m", "refloop.servers", what, *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            told = re.fullmatch(rb"(\w+) server on 127\.0\.0\.1 port (\d+)\n", process.stdout.readline())
            assert told is not None
            assert told[1].decode() == arguments[0]
            yield process, int(told[2])
        finally:
            process.kill()


def answers(port: int, asked: bytes) -> bytes:
    """All that is answered to ``asked``, half-closed behind it."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(asked)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(4096):
            received += data
        return received


def wait_until_blocked(server: int) -> None:
    """Wait until the kernel has suspended a thread of ``server`` in the call that takes the lock."""
    while not any(
        call is not None and call.call == "flock" for call in map(account.suspended, account.threads(server))
    ):
        os.sched_yield()


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_server_ends_in_good_order_also_while_a_handler_blocks(
    architecture: str, number: signal.Signals, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with running(architecture, "--port", "0", "--root", str(tmp_path)) as (process, port):
        assert answers(port, b"echo here\n") == b"here\n"
        lock = os.open(gate, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"slow gate\n")
                wait_until_blocked(process.pid)
                process.send_signal(number)
                said, complained = process.communicate()
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        finally:
            os.close(lock)
    assert (process.returncode, said, complained) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("thraed", "--port", "0"), "argument ARCHITECTURE: invalid choice: 'thraed'"),
        (("thread",), "the following arguments are required: --port"),
        (("thread", "--port", "70000"), "argument --port: invalid port value: '70000'"),
        (("thread", "--port", "x"), "argument --port: invalid port value: 'x'"),
        (("thread", "--port", "0", "--host", "localhost"), "invalid numeric address value: 'localhost'"),
        (("thread", "--port", "0", "--backend", "1.2.3.4"), "invalid HOST:PORT (numeric) value: '1.2.3.4'"),
        (("thread", "--port", "0", "--root", "/no/such"), "invalid directory value: '/no/such'"),
        (("thread", "--port", "1", "--host", "192.0.2.1"), "cannot listen on 192.0.2.1 port 1"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(arguments: tuple[str, ...], complaint: str) -> None:
    run = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert complaint in line


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_line_without_an_end_is_not_kept(architecture: str) -> None:
    """Given a client that sends bytes for ever and no end of a line, then it is dismissed."""
    with (
        running(architecture, "--port", "0") as (_, port),
        socket.create_connection(("127.0.0.1", port)) as one,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        one.sendall(b"x" * (1000 * LINE_LIMIT))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_server_without_a_backend_says_so(architecture: str) -> None:
    with running(architecture, "--port", "0") as (_, port):
        assert answers(port, b"ask anything\n") == b"error: no backend\n"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_backend_that_refuses_is_an_answer(architecture: str) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        backend = "{}:{}".format(*reserved.getsockname())
        with running(architecture, "--port", "0", "--backend", backend) as (_, port):
            assert answers(port, b"ask anything\necho on\n") == b"error: Connection refused\non\n"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_backend_is_asked_by_a_remote_call(architecture: str) -> None:
    """Whatever bytes a question has, they come back: backwards, as this backend does."""
    with (
        running("backend", "--port", "0") as (_, behind),
        running(architecture, "--port", "0", "--backend", f"127.0.0.1:{behind}") as (_, port),
    ):
        asked = b"ask abc\nask \xff\x00\xc3\xa9\nask\nask count\nask count\n"
        assert answers(port, asked) == b"cba\n\xa9\xc3\x00\xff\n\n1\n2\n"


SAID = {
    b'{"id":0,"error":"Error: two\\nlines"}': b"error: Error: two lines",
    b'{"id":0,"result":"two\\nlines"}': b"error: no answer",
    b'{"id":0,"result":7}': b"error: no answer",
    b"what": b"error: the peer sent a frame that is no message: b'what'",
    b"": b"error: the peer has closed its end of the transport",
}
"""What a backend may say, and what then is the answer."""


@pytest.mark.parametrize("architecture", ["sequential", "event_loop", "coroutine"])
def test_whatever_the_backend_says_the_answer_is_one_line(architecture: str) -> None:
    """In each of the three forms of a call: blocking, with a callback, by a coroutine."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        address = "{}:{}".format(*backend.getsockname())
        with (
            running(architecture, "--port", "0", "--backend", address) as (_, port),
            socket.create_connection(("127.0.0.1", port)) as client,
            client.makefile("rb") as lines,
        ):
            answered = {}
            for said in SAID:
                client.sendall(b"ask anything\n")
                connection, _ = backend.accept()
                with connection:
                    connection.recv(4096)
                    if said:
                        connection.sendall(len(said).to_bytes(4, "big") + said)
                    connection.shutdown(socket.SHUT_WR)
                    answered[said] = lines.readline().removesuffix(b"\n")
    assert answered == SAID
