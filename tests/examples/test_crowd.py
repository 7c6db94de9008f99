"""A server of refloop's under a crowd: thousands of clients, hostile ones, idle ones, and more than it has
descriptors for. Counts and bytes are judged, and no clock is asked."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.examples.crowd import ANSWERED, HOSTILE, LAST_RESORT, ONE_IN, SPARE, Manner, raise_limit

CONNECTIONS = 5_000
IDLE = 10_000
FEW = 64
"""Descriptors that a server has which is to run out of them."""

ROOT = Path(__file__).parents[2]

_SERVE = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv[1:] = ["--port", "0"]
runpy.run_module("refloop.echo", run_name="__main__")
"""


@contextmanager
def echo_server(descriptors: int) -> Iterator[tuple[int, int]]:
    """The process and the port of an echo server that may have so many descriptors, on one thread from its
    beginning to its end; it complains of nothing."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard >= descriptors, (
        f"{descriptors} descriptors are needed, and `ulimit -Hn` allows {hard}: raise it"
    )
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(descriptors)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told = re.search(r"\('127\.0\.0\.1', (\d+)\)", process.stdout.readline())
            assert told is not None
            yield process.pid, int(told[1])
            assert threads(process.pid) == 1
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate()
        finally:
            process.kill()
    assert complained == ""
    assert process.returncode == 130


def threads(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def descriptors(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def wait_until_it_holds(process: int, count: int) -> None:
    """Until ``process`` has ``count`` descriptors open: a server hears of what clients do a little later."""
    while descriptors(process) != count:
        os.sched_yield()


def echoed(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    received = b""
    while len(received) < len(data):
        received += client.recv(65_536)
    assert received == data


@pytest.mark.full
@pytest.mark.parametrize("seed", [1])
def test_nobody_loses_a_byte_while_one_in_ten_is_hostile(seed: int) -> None:
    """Given clients that are silent, never read, reset, half-close, or send a byte at a time, then all the
    others, and those of them who read, have every byte that they sent; and nothing is kept when all left."""
    with echo_server(CONNECTIONS + SPARE) as (process, port):
        before = descriptors(process)
        command = [sys.executable, "-m", "tests.examples.crowd", *map(str, (port, CONNECTIONS, seed))]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert run.stderr == ""
        outcomes = json.loads(run.stdout)
        wait_until_it_holds(process, before)
    hostile = CONNECTIONS // ONE_IN // len(HOSTILE)
    wanted = dict.fromkeys((manner.name for manner in HOSTILE), hostile) | {
        Manner.GOOD.name: CONNECTIONS - CONNECTIONS // ONE_IN
    }
    kept_connected = {Manner.SILENT.name, Manner.DEAF.name}  # of these nobody keeps an account
    assert {name: count for name, count in outcomes.items() if name not in kept_connected} == {
        name: count for name, count in wanted.items() if name not in kept_connected
    }
    assert {manner.name for manner in ANSWERED} <= outcomes.keys()


@pytest.mark.full
def test_ten_thousand_idle_connections_are_held_by_one_thread() -> None:
    """And each of them is served, whichever speaks, and in whatever order."""
    clients_of_one = f"""
import socket, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.examples.crowd import raise_limit
raise_limit({IDLE + SPARE})
clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range({IDLE})]
for client in clients[::-37]:
    client.sendall(b"here")
    assert client.recv(16) == b"here"
print("all are here", flush=True)
sys.stdin.read()
"""
    with echo_server(IDLE + SPARE) as (process, port):
        before = descriptors(process)
        with subprocess.Popen(
            [sys.executable, "-c", clients_of_one, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as clients:
            assert clients.stdout is not None
            assert clients.stdout.readline() == "all are here\n"
            wait_until_it_holds(process, before + IDLE)
            assert threads(process) == 1
            clients.communicate()
        assert clients.returncode == 0
        wait_until_it_holds(process, before)


@pytest.mark.full
def test_out_of_descriptors_it_serves_those_it_has_and_then_those_who_waited() -> None:
    with echo_server(FEW) as (process, port), ExitStack() as stack:
        room = FEW - descriptors(process)
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), LAST_RESORT))
            for _ in range(2 * room)
        ]
        inside, outside = clients[:room], clients[room:]
        for client in inside:
            echoed(client, b"here")
        wait_until_it_holds(process, FEW)
        for client in outside:
            client.sendall(b"and here")
        for client in inside:
            echoed(client, b"still here")
        assert select.select(outside, [], [], 0)[0] == []
        inside[0].close()
        assert outside[0].recv(16) == b"and here"
        for client in inside[1:]:
            client.close()
        for client in outside[1:]:
            assert client.recv(16) == b"and here"


def test_a_limit_that_is_too_low_is_one_line() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this machine allows any number of descriptors")
    with pytest.raises(
        SystemExit, match=r"^\d+ descriptors are needed, and `ulimit -Hn` allows \d+: raise it$"
    ):
        raise_limit(hard + 1)
