"""Crowds of clients, in a process of their own: what tests/examples/test_crowd.py brings to a server.

A process of its own, since thousands of descriptors are more than the test's own may be allowed. The clients
are nonblocking sockets on a bare epoll and know nothing of refloop. What a client says is drawn from a seed,
so that a lost, doubled or displaced byte is seen; one in :data:`ONE_IN` is hostile, in a way that goes round.

``python -m tests.examples.crowd PORT CONNECTIONS SEED`` prints what the clients have come to, as JSON.
"""

from __future__ import annotations

import errno
import json
import random
import resource
import select
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

ONE_IN: Final = 10
"""One in so many connections is hostile."""

AT_ONCE: Final = 512
"""So many connections are opened at a time: fewer than the backlog holds."""

SPARE: Final = 50
"""Descriptors that a process has for other things than its connections."""

LAST_RESORT: Final = 60.0
"""Seconds in which nothing happens, after which the crowd is called off: no verdict."""


class Manner(Enum):
    """How a client behaves; all but the first are hostile."""

    GOOD = "sends, and reads what comes back"
    SILENT = "says nothing"
    DEAF = "sends as long as there is room, and never reads"
    RESETTING = "sends, and resets the connection"
    HALF_CLOSING = "sends, and half-closes before it has read anything"
    DRIPPING = "sends a byte at a time"


HOSTILE: Final = tuple(manner for manner in Manner if manner is not Manner.GOOD)

ANSWERED: Final = frozenset({Manner.GOOD, Manner.HALF_CLOSING, Manner.DRIPPING})
"""Who is owed every byte: the others have only themselves to blame."""


def raise_limit(descriptors: int) -> None:
    """Let this process have so many descriptors. Raises SystemExit, in one line, where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        sys.exit(f"{descriptors} descriptors are needed, and `ulimit -Hn` allows {hard}: raise it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, descriptors), hard))


@dataclass
class Client:
    """One connection: what it has yet to send, and what it is owed."""

    socket: socket.socket
    manner: Manner
    unsent: bytes
    owed: bytes
    wrong: str = ""

    def act(self, events: int) -> bool:
        """Go on as far as it goes; whether it is done."""
        try:
            if events & select.EPOLLOUT:
                self.send()
            if events & select.EPOLLIN and self.manner in ANSWERED:
                self.receive()
        except OSError as error:
            self.wrong = errno.errorcode.get(error.errno or 0, str(error))
            return True
        return bool(self.wrong) or not (self.unsent or self.owed)

    def send(self) -> None:
        """Hand over what the kernel takes, as the manner is."""
        match self.manner:
            case Manner.DRIPPING:
                self.unsent = self.unsent[self.socket.send(self.unsent[:1]) :]
            case Manner.DEAF:
                self.socket.send(self.unsent)  # for ever
            case _:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if self.manner is Manner.HALF_CLOSING and not self.unsent:
            self.socket.shutdown(socket.SHUT_WR)

    def receive(self) -> None:
        """Take what has come, and hold it against what is owed."""
        data = self.socket.recv(65_536)
        if not data or not self.owed.startswith(data):
            self.wrong = (
                f"{len(self.owed)} bytes are owed, and others come" if data else "the end comes early"
            )
        self.owed = self.owed[len(data) :]

    def interest(self) -> int:
        """What it waits for."""
        return (select.EPOLLOUT if self.unsent else 0) | (select.EPOLLIN if self.manner in ANSWERED else 0)


class Crowd:
    """All clients of a run."""

    def __init__(self, port: int, connections: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.owing = 0  # how many clients have not had all that they are owed
        self.outcomes: Counter[str] = Counter()
        for number in range(connections):
            hostile = number % ONE_IN == 0
            self.join(HOSTILE[number // ONE_IN % len(HOSTILE)] if hostile else Manner.GOOD)
            if number % AT_ONCE == AT_ONCE - 1:
                self.go_on()

    def join(self, manner: Manner) -> None:
        """One more client comes."""
        said = self.random.randbytes(100 if manner is Manner.DRIPPING else self.random.randrange(1, 6_000))
        one = socket.create_connection(("127.0.0.1", self.port))
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if manner is Manner.RESETTING:
            one.send(said)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
            self.outcomes[manner.name] += 1
            return
        if manner is Manner.SILENT:
            said = b""
        client = Client(one, manner, said, said if manner in ANSWERED else b"")
        self.clients[one.fileno()] = client
        self.owing += bool(client.owed)
        self.epoll.register(one, client.interest())

    def go_on(self, timeout: float = 0) -> bool:
        """One wait, and what it brings; whether it brought anything."""
        batch = self.epoll.poll(timeout)
        for fd, events in batch:
            client = self.clients[fd]
            if client.act(events):
                self.epoll.unregister(fd)  # done, and connected still
                self.owing -= client.manner in ANSWERED
                self.outcomes[f"{client.manner.name} {client.wrong}".strip()] += 1
            else:
                self.epoll.modify(fd, client.interest())
        return bool(batch)

    def run(self) -> Counter[str]:
        """Until all have what they are owed; how many came to which end."""
        while self.owing and self.go_on(LAST_RESORT):
            pass
        for client in self.clients.values():
            if client.manner in ANSWERED and client.owed and not client.wrong:
                self.outcomes[f"{client.manner.name} waits"] += 1
            client.socket.close()
        self.epoll.close()
        return self.outcomes


def main(port: int, connections: int, seed: int) -> None:
    """The command line."""
    raise_limit(connections + SPARE)
    sys.stdout.write(json.dumps(Crowd(port, connections, seed).run()) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
