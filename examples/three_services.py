"""Three services behind one handler: one user request, made of remote calls, written in three forms.

A page for a user takes three calls, each of which needs what the one before it returned: who the user is,
what the weather is like where they live, and a greeting made of both. Nobody knows a user that is not
there, and a page does not wait for the weather for long.

``page_blocking`` says that in six lines, from top to bottom, and its thread can do nothing else meanwhile.
``page_with_callbacks`` returns at once, and the same six lines are in four functions: what comes after a
call has to be passed into it, ``try`` has become ``match``, and what is to be remembered from one call to
the next has to be in a function's closure. ``page_coroutine`` is the first one with ``await``, and its
thread is as free as the second's.

python examples/three_services.py
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

import refloop
from refloop.rpc import (
    BlockingClient,
    CallbackClient,
    Client,
    Json,
    Outcome,
    Procedure,
    RemoteError,
    Replied,
    TimedOut,
    serve_calls,
    value_of,
)

PATIENCE = 200 * refloop.MILLISECOND
"""How long a page waits for the weather."""

NOBODY = "There is no such user."


# --- one handler in three forms -----------------------------------------------------------------------------


def page_blocking(people: BlockingClient, weather: BlockingClient, words: BlockingClient, user: int) -> str:
    """The page of ``user``, by a thread that sleeps in each call."""
    try:
        name, city = _person(people.call("find", user))
    except RemoteError:
        return NOBODY
    try:
        sky = weather.call("today", city, timeout=PATIENCE)
    except TimeoutError:
        sky = "whatever"
    return str(words.call("greet", name, sky))


def page_with_callbacks(
    people: CallbackClient,
    weather: CallbackClient,
    words: CallbackClient,
    user: int,
    done: Callable[[str], None],
) -> None:
    """The same, and ``done`` gets the page."""

    def found(outcome: Outcome) -> None:
        match outcome:
            case Replied(value):
                name, city = _person(value)
                weather.call(
                    "today", city, timeout=PATIENCE, callback=lambda outcome: looked_up(name, outcome)
                )
            case _:
                done(NOBODY)

    def looked_up(name: str, outcome: Outcome) -> None:
        sky = "whatever" if isinstance(outcome, TimedOut) else value_of(outcome)
        words.call("greet", name, sky, callback=greeted)

    def greeted(outcome: Outcome) -> None:
        done(str(value_of(outcome)))

    people.call("find", user, callback=found)


async def page_coroutine(people: Client, weather: Client, words: Client, user: int) -> str:
    """The same, by a task that is suspended in each call."""
    try:
        name, city = _person(await people.call("find", user))
    except RemoteError:
        return NOBODY
    try:
        sky = await weather.call("today", city, timeout=PATIENCE)
    except TimeoutError:
        sky = "whatever"
    return str(await words.call("greet", name, sky))


def _person(value: Json) -> tuple[str, str]:
    assert isinstance(value, Mapping)
    return str(value["name"]), str(value["city"])


# --- the services -------------------------------------------------------------------------------------------

PEOPLE: Mapping[int, Json] = {
    1: {"name": "Ada", "city": "London"},
    2: {"name": "Alan", "city": "Atlantis"},
}


async def find(user: int) -> Json:
    """Who ``user`` is."""
    return PEOPLE[user]


async def today(city: str) -> Json:
    """The weather in ``city``, which for some is long in coming."""
    if city == "Atlantis":
        await refloop.sleep(refloop.SECOND * 3600)
    return "rainy"


async def greet(name: str, sky: str) -> Json:
    """A greeting."""
    return f"Hello {name}, it is a {sky} day."


SERVICES: tuple[Mapping[str, Procedure], ...] = ({"find": find}, {"today": today}, {"greet": greet})


@contextmanager
def serving() -> Iterator[list[tuple[str, int]]]:
    """The addresses of the three services, which run on one thread of their own."""
    addresses: SimpleQueue[list[tuple[str, int]]] = SimpleQueue()
    stops: SimpleQueue[Callable[[], object]] = SimpleQueue()

    async def serve_all() -> None:
        with ExitStack() as listening, refloop.CancelScope() as scope:
            reactor = refloop.current_reactor()
            stops.put(lambda: reactor.call_soon_threadsafe(scope.cancel))
            listeners = [listening.enter_context(refloop.listen_tcp("127.0.0.1", 0)) for _ in SERVICES]
            async with refloop.TaskGroup() as group:
                for listener, procedures in zip(listeners, SERVICES, strict=True):
                    group.start_soon(serve_calls, listener, procedures)
                addresses.put([_address(listener.socket.getsockname()) for listener in listeners])

    thread = threading.Thread(target=refloop.run, args=(serve_all,))
    thread.start()
    stop = stops.get()
    try:
        yield addresses.get()
    finally:
        stop()
        thread.join()


def _address(name: object) -> tuple[str, int]:
    assert isinstance(name, tuple)
    host, port = name
    return host, port


# --- and who asks -------------------------------------------------------------------------------------------


def by_blocking(addresses: list[tuple[str, int]], users: list[int]) -> list[str]:
    """The pages of ``users``, one after the other."""
    with ExitStack() as connected:
        people, weather, words = (
            connected.enter_context(BlockingClient(socket.create_connection(address)))
            for address in addresses
        )
        return [page_blocking(people, weather, words, user) for user in users]


def by_callbacks(addresses: list[tuple[str, int]], users: list[int]) -> list[str]:
    """The pages of ``users``, all at a time."""
    pages: dict[int, str] = {}
    reactor = refloop.Reactor()
    with ExitStack() as connected:
        connected.callback(reactor.close)
        people, weather, words = (
            connected.enter_context(CallbackClient(reactor, socket.create_connection(address)))
            for address in addresses
        )

        def asks(user: int) -> None:
            page_with_callbacks(people, weather, words, user, lambda page: pages.update({user: page}))

        for user in users:
            asks(user)
        while len(pages) < len(users):
            reactor.turn()
    return [pages[user] for user in users]


def by_coroutines(addresses: list[tuple[str, int]], users: list[int]) -> list[str]:
    """The pages of ``users``, all at a time."""

    async def main() -> list[str]:
        with ExitStack() as connected:
            people, weather, words = [
                connected.enter_context(Client(await refloop.open_tcp(*address))) for address in addresses
            ]
            async with refloop.TaskGroup() as group:
                tasks = [group.start_soon(page_coroutine, people, weather, words, user) for user in users]
            return [await task.join() for task in tasks]

    return refloop.run(main)


def main(users: list[int]) -> None:
    """Ask for the pages of ``users`` in three ways."""
    with serving() as addresses:
        for form in (by_blocking, by_callbacks, by_coroutines):
            sys.stdout.write(f"{form.__name__}\n")
            for page in form(addresses, users):
                sys.stdout.write(f"    {page}\n")


if __name__ == "__main__":
    main([1, 2, 3])
