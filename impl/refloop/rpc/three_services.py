"""Three services behind one handler: one user request, made of remote calls, written in three forms.

A page takes three calls, each of which needs what came before it: who the user is, what the weather is like
where they are, and a greeting made of both. It does not wait for the weather for long.

``page_blocking`` says so from top to bottom, and its thread can do nothing else meanwhile.
``page_with_callbacks`` returns at once, and is torn apart: what comes after a call has to be passed into it,
``try`` has become a test, and what is to be remembered has to be in a closure. ``page_coroutine`` is the
first one with ``await``, and its thread is as free as the second's.

python -m refloop.rpc.three_services
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread

import refloop
from refloop import rpc

PATIENCE = 100 * refloop.MILLISECOND
NOBODY = "There is no such user."


def page_blocking(services: Sequence[rpc.BlockingClient], user: int) -> str:
    """The page of ``user``, by a thread that sleeps in each call."""
    people, weather, words = services
    try:
        name = people.call("find", user)
    except rpc.RemoteError:
        return NOBODY
    try:
        sky = weather.call("today", name, timeout=PATIENCE)
    except TimeoutError:
        sky = "whatever"
    return str(words.call("greet", name, sky))


def page_with_callbacks(
    services: Sequence[rpc.CallbackClient], user: int, done: Callable[[str], object]
) -> None:
    """The same, and ``done`` gets the page."""
    people, weather, words = services

    def found(outcome: rpc.Outcome) -> None:
        if isinstance(outcome, rpc.Failed):
            done(NOBODY)
        else:
            name = rpc.value_of(outcome)
            weather.call("today", name, timeout=PATIENCE, callback=partial(looked_up, name))

    def looked_up(name: rpc.Json, outcome: rpc.Outcome) -> None:
        sky = "whatever" if isinstance(outcome, rpc.TimedOut) else rpc.value_of(outcome)
        words.call("greet", name, sky, callback=greeted)

    def greeted(outcome: rpc.Outcome) -> None:
        done(str(rpc.value_of(outcome)))

    people.call("find", user, callback=found)


async def page_coroutine(services: Sequence[rpc.Client], user: int) -> str:
    """The same, by a task that is suspended in each call."""
    people, weather, words = services
    try:
        name = await people.call("find", user)
    except rpc.RemoteError:
        return NOBODY
    try:
        sky = await weather.call("today", name, timeout=PATIENCE)
    except TimeoutError:
        sky = "whatever"
    return str(await words.call("greet", name, sky))


PEOPLE = {1: "Ada", 2: "Alan"}


async def find(user: int) -> rpc.Json:
    """Who ``user`` is."""
    return PEOPLE[user]


async def today(name: str) -> rpc.Json:
    """What the weather is like where ``name`` is, which for some is long in coming."""
    if name == "Alan":
        await refloop.sleep(3 * PATIENCE)
    return "rainy"


async def greet(name: str, sky: str) -> rpc.Json:
    """A greeting."""
    return f"Hello {name}, it is a {sky} day."


SERVICES: tuple[Mapping[str, rpc.Procedure], ...] = ({"find": find}, {"today": today}, {"greet": greet})


@contextmanager
def served() -> Iterator[Sequence[socket.socket]]:
    """A connection to each of the services, which run on a thread of their own until their client leaves."""
    ours, theirs = zip(*(socket.socketpair() for _ in SERVICES), strict=True)
    thread = Thread(target=refloop.run, args=(serve, theirs))
    thread.start()
    try:
        yield ours
    finally:
        close(ours)
        thread.join()
        close(theirs)


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for sock in sockets:
        sock.close()


async def serve(sockets: Sequence[socket.socket]) -> None:
    """Serve the one client of each of the services until it leaves."""
    async with refloop.TaskGroup() as group:
        for sock, procedures in zip(sockets, SERVICES, strict=True):
            group.start_soon(rpc.answer_calls, refloop.SocketStream(sock), procedures)


def by_blocking(sockets: Sequence[socket.socket], users: Sequence[int]) -> list[str]:
    """The pages of ``users``, one after the other."""
    services = [rpc.BlockingClient(sock) for sock in sockets]
    return [page_blocking(services, user) for user in users]


def by_callbacks(sockets: Sequence[socket.socket], users: Sequence[int]) -> list[str]:
    """The pages of ``users``, all at a time."""
    pages: dict[int, str] = {}
    reactor = refloop.Reactor()
    services = [rpc.CallbackClient(reactor, sock) for sock in sockets]
    for user in users:
        page_with_callbacks(services, user, partial(pages.__setitem__, user))
    while len(pages) < len(users):
        reactor.turn()
    reactor.close()
    return [pages[user] for user in users]


def by_coroutines(sockets: Sequence[socket.socket], users: Sequence[int]) -> list[str]:
    """The pages of ``users``, all at a time."""
    return refloop.run(_in_tasks, sockets, users)


async def _in_tasks(sockets: Sequence[socket.socket], users: Sequence[int]) -> list[str]:
    services = [rpc.Client(refloop.SocketStream(sock)) for sock in sockets]
    async with refloop.TaskGroup() as group:
        pages = [group.start_soon(page_coroutine, services, user) for user in users]
    return [await page.join() for page in pages]


FORMS: Mapping[str, Callable[[Sequence[socket.socket], Sequence[int]], list[str]]] = {
    "blocking": by_blocking,
    "callbacks": by_callbacks,
    "coroutines": by_coroutines,
}


def main(users: Sequence[int] = (1, 2, 3)) -> None:
    """Print the pages of ``users``, asked for in three ways."""
    for name, form in FORMS.items():
        with served() as sockets:
            sys.stdout.write("\n    ".join((name, *form(sockets, users))) + "\n")


if __name__ == "__main__":
    main()
