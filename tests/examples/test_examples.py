"""The examples, as processes, and clients that know nothing of refloop: asyncio, trio, curl, wrk."""

from __future__ import annotations

import asyncio
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES = 150


@contextmanager
def running(name: str, *arguments: str) -> Iterator[int]:
    """The port on which an example serves; it ends with status 130, and has complained of nothing."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told = re.search(r"\('127\.0\.0\.1', (\d+)\)", process.stdout.readline())
            assert told is not None
            yield int(told[1])
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate()
        finally:
            process.kill()
    assert complained == ""
    assert process.returncode == 130


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LINES


# --- chat -----------------------------------------------------------------------------------------------


async def enter(port: int, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.readline() == b"your name?\n"
    writer.write(name.encode() + b"\n")
    return reader, writer


def test_what_one_says_goes_to_all_others() -> None:
    async def talk(port: int) -> None:
        ann, to_ann = await enter(port, "ann")
        bob, to_bob = await enter(port, "bob")
        assert await ann.readline() == b"* bob comes\n"
        cat, to_cat = await enter(port, "cat")
        assert await ann.readline() == b"* cat comes\n"
        assert await bob.readline() == b"* cat comes\n"
        to_bob.write(b"hel")
        await to_bob.drain()
        to_bob.write(b"lo\r\nbye\n")
        for reader in (ann, cat):
            assert await reader.readline() == b"bob: hello\n"
            assert await reader.readline() == b"bob: bye\n"
        to_bob.close()
        for reader in (ann, cat):
            assert await reader.readline() == b"* bob goes\n"
        for writer in (to_ann, to_bob, to_cat):
            writer.close()
            await writer.wait_closed()

    with running("chat", "--port", "0") as port:
        asyncio.run(talk(port))


def test_clients_of_asyncio_and_of_trio_talk_in_one_room() -> None:
    async def tom(port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            heard = b""
            await stream.send_all(b"tom\n")
            async for data in stream:
                heard += data
                if heard == b"your name?\nann: hello tom\n":
                    await stream.send_all(b"hello ann\n")
                    return

    async def ann(port: int) -> None:
        reader, writer = await enter(port, "ann")
        visit = asyncio.create_task(asyncio.to_thread(trio.run, tom, port))
        assert await reader.readline() == b"* tom comes\n"
        writer.write(b"hello tom\n")
        assert await reader.readline() == b"tom: hello ann\n"
        assert await reader.readline() == b"* tom goes\n"
        await visit
        writer.close()
        await writer.wait_closed()

    with running("chat", "--port", "0") as port:
        asyncio.run(ann(port))


def test_a_member_who_does_not_read_is_shown_out_and_delays_nobody() -> None:
    async def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(b"deaf\n")
            ann, to_ann = await enter(port, "ann")
            bob, to_bob = await enter(port, "bob")
            seen = set()
            while b"* bob comes\n" not in seen:
                seen.add(await ann.readline())
            line = b"x" * 4000 + b"\n"
            gone = asyncio.create_task(shown_out(bob))
            while not gone.done():
                to_ann.write(line)
                await to_ann.drain()
                await asyncio.sleep(0)
            for writer in (to_ann, to_bob):
                writer.close()
                await writer.wait_closed()

    async def shown_out(reader: asyncio.StreamReader) -> None:
        while await reader.readline() != b"* deaf goes\n":
            pass

    with running("chat", "--port", "0") as port:
        asyncio.run(talk(port))


# --- HTTP -----------------------------------------------------------------------------------------------


def test_http_client_keeps_its_connection_over_many_requests() -> None:
    with running("http_server", "--port", "0") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for method, target, body, status, answer in [
            ("GET", "/", None, 200, b"hello\n"),
            ("HEAD", "/", None, 200, b""),
            ("POST", "/echo", b"a" * 100_000, 200, b"a" * 100_000),
            ("GET", "/bytes/50000", None, 200, b"x" * 50_000),
            ("GET", "/nowhere", None, 404, b"no such thing\n"),
            ("GET", "/bytes/many", None, 404, b"no such thing\n"),
        ]:
            connection.request(method, target, body)
            response = connection.getresponse()
            assert (response.status, response.read()) == (status, answer)
            assert not response.will_close
            if method == "HEAD":
                assert response.getheader("content-length") == "6"
        connection.close()


def test_pipelined_requests_are_answered_in_order() -> None:
    with running("http_server", "--port", "0") as port, socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\nok"
        )
        received = b""
        while data := one.recv(4096):
            received += data
    assert re.findall(rb"HTTP/1\.1 (\d+).*?\r\n\r\n(hello\n|ok)", received, re.DOTALL) == [
        (b"200", b"hello\n"),
        (b"200", b"ok"),
    ]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000, b"413"),
    ],
)
def test_what_cannot_be_served_is_answered_and_the_connection_closed(sent: bytes, status: bytes) -> None:
    with running("http_server", "--port", "0") as port, socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(sent)
        assert one.recv(12) == b"HTTP/1.1 " + status


def installed(program: str) -> str:
    """Where ``program`` is; a test that wants it fails without it, in one line."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(
            f"{program} is not installed, and this test is about it: install {program}", pytrace=False
        )
    return found


