"""Mutants of fairness: whoever is ready, and does not get his turn."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REACTOR = "impl/refloop/reactor.py"
STREAMS = "impl/refloop/streams.py"
TASKS = "impl/refloop/tasks.py"

FAIR_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="fair-one-callback-a-turn",
        clause="FAIR.READY.BOUNDED_WAIT",
        path=REACTOR,
        old="        for _ in range(len(ready)):\n",
        new="        if self.ready:\n",
        story="A turn runs one callback, and the queue behind it waits a turn for each.",
    ),
    Mutant(
        name="fair-edge-not-drained",
        clause="FAIR.READY.BOUNDED_WAIT",
        path=REACTOR,
        old="{READ: IN | RDHUP,",
        new="{READ: IN | RDHUP | ET,",
        story="Readers are told of the edge alone, and what one read leaves behind stays there for ever.",
        report="https://github.com/tokio-rs/mio/issues/45",
    ),
    Mutant(
        name="fair-lowest-descriptor-first",
        clause="FAIR.READY.BOUNDED_BYPASS",
        path=REACTOR,
        old="            batch = self._poll(timeout, self.maxevents)\n",
        new="            batch = sorted(self._poll(timeout, self.maxevents))[:1]\n",
        story="A turn serves the ready descriptor of the highest priority, that is the lowest number, alone.",
        report="https://github.com/systemd/systemd/issues/13236",
    ),
    Mutant(
        name="fair-first-of-the-batch-again",
        clause="FAIR.READY.BOUNDED_BYPASS",
        path=REACTOR,
        old="            batch = self._poll(timeout, self.maxevents)\n",
        new="            batch = self._poll(timeout, self.maxevents)\n"
        "            batch = [*batch[:1], *batch[:1], *batch]\n",
        story="The first of a batch is asked again at once, and once more, whether it has anything else.",
    ),
    Mutant(
        name="fair-yield-to-the-front",
        clause="FAIR.TASKS.STEPS_DIFFER_BY_ONE",
        path=TASKS,
        old="                self.state = READY\n                runtime.ready.append(self)\n",
        new="                self.state = READY\n                runtime.ready.appendleft(self)\n",
        story="A task that yields goes to the front of the queue.",
        report="https://github.com/tokio-rs/tokio/pull/5223",
    ),
    Mutant(
        name="fair-yield-to-nobody",
        clause="FAIR.TASKS.STEPS_DIFFER_BY_ONE",
        path=TASKS,
        old="                self.state = READY\n                runtime.ready.append(self)\n",
        new="                self.state = READY\n                self.run()\n",
        story="A task that yields goes on at once, and the next runs only after it has ended.",
        report="https://github.com/smol-rs/smol/issues/159",
    ),
    Mutant(
        name="fair-io-before-timers",
        clause="FAIR.PHASES.NONE_STARVES",
        path=REACTOR,
        old="            if self.timers.buckets:\n                self._fire_due()\n",
        new="            if self.timers.buckets and not batch:\n                self._fire_due()\n",
        story="Timers fire only in a turn without events: I/O that is always ready starves them.",
        report="https://github.com/joyent/libuv/issues/154",
    ),
    Mutant(
        name="fair-callbacks-before-io",
        clause="FAIR.PHASES.NONE_STARVES",
        path=REACTOR,
        old="            if batch:\n",
        new="            if batch and not self.ready:\n",
        story="While callbacks or tasks are ready, no event is dispatched.",
        report="https://github.com/dabeaz/curio/issues/112",
    ),
    Mutant(
        name="fair-one-client-after-another",
        clause="FAIR.SILENT_CLIENT.DELAYS_NOBODY",
        path=STREAMS,
        old="                connections.begin(await listener.accept())\n",
        new="""                with await listener.accept() as stream:
                    await handler(stream)
""",
        story="The server serves a client to its end before it accepts the next.",
    ),
    Mutant(
        name="fair-lock-around-a-conversation",
        clause="FAIR.SILENT_CLIENT.DELAYS_NOBODY",
        path=STREAMS,
        old="""    if inspect.iscoroutinefunction(handler):
        return handler

    async def wait_for(stream: SocketStream) -> object:
""",
        new="""    lock = __import__("refloop").Lock()

    async def wait_for(stream: SocketStream) -> object:
        async with lock:
            return await handler(stream)
""",
        story="What the handlers share is locked for as long as a conversation lasts.",
    ),
    Mutant(
        name="fair-accepts-all-there-are",
        clause="FAIR.DISPATCH.CAPPED",
        path=STREAMS,
        old="                for _ in range(ACCEPTS - 1):\n",
        new="                while True:\n",
        story="A server goes on accepting as long as somebody waits to be, and serves nobody meanwhile.",
        report="https://github.com/python/cpython/issues/72093",
    ),
    Mutant(
        name="fair-receives-all-there-is",
        clause="FAIR.DISPATCH.CAPPED",
        path=STREAMS,
        old="RECEIVE_BYTES: Final = 65_536\n",
        new="RECEIVE_BYTES: Final = 1 << 22\n",
        story="One receive takes whatever a fast peer has sent, and the turn is that peer's.",
    ),
)
