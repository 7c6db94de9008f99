"""Mutants of the servers: an architecture that is not what it says, or that shows.

Each is served by the architecture that it names, as a process of its own, and hunted with the scripts that
are drawn for all servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.mutant import Mutant

SERVERS = "impl/refloop/servers"


@dataclass(frozen=True)
class ServerMutant(Mutant):
    """A mutant that shows when ``architecture`` serves."""

    architecture: str = ""


SERVER_MUTANTS: tuple[ServerMutant, ...] = (
    ServerMutant(
        name="server-sequential-on-threads",
        clause="SERVER.SEQUENTIAL.STARVES",
        path=f"{SERVERS}/sequential.py",
        old="        with accept(listener) as stream:\n            converse(stream, services)\n",
        new="        import threading\n\n"
        "        threading.Thread(target=converse, args=(accept(listener), services), daemon=True).start()\n",
        story="A server that is called sequential has a thread a client.",
        architecture="sequential",
    ),
    ServerMutant(
        name="server-one-child-for-all",
        clause="SERVER.PROCESS.ISOLATES",
        path=f"{SERVERS}/process.py",
        old="                children.discard(ended)\n",
        new="                children.discard(ended)\n"
        "                for other in tuple(children):\n                    os.kill(other, signal.SIGTERM)\n",
        story="The end of one child is taken for the end of all.",
        architecture="process",
    ),
    ServerMutant(
        name="server-lock-around-a-client",
        clause="SERVER.THREAD.SHARES",
        path=f"{SERVERS}/thread.py",
        old="    with stream:\n",
        new='    with stream, globals().setdefault("lock", threading.Lock()):\n',
        story="What the threads share is locked for as long as a conversation lasts.",
        architecture="thread",
    ),
    ServerMutant(
        name="server-blocking-client-in-the-loop",
        clause="SERVER.LOOP.ONE_THREAD",
        path=f"{SERVERS}/event_loop.py",
        old="            client.setblocking(False)\n",
        new="            client.setblocking(True)\n",
        story="O_NONBLOCK is not inherited from the listener: a send waits for a client that does not read.",
        architecture="event_loop",
    ),
    ServerMutant(
        name="server-loop-with-a-watchdog",
        clause="SERVER.LOOP.ONE_THREAD",
        path=f"{SERVERS}/event_loop.py",
        old="        self.armed = self._arm()\n\n    def _arm",
        new="        self.armed = self._arm()\n"
        "        import threading\n\n"
        "        threading.Thread(target=threading.Event().wait, daemon=True).start()\n\n    def _arm",
        story="A thread watches over the loop, and there is nothing for it to do.",
        architecture="event_loop",
    ),
    ServerMutant(
        name="server-loop-with-a-second-thread",
        clause="SERVER.LOOP.BLOCKING_HANDLER_STOPS_ALL",
        path=f"{SERVERS}/event_loop.py",
        old="                wait_unlocked(located(services, name))  # and everybody else waits as well\n"
        '                reply(name + b" is free")\n',
        new="                import threading\n\n"
        "                def wait() -> None:\n"
        "                    wait_unlocked(located(services, name))\n"
        '                    reactor.call_soon_threadsafe(done, name + b" is free")\n\n'
        "                threading.Thread(target=wait, daemon=True).start()\n",
        story="A loop that is called single-threaded has its handler block somewhere else.",
        architecture="event_loop",
    ),
    ServerMutant(
        name="server-handlers-on-the-loop",
        clause="SERVER.REACTOR.HANDLERS_ON_WORKERS",
        path=f"{SERVERS}/reactor.py",
        old="        self.workers.submit(self.receive, done=self.on_done)\n",
        new="        job = Job(self.workers, self.receive, self.on_done)\n"
        "        job.run()\n        job.end()\n",
        story="To save a change of threads, what is readable is handled where it was found.",
        architecture="reactor",
    ),
    ServerMutant(
        name="server-blocking-call-in-a-coroutine",
        clause="SERVER.COROUTINE.LOOKS_SYNCHRONOUS",
        path=f"{SERVERS}/awaiting.py",
        old="    await _on_worker(blocking.wait_unlocked, path)\n",
        new="    blocking.wait_unlocked(path)\n",
        story="A coroutine makes a blocking call, and all coroutines wait.",
        architecture="coroutine",
    ),
    ServerMutant(
        name="server-pieces-are-lost",
        clause="SERVER.ALL.SAME_ANSWERS",
        path=f"{SERVERS}/reactor.py",
        old="            self.unread += data\n",
        new="            self.unread = data\n",
        story="A line that comes in two pieces loses the first.",
        architecture="reactor",
    ),
    ServerMutant(
        name="server-answers-remembered",
        clause="SERVER.ALL.ONE_AT_A_TIME",
        path=f"{SERVERS}/sequential.py",
        old="def ask(question",
        new='@__import__("functools").cache\ndef ask(question',
        story="What the backend has answered once is taken from a cache, also after it has changed its mind.",
        architecture="thread",
    ),
    ServerMutant(
        name="server-question-left-open",
        clause="SERVER.ALL.LEAKS_NOTHING",
        path=f"{SERVERS}/event_loop.py",
        old="        self.calls.close()\n",
        new="",
        story="The connection to the backend is forgotten and not closed.",
        architecture="event_loop",
    ),
    ServerMutant(
        name="server-lock-around-a-send",
        clause="FAIR.SLOW_READER.DELAYS_NOBODY",
        path=f"{SERVERS}/sequential.py",
        old='            stream.send_all(answer(line, services) + b"\\n")\n',
        new='            with globals().setdefault("lock", __import__("threading").Lock()):\n'
        '                stream.send_all(answer(line, services) + b"\\n")\n',
        story="Threads take turns to send, and one of them sends to a client that does not read.",
        architecture="thread",
    ),
    ServerMutant(
        name="server-relies-on-manners",
        clause="ENV.PEER.ARBITRARY",
        path=f"{SERVERS}/sequential.py",
        old="    with suppress(OSError):\n        while line := lines.receive():\n",
        new="    with suppress(ValueError):\n        while line := lines.receive():\n",
        story="It is assumed that a client waits for its answer: one that resets ends the server.",
        architecture="sequential",
    ),
)

STYLE_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="style-callbacks-read-ahead",
        clause="CORO.STYLE.SAME_EFFECT",
        path=f"{SERVERS}/event_loop.py",
        old='            line, _, self.unread = self.unread.partition(b"\\n")\n',
        new='            line, _, _ = self.unread.partition(b"\\n")\n            self.unread = b""\n',
        story="Between two callbacks the lines that came along with the first are forgotten.",
    ),
    Mutant(
        name="style-coroutine-ends-with-its-client",
        clause="CORO.STYLE.SAME_EFFECT",
        path=f"{SERVERS}/coroutine.py",
        old='            if not data or len(self.buffer) >= LINE_LIMIT:\n                return b""\n',
        new="            if not data or len(self.buffer) >= LINE_LIMIT:\n"
        '                line, self.buffer = self.buffer, b""\n                return line\n',
        story="A line without its end is answered by the coroutine, and by nobody else.",
    ),
)
"""Mutants of one style among three, hunted by the same scripts on all of them."""
