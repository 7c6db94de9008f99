"""Chaos, heal, progress: after a prefix of faults the world heals, and all that is owed is delivered in time.

The faults are those of the chaotic kernel: waits that end early, transfers of a byte, buffers of four,
accepts without descriptors, a connection that is torn. Then the schedule is calm. What is owed are the bytes
of every client whose connection was not torn; the bound is counted in waits from the healing on.

Owed are, in the other programs, the end of every task, what it has written, and the outcome of every remote
call. A frame does not go into four bytes, so remote calls have the faulty kernel.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from loopspec import trace
from loopspec.conformance import scenario as s
from loopspec.conformance.lockstep import MAX_TURNS
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, Healing, KernelKind, Modelled, case_of, case_token
from loopspec.conformance.scenario import At, Scenario
from loopspec.trace import Event

CLIENTS, BYTES = 3, 12

ECHO = Scenario(
    CLIENTS,
    False,
    True,
    (),
    tuple(At(0, True, s.Send(client, BYTES // 2)) for client in range(CLIENTS) for _ in range(2)),
)

BOUND = 4 * CLIENTS * BYTES
"""Waits after the world has healed: at worst each byte comes, goes and makes room by a wait of its own, and
the server tries to accept again, once for each client."""


def chaos(
    seed: int, length: int, scenario: Scenario = ECHO, kernel: KernelKind = "chaotic"
) -> tuple[list[Event], int, str]:
    """A run of ``scenario``: its trace, how many waits came after the world had healed, and its token."""
    schedule, events, waits = Healing(seed, length), list[Event](), 0

    def tell(event: Event) -> None:
        nonlocal waits
        events.append(event)
        waits += schedule.healed and isinstance(event, trace.WaitReturn)

    Modelled(scenario, kernel, schedule, tell).run(RefloopLoop)
    return events, waits, case_token(Case(scenario, kernel, tuple(schedule.taken)))


def owed(events: list[Event]) -> dict[int, tuple[bytes, bytes]]:
    """By client, what it sent and what came back, where that is not the same; who is torn is owed nothing."""
    sent, back = defaultdict[int, bytes](bytes), defaultdict[int, bytes](bytes)
    torn = {event.stream for event in events if isinstance(event, trace.Reset)}
    for event in events:
        if isinstance(event, trace.Send):
            sent[event.stream] += event.data
        elif isinstance(event, trace.Receive):
            back[event.stream] += event.data
    return {
        stream: (data, back[stream])
        for stream, data in sent.items()
        if stream not in torn and data != back[stream]
    }


def progress(seeds: range) -> int:
    """Every run delivers what is owed within the bound; how many of them had faults."""
    with_faults = 0
    for seed in seeds:
        events, waits, token = chaos(seed, 5 + seed % 60)
        assert owed(events) == {}, token
        assert isinstance(events[-1], trace.Quiescent), token
        assert waits <= BOUND, token
        with_faults += any(isinstance(event, trace.Interrupted | trace.Reset) for event in events)
    return with_faults


def test_after_the_chaos_everything_owed_is_delivered() -> None:
    assert progress(range(20)) > 10


@pytest.mark.full
def test_after_much_chaos_everything_owed_is_delivered() -> None:
    assert progress(range(20, 2_000)) > 1_000


def test_the_bound_is_less_than_what_a_run_is_cut_off_at() -> None:
    assert BOUND < MAX_TURNS


def test_what_is_not_delivered_would_be_seen() -> None:
    """Given an echo server that gives up a client after one message, then its second is owed."""

    class Curt(RefloopLoop):
        def serve_echo(self, listener: object) -> None:
            import refloop

            async def once(stream: refloop.SocketStream) -> None:
                with stream:
                    await stream.send_all(await stream.receive())

            self._runtime.spawn(refloop.serve, refloop.Listener(listener), once)  # type: ignore[arg-type]

    events: list[Event] = []
    Modelled(ECHO, "calm", Healing(0, 0), events.append).run(Curt)
    assert owed(events)


# --- programs ---------------------------------------------------------------------------------------------


def asleep(*acts: s.Act) -> tuple[At, ...]:
    return tuple(At(0, True, act) for act in acts)


SENDS_AND_READS = tuple(
    s.Spawn((s.Receive(stream, 1), s.SendAll(stream, BYTES), s.Receive(stream, 1))) for stream in range(2)
)
TAKES_TURNS = tuple(
    s.Spawn((s.Hold("lock", 0, (s.Sleep(1), s.Put(0))), s.Checkpoint(1), s.Get(0))) for _ in range(3)
)
ASKS: s.Program = (
    *(s.Spawn((s.AwaitReply(service, timeout), s.AwaitReply(0, 4))) for service, timeout in ((0, 2), (1, 3))),
    s.Ask(1, 3, ()),
)

PROGRAMS: dict[str, tuple[Scenario, KernelKind, int]] = {
    "streams": (
        Scenario(
            2,
            False,
            False,
            SENDS_AND_READS,
            asleep(s.Send(0, 2), s.Send(1, 2), s.HalfClose(0), s.HalfClose(1)),
        ),
        "chaotic",
        2 * BYTES,
    ),
    "primitives": (
        Scenario(0, False, False, TAKES_TURNS, asleep(s.Post(1, (s.SetEvent(0),)))),
        "chaotic",
        24,
    ),
    "remote calls": (
        Scenario(
            0, False, False, ASKS, asleep(*(s.Answer(transport, 0, "value") for transport in (0, 1, 1, 2)))
        ),
        "faulty",
        24,
    ),
}
"""By name: the program, its kernel, and how many waits it may take once the world has healed: so many as
there are bytes to come, to go and to make room for, or a few for each thing that is waited for."""


def unsettled(events: list[Event]) -> dict[str, set[int]]:
    """The tasks that have not ended, the remote calls without an outcome, and the streams of which bytes have
    been written that did not come to the client."""
    tasks, calls, bytes_left = set[int](), set[int](), defaultdict[int, int](int)
    for event in events:
        match event:
            case trace.Spawn(task=task):
                tasks.add(task)
            case trace.Done(task=task):
                tasks.discard(task)
            case trace.RpcCall(call=call):
                calls.add(call)
            case trace.RpcSettle(call=call):
                calls.discard(call)
            case trace.Write(stream=stream, data=data):
                bytes_left[stream] += len(data)
            case trace.Receive(stream=stream, data=data):
                bytes_left[stream] -= len(data)
            case _:
                pass
    streams = {stream for stream, left in bytes_left.items() if left}
    return {name: left for name, left in (("tasks", tasks), ("calls", calls), ("streams", streams)) if left}


def settles(name: str, seeds: range) -> int:
    """Every run settles what is owed within the bound; how many of them had other choices than the usual."""
    scenario, kernel, bound = PROGRAMS[name]
    with_choices = 0
    for seed in seeds:
        events, waits, token = chaos(seed, 5 + seed % 40, scenario, kernel)
        assert unsettled(events) == {}, token
        assert any(isinstance(event, trace.Quiescent) for event in events), token
        assert waits <= bound, token
        with_choices += any(case_of(token).tape)
    return with_choices


@pytest.mark.parametrize("name", PROGRAMS)
def test_after_the_chaos_every_task_and_call_is_settled(name: str) -> None:
    assert settles(name, range(20)) > 10


@pytest.mark.full
@pytest.mark.parametrize("name", PROGRAMS)
def test_after_much_chaos_every_task_and_call_is_settled(name: str) -> None:
    assert settles(name, range(20, 500)) > 400


@pytest.mark.parametrize("name", PROGRAMS)
def test_something_is_owed(name: str) -> None:
    """Given a run that is cut off where its first task has begun, then something is owed in it."""
    scenario, kernel, _ = PROGRAMS[name]
    events, _, _ = chaos(0, 0, scenario, kernel)
    begun = next(place for place, event in enumerate(events) if isinstance(event, trace.Step | trace.RpcCall))
    assert unsettled(events[: begun + 1])
