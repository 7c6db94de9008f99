"""Chaos, heal, progress: after a prefix of faults the world heals, and all that is owed is delivered in time.

The faults are those of the chaotic kernel: waits that end early, transfers of a byte, buffers of four,
accepts without descriptors, a connection that is torn. Then the schedule is calm. What is owed are the bytes
of every client whose connection was not torn; the bound is counted in waits from the healing on.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from loopspec import trace
from loopspec.conformance import scenario as s
from loopspec.conformance.lockstep import MAX_TURNS
from loopspec.conformance.loops.refloop import RefloopLoop
from loopspec.conformance.modelled import Case, Healing, Modelled, case_token
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


def chaos(seed: int, length: int) -> tuple[list[Event], int, str]:
    """A run of the echo server; its trace, how many waits came after the world had healed, and its token."""
    schedule, events, waits = Healing(seed, length), list[Event](), 0

    def tell(event: Event) -> None:
        nonlocal waits
        events.append(event)
        waits += schedule.healed and isinstance(event, trace.WaitReturn)

    Modelled(ECHO, "chaotic", schedule, tell).run(RefloopLoop)
    return events, waits, case_token(Case(ECHO, "chaotic", tuple(schedule.taken)))


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
