"""What it costs to be watched: processor time a request of an asyncio echo server, with and without.

Everything is measured inside one process, by switching the monitor on and off between two blocks of requests:
two processes that run the same code differ by more than any of these monitors costs, because of where glibc
puts asyncio's read buffers (its thresholds are pinned here for the same reason). What is counted is the time
of the loop's thread on a processor (``thread_time``), so that a busy machine adds noise and no bias. Each
pair of blocks gives one ratio; the median is reported, with its quartiles. The first row switches nothing,
and shows the noise.

    python bench/monitor.py [--connections N] [--requests N] [--pairs N] [--same-cpu] [--json FILE]

One connection is ping-pong: a wait, a step and a suspension of the loop a request, the worst case for all
that is paid for a suspension. With eight connections the loop finds several ready at once, as a busy server
does."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TOP_PAD_": "67108864",
}

CLIENT = """
import os, socket, sys
host, port, connections, cpu = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
os.sched_setaffinity(0, {cpu})
peers = [socket.create_connection((host, port)) for _ in range(connections)]
for peer in peers:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
message = b"x" * 100
for line in sys.stdin:
    for _ in range(int(line) // connections):
        for peer in peers:
            peer.sendall(message)
        for peer in peers:
            got = 0
            while got < len(message):
                got += len(peer.recv(4096))
    print("done", flush=True)
"""


Monitor = Callable[[], AbstractContextManager[object] | AbstractAsyncContextManager[object]]


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


def loopspec_watch() -> AbstractContextManager[object]:
    """loopspec's monitor, with the onlooker, and the best sensor."""
    from loopspec.watching import watch

    return watch()


def loopspec_usage() -> AbstractContextManager[object]:
    """The same where there is no ring."""
    from loopspec.watching import watch

    return watch(sensor="ru_nvcsw")


@contextmanager
def blockbuster() -> Iterator[None]:
    """A list of blocking functions, each wrapped. What this benchmark itself does to its pipe is let pass."""
    from blockbuster import blockbuster_ctx

    with blockbuster_ctx() as active:
        for function in active.functions.values():
            function.can_block_in(__file__, "ask")
        yield


@asynccontextmanager
async def pyleak() -> AsyncIterator[None]:
    """A thread that polls the loop."""
    from pyleak import no_event_loop_blocking

    async with no_event_loop_blocking(action="log", threshold=0.2):
        yield


_AIOCOP: list[bool] = []


@contextmanager
def aiocop() -> Iterator[None]:
    """An audit hook, and the time of a step. It cannot be taken away, only made idle: it comes last."""
    import aiocop as cop

    if not _AIOCOP:
        _AIOCOP.append(True)
        cop.patch_audit_functions()
        cop.start_blocking_io_detection()
        cop.detect_slow_tasks(threshold_ms=30)
    cop.activate()
    try:
        yield
    finally:
        cop.deactivate()


@contextmanager
def debug() -> Iterator[None]:
    """asyncio's own debug mode."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        yield
    finally:
        loop.set_debug(False)


MONITORS: dict[str, tuple[str, Monitor]] = {
    "nothing": ("", nullcontext),
    "loopspec, ring": ("loopspec", loopspec_watch),
    "loopspec, ru_nvcsw": ("loopspec", loopspec_usage),
    "asyncio debug": ("", debug),
    "blockbuster": ("blockbuster", blockbuster),
    "pyleak": ("pyleak", pyleak),
    "aiocop": ("aiocop", aiocop),
}


class Client:
    """The other process: makes requests when it is told to."""

    def __init__(self, port: int, connections: int, cpu: int) -> None:
        arguments = ["127.0.0.1", str(port), str(connections), str(cpu)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    async def ask(self, requests: int) -> float:
        """Have ``requests`` made. Gives the processor time of this thread for one, in seconds."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.add_reader(self._from, lambda: None if done.done() else done.set_result(None))
        begin = time.thread_time()
        self._to.write(b"%d\n" % requests)
        self._to.flush()
        await done
        taken = time.thread_time() - begin
        loop.remove_reader(self._from)
        self._from.readline()
        return taken / requests

    def close(self) -> None:
        """End it."""
        self._to.close()
        self._from.close()
        self._process.wait()


async def pairs(
    client: Client, monitor: Monitor, requests: int, count: int
) -> AsyncIterator[tuple[float, float]]:
    """``count`` pairs of blocks: seconds a request without the monitor and with it; the order alternates."""
    for number in range(count):
        taken = {}
        for on in (number % 2 == 0, number % 2 == 1):
            gc.collect()
            async with AsyncExitStack() as stack:
                match monitor() if on else nullcontext():
                    case AbstractAsyncContextManager() as entered:
                        await stack.enter_async_context(entered)
                    case AbstractContextManager() as entered:
                        stack.enter_context(entered)
                # The step in which it is switched on, and what is loaded at first, are not part of the block.
                await client.ask(64)
                taken[on] = await client.ask(requests)
        yield taken[False], taken[True]


async def measured(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """A row a monitor."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    client = Client(server.sockets[0].getsockname()[1], arguments.connections, arguments.client_cpu)
    rows: list[dict[str, object]] = []
    try:
        await client.ask(arguments.requests)
        for name, (package, monitor) in MONITORS.items():
            if arguments.only and not any(only in name for only in arguments.only):
                continue
            try:
                release = version(package) if package else ""
            except PackageNotFoundError:
                print(f"{name:20} not installed", flush=True)
                continue
            found = [pair async for pair in pairs(client, monitor, arguments.requests, arguments.pairs)]
            ratios = [on / off for off, on in found]
            low, middle, high = statistics.quantiles(ratios, n=4)
            base = statistics.median(off for off, _ in found)
            rows.append(
                {
                    "monitor": name,
                    "version": release,
                    "ratio": middle,
                    "quartiles": [low, high],
                    "base_us": base * 1e6,
                    "added_us": base * (middle - 1) * 1e6,
                }
            )
            print(
                f"{name:20} {release:8} {middle:6.3f}  [{low:.3f}, {high:.3f}]  "
                f"{base * (middle - 1) * 1e6:+6.2f} of {base * 1e6:.1f} µs a request",
                flush=True,
            )
    finally:
        client.close()
        server.close()
    return rows


def main() -> None:
    """Measure, and print a line a monitor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--requests", type=int, default=4000, help="a block")
    parser.add_argument("--pairs", type=int, default=25, help="of blocks, a monitor")
    parser.add_argument("--same-cpu", action="store_true", help="client and server on one processor")
    parser.add_argument("--only", action="append", help="a part of a monitor's name; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here, too")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in PINNED.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PINNED)
    cpus = sorted(os.sched_getaffinity(0))
    arguments.client_cpu = cpus[0] if arguments.same_cpu else cpus[-1]
    os.sched_setaffinity(0, {cpus[0]})
    print(
        f"Python {platform.python_version()}, Linux {platform.release()}; "
        f"{arguments.connections} connections, "
        f"{arguments.pairs} pairs of {arguments.requests} requests; client on "
        f"{'the same' if arguments.client_cpu == cpus[0] else 'another'} processor"
    )
    print(f"{'monitor':20} {'version':8} {'ratio':>6}  quartiles")
    rows = asyncio.run(measured(arguments))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