def curl(*arguments: str, given: bytes = b"") -> bytes:
    """What curl prints; it asks no proxy, fails for a status of 400 or more, and complains of nothing."""
    command = [installed("curl"), "--silent", "--show-error", "--fail", "--noproxy", "*", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


@pytest.mark.full
def test_curl_sees_what_it_asked_for() -> None:
    with running("http_server", "--port", "0") as port:
        url = f"http://127.0.0.1:{port}"
        assert curl(f"{url}/", f"{url}/bytes/3", f"{url}/") == b"hello\nxxxhello\n"
        assert b"Content-Length: 6" in curl("--head", f"{url}/").title()
        assert curl("-d", "abc", f"{url}/echo") == b"abc"
        assert len(curl(f"{url}/bytes/3000000")) == 3_000_000


@pytest.mark.full
def test_curl_keeps_one_connection_for_many_requests() -> None:
    with running("http_server", "--port", "0") as port:
        urls = [f"http://127.0.0.1:{port}/bytes/{size}" for size in range(20)]
        written = ("-o", "/dev/null") * len(urls)
        assert curl("-w", "%{num_connects}", *written, *urls) == b"1" + b"0" * 19


@pytest.mark.full
def test_curl_uploads_in_chunks_and_waits_to_be_told_to_go_on() -> None:
    body = bytes(range(256)) * 1_000
    with running("http_server", "--port", "0") as port:
        url = f"http://127.0.0.1:{port}/echo"
        assert curl("-H", "Expect: 100-continue", "--data-binary", "@-", url, given=body) == body
        assert curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", url, given=body) == body


@pytest.mark.full
def test_curl_has_fifty_transfers_under_way_at_a_time() -> None:
    with running("http_server", "--port", "0") as port:
        url = f"http://127.0.0.1:{port}/bytes/[100000-100199]"
        sizes = curl("-Z", "--parallel-max", "50", "-o", "/dev/null", "-w", "%{size_download}\n", url)
        assert sorted(map(int, sizes.split())) == list(range(100_000, 100_200))


@pytest.mark.full
@pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk is not installed: of real clients curl alone was here"
)
def test_wrk_is_answered_whatever_it_asks() -> None:
    with running("http_server", "--port", "0") as port:
        run = subprocess.run(
            [installed("wrk"), "-t1", "-c100", "-d1s", f"http://127.0.0.1:{port}/"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert re.search(r"^ +[1-9]\d* requests in", run.stdout, re.MULTILINE)
    assert "Socket errors" not in run.stdout
    assert "Non-2xx" not in run.stdout


# --- forwarding -----------------------------------------------------------------------------------------


def test_everything_goes_through_the_forwarder_and_half_closes_too() -> None:
    """Given a server that answers only once it has seen the end, then its answer comes."""
    data = bytes(range(256)) * 4000
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            connection, _ = listener.accept()
            with connection:
                received = bytearray()
                while piece := connection.recv(65_536):
                    received += piece
                connection.sendall(received[::-1])

        server = threading.Thread(target=serve_one)
        server.start()
        behind = listener.getsockname()[1]
        with (
            running("forward", "0", f"127.0.0.1:{behind}") as port,
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            received = bytearray()
            while piece := client.recv(65_536):
                received += piece
        server.join()
    assert received == data[::-1]


def test_a_forwarder_without_a_server_closes() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with (
            running("forward", "0", f"127.0.0.1:{reserved.getsockname()[1]}") as port,
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            assert client.recv(1) == b""
